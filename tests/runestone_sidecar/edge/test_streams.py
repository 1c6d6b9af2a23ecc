"""Ends of streams that are neither the provider's nor its loss, and the bookkeeping of each."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from runestone_contract.config import Pool, Timeouts
from runestone_sidecar.edge import respond
from runestone_sidecar.edge.respond import Pinger
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway, question, raw_request
from runestone_testing.provider import SSE, chunk, event, head

WHOLE = chunk(
    event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    + b"data: [DONE]\n\n"
)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(scripts.hang(), id="left-open"),
        pytest.param(scripts.reset(), id="reset"),
        pytest.param(scripts.close(), id="closed-without-the-last-chunk"),
    ],
)
async def test_a_reply_that_is_whole_ends_whatever_the_provider_does_then(
    tmp_path: Path, rest: scripts.Action
) -> None:
    script: list[Any] = [head(content_type=SSE) + WHOLE, rest]
    async with scripts.Provider(script) as one:
        provider = bundles.provider(f"{one.url}/v1", timeouts=Timeouts(idle_ms=60_000))
        async with gateway(tmp_path, bundles.config(provider)) as found:
            async with asyncio.timeout(30):
                answer = await found.chat(stream=True)
            assert answer.text.endswith("data: [DONE]\n\n")
            assert found.parts.traffic.interrupted == {}


async def test_a_head_that_cannot_be_sent_lets_go_of_the_provider(tmp_path: Path) -> None:
    script: list[Any] = [head(content_type=SSE) + chunk(event({"choices": []})), scripts.hang()]
    async with scripts.Provider(script) as one:
        provider = bundles.provider(f"{one.url}/v1").model_copy(
            update={"models": (bundles.model("gpt-4o-mini", upstream="no\x01name"),)}
        )
        config = bundles.config(pools=(Pool(id="shop/pool", providers=(provider,)),))
        async with gateway(tmp_path, config) as found:
            with pytest.raises(httpx.RemoteProtocolError):
                await found.chat(stream=True)
            await (await one.connected()).closed()
            assert found.parts.health.load.of("shop/pool/main").in_flight == 0
            assert found.parts.traffic.in_flight == 0


async def test_H10_what_is_not_done_when_the_grace_is_over_is_told_so(tmp_path: Path) -> None:
    async def read(client: httpx.AsyncClient, received: list[bytes]) -> None:
        async with client.stream("POST", "/chat/completions", json=question(stream=True)) as answer:
            async for part in answer.aiter_raw():
                received.append(part)  # noqa: PERF401  (looked at while it grows)

    def either(asked: scripts.Request) -> scripts.Script:
        begun = head(content_type=SSE) + chunk(event({"choices": []}))
        return [begun, scripts.hang()] if asked.json().get("stream") else [scripts.hang()]

    received: list[bytes] = []
    async with scripts.Provider(either) as one:
        async with gateway(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
            whole = asyncio.create_task(found.chat())
            stream = asyncio.create_task(read(found.client, received))
            await until(lambda: len(received) > 0 and len(one.requests) == 2)
            await found.drain()
            answer = await whole
            with pytest.raises(httpx.RemoteProtocolError):
                await stream
            interrupted = found.parts.traffic.interrupted
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "draining"
    assert answer.headers["retry-after"] == "1"
    last = json.loads(b"".join(received).rstrip().rpartition(b"data: ")[2])
    assert last["error"]["code"] == "draining"
    assert interrupted["shop/pool/main", "draining"] == 1


class Between:
    at_boundary = True


async def test_a_ping_never_waits_for_a_client_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(respond, "PING_AFTER_S", 0.01)
    readable, looked, sent = asyncio.Event(), asyncio.Event(), []

    async def send(message: Any) -> None:
        looked.set()
        await readable.wait()
        sent.append(message)

    pinger = Pinger(send, Between())  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await looked.wait()
        readable.set()
        assert sent == [], "it waited, and would have come late"
        looked.clear()
        await looked.wait()
    pinger.close()
    assert len(sent) == 1


async def test_F6_a_client_that_stops_reading_is_cut_off(tmp_path: Path) -> None:
    piece = chunk(event({"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]}))
    script: list[Any] = [head(content_type=SSE), *[piece] * 800, scripts.hang()]
    async with scripts.Provider(script) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config, write_timeout_s=1) as found:
            with socket.create_connection(("127.0.0.1", found.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                client.sendall(raw_request(stream=True))
                peer = (await one.requested()).peer
                await peer.closed()
            await until(lambda: found.parts.traffic.in_flight == 0)
            assert found.parts.traffic.clients_gone == 1
            assert peer.sent_bytes < 30_000_000, "the provider was not made to wait"
