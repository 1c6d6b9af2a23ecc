"""`hack/limit-matrix`: how many requests real sidecars let in, beside the limit that they share.

Each cell is a key of its own under ten times what it may; counted is what came to the provider.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runestone_contract.config import Budget, Limits
from runestone_testing.fleet import (
    DEADLINE_S,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Fleet,
    fleet,
    keys,
    secret_of,
)
from runestone_testing.gateway import question
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.sidecar import Sidecar

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "tests" / "limits" / "README.md"
SIDECARS = (2, 3, 5)
LIMIT = 40
SLOTS = 4
TIMES = 10
SECONDS = 70
MINUTE_S = 59.0  # what comes to the provider may be a little closer together than it was let in
ANSWER_S = 0.5
PAUSE_S = 1.0  # of a client that was refused a slot
AFTER_S = 1.0  # from which on slots are looked at
TOKENS = INPUT_TOKENS + OUTPUT_TOKENS
COST = INPUT_TOKENS * 150_000 + OUTPUT_TOKENS * 600_000

KINDS = {
    "requests a minute": Limits(requests_per_minute=LIMIT),
    "requests an hour": Limits(requests_per_hour=LIMIT),
    "tokens a minute": Limits(tokens_per_minute=LIMIT * TOKENS),
    "budget": Limits(budget=Budget(picodollars=LIMIT * COST, period="Day")),
    "requests at once": Limits(concurrent_requests=SLOTS),
}
LOADS = ("even", "all at one")
HEAD = """\
<!-- Made by hack/limit-matrix; do not edit. -->
# Limits over several sidecars, as counted at the provider

Real `runestone-sidecar` processes, one nats-server, a key for each row under {times} times its
limit for {seconds} s. The limit and what was admitted are in requests, of {tokens} tokens each, or
of their price. *Most* is the most in any minute, or at once. *Missed* is the part of the limit that
was not used, in the first minute or on average; of tokens and money a rest is left that is too
small for a whole request: one for all of them, or without NATS (*down*: killed before the first
request) one for each. Then each has its part: one that gets all of the load lets in no more.

| sidecars | load | limit on | NATS | limit | offered | admitted | most | missed |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass
class Cell:
    sidecars: int
    load: str
    kind: str
    nats: str
    offered: int = 0
    admitted: int = 0
    began_s: float = 0.0
    times: list[float] = field(default_factory=list)
    most: int = 0
    mean: float = 0.0
    wires: defaultdict[int, list[Wire]] = field(default_factory=lambda: defaultdict(list))

    def request(self) -> bytes:
        body = json.dumps(question(user=self.key, max_tokens=OUTPUT_TOKENS)).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (secret_of(self.key).encode(), len(body), body)
        )

    @property
    def key(self) -> str:
        return f"{self.load}-{self.kind}".replace(" ", "-")

    @property
    def is_of_slots(self) -> bool:
        return self.kind == "requests at once"

    @property
    def limit(self) -> int:
        return SLOTS if self.is_of_slots else LIMIT

    @property
    def missed(self) -> float:
        if self.is_of_slots:
            return 1 - self.mean / SLOTS
        return 1 - sum(at < self.began_s + 60 for at in self.times) / LIMIT

    def row(self) -> str:
        facts = (self.sidecars, self.load, self.kind, self.nats, self.limit, self.offered)
        missed = f"{max(0.0, self.missed):.0%}"
        return "| " + " | ".join(map(str, (*facts, self.admitted, self.most, missed))) + " |"


async def measure(sidecars: int, nats: str, seconds: float = SECONDS) -> list[Cell]:
    cells = [Cell(sidecars, load, kind, nats) for load in LOADS for kind in KINDS]
    served = keys(**{cell.key: KINDS[cell.kind] for cell in cells})
    with tempfile.TemporaryDirectory() as folder:
        async with fleet(Path(folder), sidecars, served) as group:
            group.lasts_s = ANSWER_S
            if nats == "down":
                await asyncio.to_thread(group.nats.stop)
                for sidecar in group.sidecars:
                    await group.until_metric(sidecar, "runestone_limits_shared", 0)
            await asyncio.gather(*(_load(group, cell, seconds) for cell in cells))
            for cell in cells:
                for wire in (wire for idle in cell.wires.values() for wire in idle):
                    await wire.close()
                cell.times = group.arrived.get(cell.key, [])
                most = group.most_running[cell.key]
                cell.most = most if cell.is_of_slots else group.most(cell.key, MINUTE_S)
    return cells


async def _load(group: Fleet, cell: Cell, seconds: float) -> None:
    cell.began_s = time.monotonic()
    until_s = cell.began_s + seconds
    if cell.is_of_slots:
        await asyncio.gather(
            _watch(group, cell, until_s),
            *(_client(group, cell, number, until_s) for number in range(TIMES * SLOTS)),
        )
        return
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds / 60 * TIMES * LIMIT)):
            due_s = cell.began_s + number * 60 / (TIMES * LIMIT)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            tasks.create_task(_ask(group, cell, number))


async def _client(group: Fleet, cell: Cell, number: int, until_s: float) -> None:
    while time.monotonic() < until_s:
        if not await _ask(group, cell, number):
            await asyncio.sleep(PAUSE_S)


async def _watch(group: Fleet, cell: Cell, until_s: float) -> None:
    seen = []
    await asyncio.sleep(AFTER_S)
    while time.monotonic() < until_s:
        seen.append(group.running[cell.key])
        await asyncio.sleep(0.05)
    cell.mean = sum(seen) / max(1, len(seen))


async def _ask(group: Fleet, cell: Cell, number: int) -> bool:
    at = 0 if cell.load == LOADS[1] else number % cell.sidecars
    cell.offered += 1
    idle = cell.wires[at]
    wire = idle.pop() if idle else await Wire.connect(_port(group.sidecars[at]))
    wire.send(cell.request())
    answer = await wire.answer(within_s=DEADLINE_S)
    idle.append(wire)
    assert answer.status_code in {200, 429}, answer
    is_admitted = answer.status_code == 200
    cell.admitted += is_admitted
    return is_admitted


def _port(sidecar: Sidecar) -> int:
    return int(sidecar.api.rpartition(":")[2])


async def matrix() -> list[Cell]:
    cells = []
    for nats in ("up", "down"):
        for found in await asyncio.gather(*(measure(count, nats) for count in SIDECARS)):
            cells += found
    return cells


def rendered(cells: list[Cell]) -> Iterator[str]:
    yield HEAD.format(times=TIMES, seconds=SECONDS, tokens=TOKENS)
    for cell in cells:
        yield cell.row() + "\n"


def main() -> None:
    text = "".join(rendered(asyncio.run(matrix())))
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
