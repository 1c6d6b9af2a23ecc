"""P10 and P12 in numbers: cancellations at random moments, and a long run with a fifth of faults.

RUNESTONE_CANCELLATIONS=1000, RUNESTONE_SOAK=100000 and RUNESTONE_SEED make the campaigns; without
them this is a short version of each. `-s` shows what they found.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Connections, Limits
from runestone_sidecar.telemetry.events import EventType
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.pairs import PAIRS, Pair
from runestone_testing.provider import SSE, chunk, head, json_reply
from runestone_testing.sidecar import Sidecar, running_sidecar
from runestone_testing.stand import Stand, standing
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from runestone_contract.config import Config

CANCELLATIONS = int(os.environ.get("RUNESTONE_CANCELLATIONS", "100"))
SOAK = int(os.environ.get("RUNESTONE_SOAK", "20000"))
SEED = int(os.environ.get("RUNESTONE_SEED", "1"))

LANES = 5
SOON_S = 5.0  # one is promised; a busy machine is given more
MIB = 1 << 20


def reset(wire: Wire) -> None:
    linger = struct.pack("ii", 1, 0)
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wire.writer.transport.abort()


def fin(wire: Wire) -> None:
    wire.writer.close()


# --- P10


@dataclass
class Found:
    closed_after_s: list[float] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        took = sorted(self.closed_after_s)
        p50, p99, most = (took[int(share * (len(took) - 1))] * 1000 for share in (0.5, 0.99, 1))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"P10: {self.kinds.total()} cancellations, seed {SEED}: the provider's connection"
            f" closed after p50 {p50:.1f} ms, p99 {p99:.1f} ms, at the most {most:.1f} ms"
            f" (n = {len(took)}); {kinds}; 0 slots leaked"
        )


def marked(pair: Pair, number: int, *, stream: bool) -> bytes:
    """A request that the provider can tell from others."""
    raw_head, _, body = pair.request(stream=stream).partition(b"\r\n\r\n")
    asked = json.loads(body) | {"user": mark_of(number)}
    if pair.api.path == "/messages":
        asked = json.loads(body) | {"metadata": {"user_id": mark_of(number)}}
    body = json.dumps(asked).encode()
    lines = [line for line in raw_head.split(b"\r\n") if not line.startswith(b"content-length")]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", b""]) + body


def mark_of(number: int) -> str:
    """Of an id's characters alone: what holds others is hashed on some ways."""
    return f"number-{number}-"


def slowly(pair: Pair) -> Callable[[scripts.Request], Any]:
    """An answer that takes some 40 ms, plain or streamed, and now and then for ever."""

    def answer(asked: scripts.Request) -> Any:
        if asked.json().get("stream"):
            pieces = [
                step for event in pair.events() for step in (chunk(event), scripts.pause(0.005))
            ]
            return [head(content_type=SSE), *pieces, scripts.hang()]
        return [scripts.pause(0.02), pair.whole()[:-5], scripts.hang()]

    return answer


async def cancel(stand: Stand, pair: Pair, number: int, rng: random.Random, found: Found) -> None:
    stream, leave = rng.random() < 0.6, rng.choice([fin, reset])
    wait_s = rng.choice([0.0, rng.uniform(0, 0.004), *[rng.uniform(0, 0.06)] * 4])
    kind = f"{'streamed' if stream else 'plain'} by {leave.__name__}"
    wire = await Wire.connect(stand.gateway.port)
    wire.send(marked(pair, number, stream=stream))
    if wait_s:
        await asyncio.sleep(wait_s)
    left_s = time.monotonic()
    leave(wire)
    mark = mark_of(number).encode()
    while time.monotonic() - left_s < 0.25:  # it may get there yet, if it was sent at all
        if asked := next((r for r in stand.provider.requests if mark in r.body), None):
            await asked.peer.closed()
            assert asked.peer.closed_at is not None
            found.closed_after_s.append(max(0.0, asked.peer.closed_at - left_s))
            found.kinds[kind] += 1
            stand.provider.requests.remove(asked)
            return
        await asyncio.sleep(0.002)
    found.kinds["before the provider was asked"] += 1


@pytest.mark.timeout(1800)
async def test_P10_cancellations_at_random_moments(tmp_path: Path) -> None:
    rng, found = random.Random(SEED), Found()
    each = max(1, CANCELLATIONS // len(PAIRS))
    for name, pair in PAIRS.items():

        def config(url: str, pair: Pair = pair) -> Config:
            limits = Limits(concurrent_requests=LANES + 1)
            keys = (bundles.key(limits=limits.model_dump()),)
            return pair.config(url).model_copy(update={"keys": keys})

        async with standing(tmp_path / name, config=config) as stand:
            stand.provider.answer = slowly(pair)
            numbers = iter(range(each))

            async def lane(stand: Stand = stand, pair: Pair = pair, left: Any = numbers) -> None:
                for number in left:
                    await cancel(stand, pair, number, rng, found)

            await asyncio.gather(*(lane() for _ in range(LANES)))
            while stand.gateway.parts.traffic.in_flight:
                await asyncio.sleep(0.002)
            report = (await stand.client.get("/usage")).json()
            assert report["limits"][0]["remaining"] == LANES + 1, "a slot was leaked"
            statuses = Counter(line["status"] for line in stand.lines() if line["method"] == "POST")
            whole = stand.gateway.parts.traffic.events.counts[EventType.STREAM_COMPLETE]
            assert set(statuses) <= {499, 200}, statuses
            assert statuses[200] == whole  # those that left with all of their stream
            stand.next_answer = pair.chat()
    print(found.summary())
    assert found.kinds.total() == each * len(PAIRS)
    assert len(found.closed_after_s) > each * len(PAIRS) / 2
    took = sorted(found.closed_after_s)
    assert took[int(0.99 * (len(took) - 1))] <= SOON_S


# --- P12


FAULT_SHARE = 0.2


def provider_faults(pair: Pair) -> dict[str, Any]:
    """By names that are ids of users: one of other characters is hashed on some ways."""
    refused = {"error": {"message": "no", "type": "x"}}
    begun = [head(content_type=SSE), *map(chunk, pair.events()[:3])]
    return {
        "500": json_reply(refused, status=500),
        "429": json_reply(refused, status=429, headers=[("retry-after-ms", "0")]),
        "401": json_reply(refused, status=401),
        "400": json_reply(refused, status=400),
        "reset": [scripts.reset()],
        "closed": [scripts.close()],
        "half-a-head": [b"HTTP/1.1 200 OK\r\ncont", scripts.close()],
        "cut": [pair.whole()[:-9], scripts.reset()],
        "cut-stream": [*begun, scripts.reset()],
        "stream-without-an-end": [*begun, scripts.LAST_CHUNK],
        "page": scripts.reply(b"<html>", content_type="text/html"),
        "not-http": [b"220 smtp.example ESMTP\r\n\r\n", scripts.close()],
        "garbage-after-the-end": pair.whole() + b"garbage\r\n",
    }


class Soak:
    """So many requests over a few connections; the provider's faults are asked for by name."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self.ended: Counter[str] = Counter()
        self._port = port
        self._rng = rng
        self._left = SOAK
        self._wires: list[Wire] = []

    async def run(self, pairs: list[tuple[str, Pair]], until_left: int) -> None:
        async def lane() -> None:
            wire: Wire | None = None
            while self._left > until_left:
                self._left -= 1
                wire = await self._one(*self._rng.choice(pairs), wire)
            if wire is not None:
                await wire.close()

        await asyncio.gather(*(lane() for _ in range(8)))

    async def _one(self, model: str, pair: Pair, wire: Wire | None) -> Wire | None:
        """The connection, where it may be used again."""
        rng = self._rng
        stream = rng.random() < 0.5
        if rng.random() >= FAULT_SHARE:
            wire = wire or await Wire.connect(self._port)
            wire.send(self._request(model, pair, stream=stream))
            answer = await wire.answer()
            self.ended[str(answer.status)] += 1
            assert answer.status == 200, answer
            return wire
        if rng.random() < 0.4:
            if wire is not None:
                await wire.close()
            await self._badly(rng.choice(BAD_CLIENTS), model, pair, stream=stream)
            return None
        fault = rng.choice([*provider_faults(pair)])
        wire = wire or await Wire.connect(self._port)
        wire.send(self._request(model, pair, stream=stream, fault=fault))
        try:
            answer = await wire.answer()
        except asyncio.IncompleteReadError:
            self.ended["cut"] += 1
            await wire.close()
            return None
        self.ended[str(answer.status)] += 1
        assert answer.status != 500, answer
        return wire

    async def _badly(
        self,
        how: Callable[[Wire, bytes], Awaitable[str]],
        model: str,
        pair: Pair,
        *,
        stream: bool,
    ) -> None:
        wire = await Wire.connect(self._port)
        self.ended[await how(wire, self._request(model, pair, stream=stream))] += 1
        await wire.close()

    def _request(self, model: str, pair: Pair, *, stream: bool, fault: str = "") -> bytes:
        raw_head, _, body = pair.request(stream=stream).partition(b"\r\n\r\n")
        asked = json.loads(body) | {"model": model}
        if fault:
            name = "metadata" if pair.api.path == "/messages" else "user"
            asked[name] = {"user_id": fault} if name == "metadata" else fault
        body = json.dumps(asked).encode()
        kept = (b"content-length", b"connection")
        lines = [line for line in raw_head.split(b"\r\n") if not line.startswith(kept)]
        return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", b""]) + body


async def leaves_at_once(wire: Wire, request: bytes) -> str:
    wire.send(request)
    fin(wire)
    return "left"


async def resets_within(wire: Wire, request: bytes) -> str:
    wire.send(request)
    await wire.reader.readuntil(b"\r\n\r\n")
    reset(wire)
    return "reset"


async def sends_half(wire: Wire, request: bytes) -> str:
    wire.send(request[:-20])
    await asyncio.sleep(0)
    reset(wire)
    return "half sent"


async def sends_no_json(wire: Wire, request: bytes) -> str:
    wire.send(request[:-1] + b"!")
    return str((await wire.answer()).status)


async def has_another_key(wire: Wire, request: bytes) -> str:
    wire.send(request.replace(bundles.CLIENT_KEY.encode(), b"sk-rs-unknown"))
    return str((await wire.answer()).status)


async def speaks_no_http(wire: Wire, _: bytes) -> str:
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    return str((await wire.answer()).status)


BAD_CLIENTS = [
    leaves_at_once,
    resets_within,
    sends_half,
    sends_no_json,
    has_another_key,
    speaks_no_http,
]


def memory_bytes(sidecar: Sidecar) -> int:
    with open(f"/proc/{sidecar.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files_of(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))


def threads_of(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/task"))


def slope(samples: list[tuple[int, int]]) -> float:
    """Least squares: bytes a request."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    above = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return above / sum((x - mean_x) ** 2 for x, _ in samples)


def soaked(provider: scripts.Provider) -> tuple[Config, list[tuple[str, Pair]]]:
    """A pool for each pair, so that one process serves them all, each under a model of its own."""
    found, pools = [], []
    for name, pair in PAIRS.items():
        made = pair.config(f"{provider.url}/v1", connections=Connections(max=100))
        (one,) = made.pools[0].providers
        model = one.models[0].model_copy(update={"name": name, "upstream": name})
        one = one.model_copy(update={"models": (model,), "name": "main"})
        pools.append(made.pools[0].model_copy(update={"id": f"shop/{name}", "providers": (one,)}))
        found.append((name, pair))
    return bundles.config(pools=tuple(pools)), found


def fault_of(asked: dict[str, Any]) -> str:
    """As the client wished for it, in whichever field the dialect carries an end user."""
    metadata = asked.get("metadata") or {}
    return str(asked.get("user") or asked.get("safety_identifier") or metadata.get("user_id", ""))


@pytest.mark.timeout(3600)
async def test_P12_a_long_run_with_a_fifth_of_faults_leaks_nothing(tmp_path: Path) -> None:
    faults = {name: provider_faults(pair) for name, pair in PAIRS.items()}
    good = {name: (pair.whole(), pair.stream()) for name, pair in PAIRS.items()}

    def answer(asked: scripts.Request) -> Any:
        provider.requests.clear()
        provider.peers[:] = provider.open_peers
        body = asked.json()
        name = body["model"]
        return faults[name].get(fault_of(body)) or good[name][body.get("stream") is True]

    async with scripts.Provider(answer) as provider:
        config, pairs = soaked(provider)
        bundles.publish(tmp_path, config)
        with running_sidecar(tmp_path, tmp_path) as sidecar:
            soak = Soak(int(sidecar.api.rpartition(":")[2]), random.Random(SEED))
            began_s, samples, steps = time.monotonic(), [], 50
            files = 0
            for step in range(1, steps + 1):
                await soak.run(pairs, SOAK - SOAK * step // steps)
                samples.append((SOAK * step // steps, memory_bytes(sidecar)))
                files = files or files_of(sidecar)
            took_s = time.monotonic() - began_s
            warm = samples[steps // 4 :]
            per_100k = slope(warm) * 100_000 / MIB
            async with asyncio.timeout(30):
                while sidecar.metric("runestone_requests_in_flight") != 0:
                    await asyncio.sleep(0.05)
            rss = [f"{at / MIB:.1f}" for at in (samples[0][1], warm[0][1], samples[-1][1])]
            ends = ", ".join(f"{n} {what}" for what, n in sorted(soak.ended.items()))
            print(
                f"P12: {SOAK} requests in {took_s:.0f} s, seed {SEED}: {ends}; RSS"
                f" {' -> '.join(rss)} MiB, {per_100k:+.2f} MiB per 100,000 after"
                f" warm-up; files {files} -> {files_of(sidecar)}, threads {threads_of(sidecar)},"
                " 0 requests in flight"
            )
            assert soak.ended.total() == SOAK
            assert not [line for line in sidecar.lines() if line.get("status") == 500]
            assert abs(files_of(sidecar) - files) <= 60  # kept connections to the provider
            grown = samples[-1][1] - warm[0][1]
            assert grown <= max(6 * MIB, 2 * MIB * SOAK / 100_000), f"{grown / MIB:.1f} MiB"
