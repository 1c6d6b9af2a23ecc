"""A stream that waits for its limit: opened at once, told how it stands, whole in the end."""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from runestone_contract.config import Limits, PolicyOverflow
from runestone_sidecar.edge import queued
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.pairs import APIS, PAIRS, WORDS, Pair
from runestone_testing.provider import json_reply
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from runestone_contract.config import Config

QUEUED = re.compile(rb": queued position=(\d+) eta=(\d+\.\d)s\n\n")
FRAMES = {
    "chat": b'data: {"error":{',
    "completions": b'data: {"error":{',
    "messages": b"event: error\ndata: ",
    "responses": b"event: error\ndata: ",
}


def waiting(pair: Pair, url: str, **overflow: Any) -> Config:
    """One at a time."""
    key = bundles.key(limits=Limits(concurrent_requests=1).model_dump(), overflow={"mode": "Wait"})
    config = pair.config(url)
    terms = PolicyOverflow(**overflow)
    policies = [policy.model_copy(update={"overflow": terms}) for policy in config.policies]
    return config.model_copy(update={"keys": (key,), "policies": tuple(policies)})


@dataclass
class Busy:
    """A gateway whose key has one request running, until `gate` is set."""

    found: Gateway
    one: scripts.Provider
    gate: asyncio.Event
    running: asyncio.Task[httpx.Response]

    async def in_line(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.found.parts.room) != count:
                await asyncio.sleep(0.002)

    async def let_go(self) -> None:
        self.gate.set()
        assert (await self.running).status_code == 200


@asynccontextmanager
async def busy(root: Path, pair: Pair, **overflow: Any) -> AsyncIterator[Busy]:
    gate = asyncio.Event()
    async with scripts.Provider(pair.stream()) as one:
        one.queue([scripts.until(gate), pair.whole()])
        url = f"{one.url}/v1" if pair.dialect == "OpenAI" else one.url
        async with gateway(root, waiting(pair, url, **overflow)) as found:
            running = asyncio.create_task(found.client.post(pair.api.path, json=pair.api.asked))
            await one.requested()
            try:
                yield Busy(found, one, gate, running)
            finally:
                gate.set()
                await running


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_comments_come_first_and_the_answer_is_whole(tmp_path: Path, pair: Pair) -> None:
    async with busy(tmp_path, pair) as place:
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/event-stream" in head
        assert b"x-request-id: req_" in head
        for unknown in (b"x-runestone", b"x-ratelimit"):
            assert unknown not in head
        first = await wire.reader.readuntil(b"s\n\n")
        match = QUEUED.search(first)
        assert match is not None
        assert (match[1], match[2]) == (b"1", b"1.0")
        await place.let_go()
        rest = await wire.closed()
        assert pair.api.whole in rest
        assert any(sign in rest for sign in pair.api.finished)
        assert rest.endswith(b"0\r\n\r\n")
        await wire.close()
        assert place.found.parts.traffic.interrupted == {}


async def test_each_change_of_place_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(queued, "OFF_BY_S", 3600.0)
    monkeypatch.setattr(queued, "PING_AFTER_S", 3600.0)
    pair = PAIRS["chat-openai"]
    async with busy(tmp_path, pair) as place:
        wires = []
        for number in range(3):
            wire = await Wire.connect(place.found.port)
            wire.send(pair.request(stream=True))
            await place.in_line(number + 1)
            wires.append(wire)
        await wires[2].reader.readuntil(b": queued position=3 ")
        wires[0].writer.transport.abort()
        await wires[2].reader.readuntil(b": queued position=2 ")
        await place.let_go()
        rest = await wires[2].closed()
        assert pair.api.whole in rest
        assert [match[1] for match in QUEUED.finditer(rest)] in ([], [b"1"])  # it may be too quick
        for wire in wires:
            await wire.close()


async def test_a_stream_that_was_let_in_is_pinged_until_its_answer_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(queued, "PING_AFTER_S", 0.04)
    pair, thinks = PAIRS["messages-openai"], asyncio.Event()
    async with busy(tmp_path, pair) as place:
        place.one.queue([scripts.until(thinks), pair.stream()])
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        await place.in_line(1)
        await wire.reader.readuntil(b": queued position=1 ")
        await wire.reader.readuntil(b": queued position=1 ")  # nothing is new, and it is told
        await place.let_go()
        await wire.reader.readuntil(b": ping\n\n")
        await wire.reader.readuntil(b": ping\n\n")
        thinks.set()
        rest = await wire.closed()
        assert pair.api.whole in rest
        assert b": queued" not in rest
        await wire.close()


@pytest.mark.parametrize("early", [True, False], ids=["at once", "while it waits"])
async def test_a_client_that_sends_no_more_waits_like_any_other(
    tmp_path: Path, early: bool
) -> None:
    pair = PAIRS["chat-openai"]
    async with busy(tmp_path, pair) as place:
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        if early:
            wire.writer.write_eof()
        await wire.reader.readuntil(b": queued position=1 ")
        if not early:
            wire.writer.write_eof()
        await wire.reader.readuntil(b": ping\n\n")  # it may be gone, and this finds out
        await place.let_go()
        assert pair.api.whole in await wire.closed()
        await wire.close()


async def test_a_client_that_leaves_is_told_nothing_more(tmp_path: Path) -> None:
    pair = PAIRS["chat-openai"]
    async with busy(tmp_path, pair) as place:
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        await wire.reader.readuntil(b": queued position=1 ")
        assert commented() == 1
        wire.writer.transport.abort()
        await place.in_line(0)
        async with asyncio.timeout(30):
            while commented():  # its timer would hold it for ever
                await asyncio.sleep(0.01)
        assert place.found.parts.traffic.interrupted == {}


def commented() -> int:
    gc.collect()
    return sum(isinstance(each, queued.OpenStream) for each in gc.get_objects())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_an_error_after_waiting_is_a_frame_and_a_cut(tmp_path: Path, pair: Pair) -> None:
    async with busy(tmp_path, pair, max_age_ms=100) as place:
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        rest = await wire.closed()
        await wire.close()
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        assert QUEUED.search(rest)
        name = next(name for name, api in APIS.items() if api is pair.api)
        assert FRAMES[name] in rest
        assert b"waited 1 second for its turn" in rest
        assert pair.api.whole not in rest
        assert not rest.endswith(b"0\r\n\r\n")
        assert place.found.parts.traffic.interrupted == {("-", "refused"): 1}


async def test_draining_is_told_in_the_stream(tmp_path: Path) -> None:
    pair = PAIRS["messages-anthropic"]
    async with busy(tmp_path, pair) as place:
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        await place.in_line(1)
        place.found.parts.room.close()
        rest = await wire.closed()
        await wire.close()
    assert b"The gateway is shutting down" in rest
    assert not rest.endswith(b"0\r\n\r\n")


async def test_a_providers_refusal_after_waiting_is_a_frame_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = PAIRS["chat-openai"]
    refusal = {"error": {"message": "No such tool.", "type": "invalid_request_error", "code": "x"}}
    async with busy(tmp_path, pair) as place:
        place.one.queue(json_reply(refusal, status=400))
        wire = await Wire.connect(place.found.port)
        wire.send(pair.request(stream=True))
        await place.in_line(1)
        await place.let_go()
        rest = await wire.closed()
        await wire.close()
    assert b'data: {"error":{"message":"No such tool."' in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert '"status":200' in capfd.readouterr().out


def open_ai(found: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=str(found.client.base_url), api_key=bundles.CLIENT_KEY, max_retries=0
    )


def anthropics(found: Gateway) -> anthropic.AsyncAnthropic:
    base_url = str(found.client.base_url).removesuffix("/").removesuffix("/v1")
    return anthropic.AsyncAnthropic(base_url=base_url, api_key=bundles.CLIENT_KEY, max_retries=0)


async def read_chat(found: Gateway, asked: Any) -> str:
    async with open_ai(found) as client:
        stream = await client.chat.completions.create(**asked, stream=True)
        events = [event async for event in stream]
        return "".join([each.choices[0].delta.content or "" for each in events if each.choices])


async def read_completion(found: Gateway, asked: Any) -> str:
    async with open_ai(found) as client:
        stream = await client.completions.create(**asked, stream=True)
        return "".join([event.choices[0].text or "" async for event in stream])


async def read_response(found: Gateway, asked: Any) -> str:
    async with open_ai(found) as client:
        stream = await client.responses.create(**asked, stream=True)
        said = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        return "".join(said)


async def read_message(found: Gateway, asked: Any) -> str:
    async with anthropics(found) as client, client.messages.stream(**asked) as stream:
        return "".join([text async for text in stream.text_stream])


READERS = {
    "chat": read_chat,
    "completions": read_completion,
    "responses": read_response,
    "messages": read_message,
}


def reader_of(pair: Pair) -> Any:
    return next(READERS[name] for name, api in APIS.items() if api is pair.api)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_the_sdks_read_through_the_comments(tmp_path: Path, pair: Pair) -> None:
    async with busy(tmp_path, pair) as place:
        reading = asyncio.create_task(reader_of(pair)(place.found, pair.api.asked))
        await place.in_line(1)
        await place.let_go()
        text = await reading
    assert text.split() == WORDS.split() or text == WORDS.replace(" ", "")


@pytest.mark.parametrize("name", READERS)
async def test_the_sdks_raise_what_came_after_waiting(tmp_path: Path, name: str) -> None:
    pair = PAIRS[f"{name}-openai"]
    async with busy(tmp_path, pair, max_age_ms=100) as place:
        with pytest.raises((openai.APIError, anthropic.APIError), match="waited 1 second"):
            await READERS[name](place.found, pair.api.asked)
