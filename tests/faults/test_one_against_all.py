"""What one client does to a provider's standing is no other client's loss."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import Timeouts
from runestone_sidecar.upstream import http1
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import gateway, question, raw_request
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from runestone_contract.config import Config
    from runestone_testing.gateway import Gateway
    from runestone_testing.peer import Peer

FINE = scripts.json_reply(completion("fine"))
MESSAGE = scripts.json_reply(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "fine"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
)
TRIES = 6  # a breaker opens at five
FORM = {"content-type": "multipart/form-data; boundary=xyz"}


def refusal(status: int, message: str = "no", **headers: str) -> bytes:
    error = {"message": message, "type": "x", "code": "rate_limit_exceeded"}
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return scripts.json_reply({"error": error}, status, named)


def config(url: str, dialect: str = "OpenAI", timeouts: Timeouts | None = None) -> Config:
    at = url if dialect == "Anthropic" else f"{url}/v1"
    models = ("gpt-4o-mini", "small")
    return bundles.config(bundles.provider(at, dialect=dialect, models=models, timeouts=timeouts))


async def check_that_others_are_served(found: Gateway) -> None:
    answer = await found.chat()
    assert answer.status_code == 200, answer.text
    load = found.parts.health.load.of("shop/pool/main")
    assert not load.marred


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refusal(429, retry_after="90"), id="limit-of-its-own"),
        pytest.param(refusal(401), id="not-for-this-key"),
        pytest.param(refusal(404), id="unknown"),
        pytest.param(refusal(405), id="no-such-method"),
        pytest.param(refusal(500), id="broken"),
        pytest.param(refusal(529, retry_after="90"), id="overloaded"),
        pytest.param(scripts.json_reply({}), id="no-count"),
        pytest.param([scripts.reset()], id="lost"),
    ],
)
@pytest.mark.parametrize("path", ["/messages/count_tokens", "/files"])
async def test_apis_beside_chats_tell_nothing_of_chats(
    tmp_path: Path, path: str, answer: scripts.Script
) -> None:
    dialect = "OpenAI" if path == "/files" else "Anthropic"
    fine = FINE if path == "/files" else MESSAGE

    def judge(request: scripts.Request) -> scripts.Script:
        return answer if request.target.endswith(path) else fine

    async with scripts.Provider(judge) as one:
        async with gateway(tmp_path, config(one.url, dialect)) as found:
            for _ in range(TRIES):
                if path == "/files":
                    await found.client.get(path)
                else:
                    await found.client.post(path, json=question())
            await check_that_others_are_served(found)


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("path", ["/embeddings", "/completions"])
async def test_api_that_a_provider_lacks_tells_nothing_of_the_others(
    tmp_path: Path, path: str, status: int
) -> None:
    def judge(request: scripts.Request) -> bytes:
        return refusal(status) if request.target.endswith(f"/v1{path}") else FINE

    async with scripts.Provider(judge) as one:
        async with gateway(tmp_path, config(one.url)) as found:
            for _ in range(TRIES):
                asked = {"model": "gpt-4o-mini", "input": "x", "prompt": "x"}
                await found.client.post(path, json=asked)
            await check_that_others_are_served(found)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/chat/completions", id="C12-slow-chats"),
        pytest.param("/images/generations", id="C12-slow-images"),
    ],
)
async def test_slow_prompts_are_not_the_providers_fault(tmp_path: Path, path: str) -> None:
    """Where nothing is streamed the first byte comes when the whole answer is made."""
    limits = Timeouts(first_byte_ms=50, first_byte_unstreamed_ms=60_000)
    asked = question(prompt="a cat")
    async with scripts.Provider([scripts.pause(0.2), FINE]) as one:
        async with gateway(tmp_path, config(one.url, timeouts=limits)) as found:
            answers = await asyncio.gather(
                *(found.client.post(path, json=asked) for _ in range(TRIES))
            )
            assert {answer.status_code for answer in answers} == {200}
            await check_that_others_are_served(found)
            streamed = await found.client.post(path, json=asked | {"stream": True})
            assert streamed.status_code == 504


async def test_C8_rate_limit_of_one_model_leaves_the_others(tmp_path: Path) -> None:
    def judge(request: scripts.Request) -> bytes:
        return refusal(429, retry_after="90") if request.json()["model"] == "small" else FINE

    async with scripts.Provider(judge) as one:
        async with gateway(tmp_path, config(one.url)) as found:
            assert (await found.chat(model="small")).status_code == 429
            assert (await found.chat()).status_code == 200
            again = await found.chat(model="small")
            assert again.status_code == 429
            assert 80 <= int(again.headers["retry-after"]) <= 90
            assert len(one.requests) == 2, "it was called although it asked not to be"


async def test_request_larger_than_a_rate_limit_leaves_smaller_ones(tmp_path: Path) -> None:
    message = "Request too large for gpt-4o-mini in organization org-1 on tokens per min (TPM)"

    def judge(request: scripts.Request) -> bytes:
        return refusal(429, message) if b"long" in request.body else FINE

    async with scripts.Provider(judge) as one:
        async with gateway(tmp_path, config(one.url)) as found:
            large = await found.client.post("/chat/completions", json=question(user="long"))
            assert large.status_code == 429
            assert large.json()["error"]["code"] == "rate_limit_exceeded"
            await check_that_others_are_served(found)


async def test_slow_uploads_are_not_the_providers_fault(tmp_path: Path) -> None:
    async with scripts.Provider(FINE) as one:
        limits = Timeouts(total_ms=200)
        async with gateway(tmp_path, config(one.url, timeouts=limits)) as found:
            answered = asyncio.Event()

            async def pieces() -> AsyncIterator[bytes]:
                yield b"--xyz\r\n"
                await answered.wait()

            uploads = asyncio.gather(
                *(found.client.post("/files", content=pieces(), headers=FORM) for _ in range(TRIES))
            )
            while found.parts.traffic.served < TRIES:
                await asyncio.sleep(0.005)
            answered.set()
            answers = await uploads
            assert {answer.status_code for answer in answers} == {504}
            await check_that_others_are_served(found)


async def test_F6_readers_that_stall_are_not_the_providers_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "HELD_UP_S", 0.1)
    piece = scripts.chunk(scripts.event({"choices": [{"delta": {"content": "x" * 60_000}}]}))
    given_up = 0

    async def give_up_on_who_does_not_read(peer: Peer) -> None:
        nonlocal given_up
        try:
            while True:
                await asyncio.wait_for(peer.send(piece), 0.3)
        except TimeoutError:
            given_up += 1
            peer.reset()

    def judge(request: scripts.Request) -> scripts.Script:
        start = scripts.head(content_type=scripts.SSE)
        return [start, give_up_on_who_does_not_read] if request.json().get("stream") else FINE

    async with scripts.Provider(judge) as one:
        async with gateway(tmp_path, config(one.url)) as found:
            wires = [await Wire.connect(found.port, buffer_bytes=1024) for _ in range(TRIES)]
            for wire in wires:
                wire.send(raw_request(stream=True))
            while given_up < TRIES:
                await asyncio.sleep(0.01)
            await asyncio.gather(*(wire.closed() for wire in wires))
            await asyncio.gather(*(wire.close() for wire in wires))
            await check_that_others_are_served(found)
