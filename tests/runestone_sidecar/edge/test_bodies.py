"""Large bodies: bounded each and all together, and walked over where nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.edge.bodies import LARGE_BODY_BYTES, SMALL_BODY_BYTES
from runestone_sidecar.edge.json_values import FEW_VALUES
from runestone_sidecar.pipeline import execute, prepare
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion, completion_events
from runestone_testing.gateway import CHAT, Gateway, gateway, question, raw_request
from runestone_testing.provider import SSE, chunk, head
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_contract.config import Config

PATIENCE_S = 30.0
ROOM_BYTES = 4 * LARGE_BODY_BYTES
FULL = raw_request(user="x" * (ROOM_BYTES - 1000))
LARGE = raw_request(user="x" * 2 * LARGE_BODY_BYTES)
FINE = scripts.json_reply(completion("fine"))
JSON = {"content-type": "application/json"}


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.002)


def config_for(one: scripts.Provider) -> Config:
    """A model whose context takes anything."""
    wide = bundles.model("gpt-4o-mini").model_copy(update={"context_window": 1 << 30})
    provider = bundles.provider(f"{one.url}/v1")
    return bundles.config(provider.model_copy(update={"models": (wide,)}))


def crowded(root: Path, one: scripts.Provider) -> Any:
    return gateway(root, config_for(one), max_held_bytes=ROOM_BYTES, max_body_bytes=ROOM_BYTES)


async def begin(found: Gateway, sent: bytes) -> Wire:
    """A request of which so much is sent and read."""
    held, wire = found.parts.bodies.held_bytes, await Wire.connect(found.port)
    body = sent.partition(b"\r\n\r\n")[2]
    wire.send(sent)
    await until(lambda: found.parts.bodies.held_bytes == held + len(body))
    return wire


# --- room


async def test_what_finds_no_room_is_refused_until_there_is_some(tmp_path: Path) -> None:
    go = asyncio.Event()
    script: list[Any] = [scripts.until(go), FINE]
    async with scripts.Provider(script) as one, crowded(tmp_path, one) as found:
        first = await begin(found, FULL)
        refused = await Wire.connect(found.port)
        refused.send(LARGE[: LARGE.index(b"\r\n\r\n") + 4])  # its size is enough
        answer = await refused.answer()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "overloaded"
        small = asyncio.create_task(found.chat(user="x" * (SMALL_BODY_BYTES - 200)))
        await one.requested(2)
        go.set()
        assert (await small).status_code == 200
        assert (await first.answer()).status == 200
        await until(lambda: found.parts.bodies.held_bytes == 0)
        refused.send(LARGE[LARGE.index(b"\r\n\r\n") + 4 :])  # which nobody wants any more
        refused.send(LARGE)
        assert (await refused.answer()).status == 200
        for wire in (first, refused):
            await wire.close()


async def test_a_body_of_unknown_size_is_refused_where_the_room_ends(tmp_path: Path) -> None:
    async with scripts.Provider(FINE) as one, crowded(tmp_path, one) as found:
        wires = [await begin(found, LARGE[:-9]), await Wire.connect(found.port)]
        start = LARGE.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n"
        wires[1].send(start + chunk(LARGE.partition(b"\r\n\r\n")[2]))
        assert (await wires[1].answer(within_s=PATIENCE_S)).status == 503
        wires[0].send(LARGE[-9:])
        assert (await wires[0].answer()).status == 200
        for wire in wires:
            await wire.close()


async def test_the_largest_body_fits_in_whatever_room_there_is(tmp_path: Path) -> None:
    async with scripts.Provider(FINE) as one:
        async with gateway(tmp_path, config_for(one), max_held_bytes=0) as found:
            assert (await found.chat(user="x" * 2 * LARGE_BODY_BYTES)).status_code == 200


async def test_many_values_take_more_room_than_their_text(tmp_path: Path) -> None:
    values: list[Any] = [[]] * (LARGE_BODY_BYTES // 2)
    async with scripts.Provider(FINE) as one, crowded(tmp_path, one) as found:
        assert (await found.chat(metadata=values)).status_code == 503
        assert (await found.chat(user=json.dumps(values))).status_code == 200


STREAMED = raw_request(user="x" * 2 * LARGE_BODY_BYTES, stream=True)
BEGUN = head(content_type=SSE) + chunk(next(iter(completion_events("some words"))))
LEFT: list[tuple[bytes, scripts.Answer, bytes]] = [  # what is sent, answered, and read of it
    (LARGE[:-9], FINE, b""),
    (LARGE, [scripts.hang()], b""),
    (STREAMED, [BEGUN, scripts.hang()], b"data: "),
]


async def test_all_room_is_given_back_whatever_happens(tmp_path: Path) -> None:
    async with scripts.Provider() as one, crowded(tmp_path, one) as found:
        bodies, traffic = found.parts.bodies, found.parts.traffic
        for leave in (Wire.close, reset):
            for sent, answer, heard in LEFT:
                one.answer = answer
                wire = await begin(found, sent)
                if heard:
                    await wire.reader.readuntil(heard)
                await leave(wire)
                await until(lambda: traffic.in_flight == bodies.held_bytes == 0)
        for answer in (scripts.json_reply({}, 500), [scripts.reset()], b"no HTTP\r\n\r\n", FINE):
            one.answer = answer
            await found.chat(user="x" * 2 * LARGE_BODY_BYTES)
        for content in (b"{" * 2 * LARGE_BODY_BYTES, b"[0" + b",0" * 500_000 + b"]", LARGE):
            answer = await found.client.post(CHAT, content=content, headers=JSON)
            assert answer.status_code == 400
        malformed = LARGE.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n"
        wire = await Wire.connect(found.port)
        wire.send(malformed + chunk(b"x" * 2 * SMALL_BODY_BYTES) + b"no size\r\n")
        assert (await wire.answer()).status == 400
        await wire.close()
        await until(lambda: traffic.in_flight == bodies.held_bytes == 0)


async def reset(wire: Wire) -> None:
    wire.writer.transport.abort()


# --- values


async def test_more_values_than_any_request_has_are_refused(tmp_path: Path) -> None:
    async with scripts.Provider(FINE) as one:
        async with gateway(tmp_path, config_for(one), max_json_values=100_000) as found:
            answer = await found.chat(metadata=[0] * 200_000)
            assert answer.status_code == 400
            assert "100000 JSON values" in answer.json()["error"]["message"]
            assert (await found.chat(metadata=[0] * 99_000)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "is_heavy"),
    [
        pytest.param({"user": "x" * 2 * LARGE_BODY_BYTES}, False, id="one-long-text"),
        pytest.param({"user": "[0]," * FEW_VALUES * 5}, False, id="a-text-full-of-commas"),
        pytest.param({"metadata": [[]] * LARGE_BODY_BYTES}, True, id="many-values"),
    ],
)
async def test_what_walks_over_many_values_is_not_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], is_heavy: bool
) -> None:
    walked: dict[str, bool] = {}

    def watch(module: Any, name: str) -> None:
        work = getattr(module, name)

        def watched(*args: Any) -> Any:
            walked[name] = threading.current_thread() is threading.main_thread()
            return work(*args)

        monkeypatch.setattr(module, name, watched)

    watch(prepare, "estimate_request")
    watch(execute, "_render")
    async with scripts.Provider(FINE) as one:
        async with gateway(tmp_path, config_for(one), max_json_values=10**6) as found:
            for path in (CHAT, "/cost/estimate"):
                assert (await found.client.post(path, json=question(**fields))).is_success
    assert walked == {"estimate_request": not is_heavy, "_render": not is_heavy}
