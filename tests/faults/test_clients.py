"""F1-F3, F5-F6: clients that leave, reset or stop reading, in every API.

The provider's connection is closed within a second, and the key has back what it had taken.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Connections, Limits, Retry, Timeouts
from runestone_sidecar.telemetry.events import EventType
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.heard import ask, check_whole, text_of, understood
from runestone_testing.pairs import PAIRS, WORDS, Pair
from runestone_testing.provider import SSE, chunk, head
from runestone_testing.sidecar import Sidecar, running_sidecar
from runestone_testing.stand import Stand, standing
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_contract.config import Config
    from runestone_testing.peer import Peer

SOON_S = 5.0  # a provider is let go of within one; a busy machine is given more
TOKENS = 1_000_000
MIB = 1 << 20

every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def limited(pair: Pair, *urls: str, at_once: int = 1, **fields: Any) -> Config:
    """A key that may have one request running."""
    limits = Limits(concurrent_requests=at_once, tokens_per_minute=TOKENS)
    key = bundles.key(limits=limits.model_dump())
    return pair.config(*urls, **fields).model_copy(update={"keys": (key,)})


async def left(stand: Stand) -> dict[str, int]:
    """Of the key's limits."""
    report = (await stand.client.get("/usage")).json()
    return {each["limit"]: each["remaining"] for each in report["limits"]}


async def until(happened: Callable[[], bool], within_s: float = SOON_S) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.002)


# --- leaving


def fin(wire: Wire) -> None:
    wire.writer.close()


def reset(wire: Wire) -> None:
    linger = struct.pack("ii", 1, 0)
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wire.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Moment:
    """When it leaves: what the provider has said of its answer by then."""

    stream: bool
    said: Callable[[Pair], bytes]
    is_heard: bool = False  # by the client


def events(pair: Pair) -> bytes:
    return head(content_type=SSE) + b"".join(map(chunk, pair.events()[:5]))


WITHIN = Moment(stream=True, said=events, is_heard=True)
BEFORE = Moment(stream=True, said=lambda _: b"")
AFTER_HEAD = Moment(stream=True, said=lambda _: head(content_type=SSE))
PLAIN = Moment(stream=False, said=lambda _: b"")
WITHIN_AN_EVENT = Moment(
    stream=True, said=lambda pair: events(pair) + chunk(b"data: {"), is_heard=True
)
HALF = Moment(stream=False, said=lambda pair: pair.whole()[:-9])

LEAVING = [
    pytest.param(WITHIN, fin, id="F1-within-a-stream"),
    pytest.param(WITHIN_AN_EVENT, fin, id="F1-within-an-event"),
    pytest.param(BEFORE, fin, id="F2-before-the-first-byte"),
    pytest.param(AFTER_HEAD, fin, id="F2-before-the-first-event"),
    pytest.param(PLAIN, fin, id="F3-a-plain-call"),
    pytest.param(HALF, fin, id="F3-half-answered"),
    pytest.param(WITHIN, reset, id="F5-within-a-stream"),
    pytest.param(BEFORE, reset, id="F5-before-the-first-byte"),
    pytest.param(PLAIN, reset, id="F5-a-plain-call"),
]


@every_pair
@pytest.mark.parametrize(("moment", "leave"), LEAVING)
async def test_a_client_that_leaves_takes_its_call_along(
    tmp_path: Path, pair: Pair, moment: Moment, leave: Callable[[Wire], None]
) -> None:
    async with standing(tmp_path, config=partial(limited, pair), providers=2) as stand:
        traffic, said = stand.gateway.parts.traffic, asyncio.Event()
        stand.provider.answer = [moment.said(pair), ring(said), scripts.hang()]
        wire = await stand.connect()
        wire.send(pair.request(stream=moment.stream))
        peer = (await stand.provider.requested()).peer
        await said.wait()
        heard = await wire.reader.readuntil(b"\n\n") if moment.is_heard else b""
        assert (await left(stand))["concurrent_requests"] == 0
        left_s = time.monotonic()
        leave(wire)
        await peer.closed(within_s=SOON_S)
        await until(lambda: traffic.in_flight == 0, SOON_S - (time.monotonic() - left_s))
        limits = await left(stand)
        assert limits["concurrent_requests"] == 1
        line = next(line for line in stand.lines() if line["method"] == "POST")
        charged = line.get("input_tokens", 0) + line.get("output_tokens", 0)
        assert limits["tokens_per_minute"] == TOKENS - charged
        assert (charged > 0) is bool(heard), "charged for what was sent, and for nothing else"
        assert line["status"] == 499
        assert (traffic.clients_gone, traffic.interrupted) == (1, {})
        assert stand.gateway.parts.health.load.of("shop/pool/p0").score == 1.0  # not its fault
        assert (len(stand.provider.requests), stand.providers[1].requests) == (1, [])
        stand.next_answer = pair.chat()


@pytest.mark.parametrize("name", ["chat-openai", "messages-anthropic", "responses-openai"])
async def test_F1_a_client_that_leaves_with_all_of_a_stream_is_not_counted_as_gone(
    tmp_path: Path, name: str
) -> None:
    """SDKs leave after the last event: the provider's message may not have ended by then."""
    pair = PAIRS[name]
    async with standing(tmp_path, config=partial(limited, pair)) as stand:
        traffic = stand.gateway.parts.traffic
        *_, last = pair.events()
        said = b"".join(map(chunk, pair.events()))
        stand.provider.answer = [head(content_type=SSE), said, scripts.hang()]
        wire = await stand.connect()
        wire.send(pair.request(stream=True))
        await wire.reader.readuntil(last)
        fin(wire)
        await until(lambda: traffic.in_flight == 0)
        (line,) = stand.lines()
        assert (line["status"], traffic.clients_gone) == (200, 0)
        assert traffic.events.counts[EventType.STREAM_COMPLETE] == 1
        stand.next_answer = pair.chat()


def ring(bell: asyncio.Event) -> scripts.Action:
    async def act(_: Peer) -> None:
        bell.set()

    return act


async def leave_and_settle(stand: Stand, wire: Wire) -> None:
    fin(wire)
    await until(lambda: stand.gateway.parts.traffic.in_flight == 0)
    assert (await left(stand))["concurrent_requests"] == 1
    assert (await left(stand))["tokens_per_minute"] == TOKENS
    assert stand.lines()[0]["status"] == 499


async def test_F2_while_the_provider_is_being_called(tmp_path: Path) -> None:
    pair = PAIRS["chat-openai"]
    with scripts.silent_port() as port:

        def config(url: str) -> Config:
            there = f"http://127.0.0.1:{port}/v1"
            return limited(pair, there, url, timeouts=Timeouts(connect_ms=1000))

        async with standing(tmp_path, config=config) as stand:
            wire = await stand.connect()
            wire.send(pair.request(stream=True))
            await until(lambda: stand.gateway.parts.traffic.in_flight == 1)
            await leave_and_settle(stand, wire)
            assert stand.provider.peers == []


async def test_F2_while_it_waits_to_try_again(tmp_path: Path) -> None:
    pair = PAIRS["chat-openai"]
    patient = Retry(max_attempts=2, initial_backoff_ms=60_000, max_backoff_ms=60_000)

    def config(url: str) -> Config:
        return limited(pair, url, retry=patient)

    busy = scripts.json_reply({"error": {}}, status=429, headers=[("retry-after", "50")])
    async with standing(tmp_path, config=config) as stand:
        load = stand.gateway.parts.health.load
        now_s = load.now_s()
        load.now_s = lambda: now_s
        stand.provider.answer = busy
        wire = await stand.connect()
        wire.send(pair.request(stream=False))
        await stand.provider.requested()
        await until(lambda: bool(load.of("shop/pool/p0").cooldowns))
        await leave_and_settle(stand, wire)
        assert len(stand.provider.requests) == 1
        now_s += 60


async def test_F2_while_it_waits_for_a_connection(tmp_path: Path) -> None:
    pair = PAIRS["chat-openai"]

    def config(url: str) -> Config:
        return limited(pair, url, at_once=2, connections=Connections(max=1))

    async with standing(tmp_path, config=config) as stand:
        go = asyncio.Event()
        stand.provider.answer = [scripts.until(go), pair.whole()]
        served = asyncio.create_task(ask(stand, pair))
        await stand.provider.requested()
        wire = await stand.connect()
        wire.send(pair.request(stream=False))
        await until(lambda: stand.gateway.parts.traffic.in_flight == 2)
        fin(wire)
        await until(lambda: stand.gateway.parts.traffic.in_flight == 1)
        assert (await left(stand))["concurrent_requests"] == 1
        go.set()
        check_whole(pair, await served, WORDS, stream=False)
        assert len(stand.provider.requests) == 1


# --- F6


STALLED = 200
STALLED_S = 3
EACH_BYTES = 50 * MIB
PIECE = "w" * 60_000
# Bytes passed on, translated, translated twice; all others take a minute more.
SOME = ["chat-openai", "messages-openai", "responses-anthropic"]
STALLING = [*PAIRS] if os.environ.get("RUNESTONE_STALL_ALL") else SOME


def large(pair: Pair) -> list[Any]:
    """A stream of 50 MB that goes on, in words of this API."""
    found = pair.events(PIECE)
    at = next(n for n, event in enumerate(found) if PIECE.encode() in event)
    piece = chunk(found[at])
    return [
        head(content_type=SSE),
        *map(chunk, found[:at]),
        *[piece] * (EACH_BYTES // len(piece)),
        scripts.hang(),
    ]


def repeats(pair: Pair) -> bool:
    """Whether we keep the text of a stream, since the last event of this API has all of it."""
    return pair.api.path == "/responses" and pair.native is None


def memory_bytes(sidecar: Sidecar) -> int:
    with open(f"/proc/{sidecar.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files_of(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))


def stalled_client(port: int, pair: Pair) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.connect(("127.0.0.1", port))
    client.sendall(pair.request(stream=True))
    return client


async def served(port: int, pair: Pair) -> None:
    wire = await Wire.connect(port)
    wire.send(pair.request(stream=False))
    heard = understood(await wire.closed())
    assert heard.status == 200
    assert text_of(pair.api, heard, stream=False) == "".join(WORDS.split())
    await wire.close()


@pytest.mark.parametrize("pair", [PAIRS[name] for name in STALLING], ids=STALLING)
@pytest.mark.timeout(300)
async def test_F6_200_clients_that_stop_reading_hold_up_nobody(tmp_path: Path, pair: Pair) -> None:
    script = large(pair)
    async with scripts.Provider(
        lambda asked: script if asked.json().get("stream") else pair.whole()
    ) as provider:
        config = pair.config(
            f"{provider.url}/v1", connections=Connections(max=STALLED + 10, max_idle=1)
        )
        bundles.publish(tmp_path, config)
        env = {"RUNESTONE_WRITE_TIMEOUT_SECONDS": str(STALLED_S)}
        with running_sidecar(tmp_path, tmp_path, **env) as sidecar, ExitStack() as clients:
            port = int(sidecar.api.rpartition(":")[2])
            await served(port, pair)
            before, files = memory_bytes(sidecar), files_of(sidecar)
            most, began_s = 0, time.monotonic()
            for _ in range(STALLED):
                clients.enter_context(stalled_client(port, pair))
                await asyncio.sleep(0)
            await provider.requested(STALLED + 1)
            stalled = [asked.peer for asked in provider.requests[1:]]
            while any(peer.is_open for peer in stalled) and time.monotonic() - began_s < 60:
                most = max(most, memory_bytes(sidecar))
                await served(port, pair)
            lasted_s = time.monotonic() - began_s
            assert len({id(peer) for peer in stalled}) == STALLED
            assert max(peer.sent_bytes for peer in stalled) < EACH_BYTES / 2, "it was not paused"
            assert STALLED_S <= lasted_s < STALLED_S + 60
            text_bytes = sum(peer.sent_bytes for peer in stalled) if repeats(pair) else 0
            assert most - before <= STALLED * MIB + text_bytes, f"{(most - before) / MIB:.0f} MiB"
            await until(lambda: files_of(sidecar) <= files + 2)
            print(
                f"F6 {pair.api.path} by {pair.dialect}: {STALLED} stalled,"
                f" {(most - before) / MIB / STALLED:.2f} MiB each, cut after {lasted_s:.1f} s,"
                f" {max(peer.sent_bytes for peer in stalled) / MIB:.1f} MiB taken at the most"
            )
