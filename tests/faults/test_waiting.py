"""Clients that come in a storm, wait for their key's limit, and leave when they like."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runestone_contract.config import Limits
from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.echo import completion, completion_events
from runestone_testing.gateway import raw_request
from runestone_testing.provider import SSE, chunk, head, json_reply
from runestone_testing.stand import Stand, planted, standing
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_contract.config import Config

CLIENTS = int(os.environ.get("RUNESTONE_WAITING_CLIENTS", "200"))
SEED = int(os.environ.get("RUNESTONE_SEED", "1"))
AT_ONCE = 3

WHOLE = json_reply(completion(canaries.ANSWER))
STREAM = (
    head(content_type=SSE)
    + b"".join(map(chunk, completion_events(canaries.ANSWER)))
    + scripts.LAST_CHUNK
)


def one_key(url: str) -> Config:
    key = bundles.key(
        limits=Limits(concurrent_requests=AT_ONCE).model_dump(), overflow={"mode": "Wait"}
    )
    return bundles.config(bundles.provider(url), keys=(key,))


@dataclass(slots=True)
class Storm:
    stand: Stand
    rng: random.Random
    running: int = 0
    most: int = 0
    came_to: Counter[str] = field(default_factory=Counter)

    def answer(self, asked: scripts.Request) -> scripts.Script:
        self.running += 1
        self.most = max(self.most, self.running)

        async def work(_: object) -> None:
            await asyncio.sleep(self.rng.random() * 0.005)
            self.running -= 1

        return [work, STREAM if asked.json().get("stream") else WHOLE]

    async def client(self) -> None:
        stream, leaves = self.rng.random() < 0.5, self.rng.random() < 0.3
        await asyncio.sleep(self.rng.random() * CLIENTS / 2000)
        wire = await Wire.connect(self.stand.gateway.port)
        wire.send(raw_request("connection: close", **planted(stream=stream)))
        if leaves:
            await asyncio.sleep(self.rng.random() * 0.2)
            wire.writer.transport.abort()
            self.came_to["left"] += 1
        else:
            answer = await wire.closed()
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n" if stream else b"}"), answer
            self.came_to["answered"] += 1
        await wire.close()


async def test_F3_whoever_stays_is_answered_and_whoever_leaves_leaves_nothing(
    tmp_path: Path,
) -> None:
    async with standing(tmp_path, config=one_key) as stand:
        storm = Storm(stand, random.Random(SEED))
        stand.provider.answer = storm.answer
        await asyncio.gather(*(storm.client() for _ in range(CLIENTS)))
        while stand.gateway.parts.traffic.in_flight:
            await asyncio.sleep(0.002)
        report = (await stand.client.get("/usage")).json()
        room, waits = stand.gateway.parts.room, stand.gateway.parts.health.metrics.waits
        assert report["limits"][0]["remaining"] == AT_ONCE, "a slot was leaked"
        assert (len(room), room.held_bytes) == (0, 0)
        assert set(waits.waiting.values()) <= {0}
        assert {outcome for _, outcome in waits.ended} <= {"admitted", "left"}
        assert waits.ended["shop/app", "admitted"] > CLIENTS / 4  # else it was no storm
    assert storm.came_to.total() == CLIENTS
    print(dict(storm.came_to), dict(waits.ended), "at most", storm.most)
