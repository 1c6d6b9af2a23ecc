"""Sidecars that share limits over a ledger in memory, to be cut off, killed and delayed.

Everything waits on the loop's clock, so that hours pass at once on a loop of virtual time. Each
admission is logged: the truth that no stretch of time may hold more of than the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.shared_limits import SharedLimiter, SharedReservation
from runestone_sidecar.errors import LimitReached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_sidecar.config.snapshot import Principal

LEASE_S = 10.0
TIMEOUT_S = 1.0
ONE = Need(tokens=1, cost_picodollars=1)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Message:
    content: bytes
    revision: int
    at_s: float
    until_s: float | None


@dataclass
class Store:
    """What NATS does of it: one value a key, each change with a revision, told to everybody."""

    name: str = "store-1"
    is_up: bool = True
    messages: dict[str, Message] = field(default_factory=dict)
    revision: int = 0
    ledgers: list[MemoryLedger] = field(default_factory=list)

    def get(self, key: str) -> Message | None:
        found = self.messages.get(key)
        if found is not None and found.until_s is not None and found.until_s <= now():
            del self.messages[key]
            return None
        return found

    def put(self, key: str, content: bytes, after: int | None, ttl_s: float | None) -> int | None:
        there = self.get(key)
        if after is not None and after != (there.revision if there else 0):
            return None
        self.revision += 1
        until_s = None if ttl_s is None else now() + ttl_s
        self.messages[key] = Message(content, self.revision, now(), until_s)
        for ledger in self.ledgers:
            ledger.hear(key, content, self.revision)
        return self.revision

    def wipe(self) -> None:
        self.messages.clear()
        self.revision = 0
        self.name += "+"


@dataclass
class MemoryLedger:
    store: Store
    rng: random.Random
    slowest_s: float
    limiter: SharedLimiter | None = None
    is_connected: bool = False
    calls: int = 0
    _heard: deque[tuple[str, bytes, int]] = field(default_factory=deque)
    _hears_s: float = 0.0

    def connect(self) -> None:
        if self.store.is_up and not self.is_connected:
            assert self.limiter is not None
            self.is_connected = True
            self._heard.clear()
            self.limiter.opened(self.store.name)

    def disconnect(self) -> None:
        """It notices."""
        if self.is_connected and self.limiter is not None:
            self.is_connected = False
            self.limiter.closed()

    def hear(self, key: str, content: bytes, revision: int) -> None:
        """Later, and in order."""
        if not self.is_connected:
            return
        self._hears_s = max(self._hears_s, now() + self._delay_s())
        self._heard.append((key, content, revision))
        asyncio.get_running_loop().call_at(self._hears_s, self._tell)

    def _tell(self) -> None:
        if self._heard and self.is_connected and self.limiter is not None:
            self.limiter.changed(*self._heard.popleft())

    async def read(self, key: str) -> tuple[bytes, int, float] | None:
        await self._way()
        found = self.store.get(key)
        age_s = now() - found.at_s if found else 0.0
        await self._way()
        return (found.content, found.revision, max(0.0, age_s - 0.01)) if found else None

    async def write(
        self, key: str, content: bytes, *, after: int | None = None, ttl_s: float | None = None
    ) -> int | None:
        """Lost on its way there, or its answer on the way back: the caller cannot tell."""
        await self._way()
        revision = self.store.put(key, content, after, ttl_s)
        await self._way()
        return revision

    async def _way(self) -> None:
        self.calls += 1
        await asyncio.sleep(self._delay_s())
        if not self.is_connected or not self.store.is_up:
            await asyncio.sleep(TIMEOUT_S)
            raise ConnectionError

    def _delay_s(self) -> float:
        return self.rng.uniform(0.0, self.slowest_s)


@dataclass
class Sidecar:
    name: str
    ledger: MemoryLedger
    limiter: SharedLimiter
    task: asyncio.Task[None]
    running: list[tuple[SharedReservation, Admission]] = field(default_factory=list)


@dataclass
class Admission:
    key: str
    at_s: float
    tokens: int
    sidecar: str
    until_s: float | None = None


class Sidecars:
    def __init__(self, *, seed: int = 0, slowest_s: float = 0.002) -> None:
        self.store = Store()
        self.rng = random.Random(seed)
        self.slowest_s = slowest_s
        self.all: list[Sidecar] = []
        self.log: list[Admission] = []
        self._made = 0

    def start(self) -> Sidecar:
        self._made += 1
        name = f"sidecar-{self._made}"
        ledger = MemoryLedger(self.store, self.rng, self.slowest_s)
        limiter = SharedLimiter(
            ledger, name, lease_s=LEASE_S, clock=asyncio.get_running_loop().time
        )
        ledger.limiter = limiter
        self.store.ledgers.append(ledger)
        sidecar = Sidecar(name, ledger, limiter, asyncio.create_task(limiter.run()))
        self.all.append(sidecar)
        if self.store.is_up:
            ledger.connect()
        else:
            limiter.closed()
        return sidecar

    def kill(self, sidecar: Sidecar) -> None:
        """It says nothing to anybody."""
        sidecar.ledger.is_connected = False
        self._end(sidecar)

    async def stop(self, sidecar: Sidecar) -> None:
        """It answers what it has, and hands over."""
        while sidecar.running:
            self.finish(sidecar)
        await sidecar.limiter.leave()
        self._end(sidecar)

    def _end(self, sidecar: Sidecar) -> None:
        sidecar.task.cancel()
        self.all.remove(sidecar)
        self.store.ledgers.remove(sidecar.ledger)
        for _, admission in sidecar.running:
            admission.until_s = now()

    def go_down(self) -> None:
        self.store.is_up = False
        for each in self.all:
            each.ledger.disconnect()

    def come_up(self, *, wiped: bool = False) -> None:
        if wiped:
            self.store.wipe()
        self.store.is_up = True
        for each in self.all:
            each.ledger.connect()

    async def ask(self, sidecar: Sidecar, of: Principal, need: Need = ONE) -> bool:
        """Runs until it is finished."""
        try:
            reservation = await sidecar.limiter.reserve(of, need)
        except LimitReached:
            return False
        assert reservation is not None
        admission = Admission(of.id, now(), need.tokens, sidecar.name)
        self.log.append(admission)
        if sidecar in self.all:
            sidecar.running.append((reservation, admission))
        return True

    def finish(self, sidecar: Sidecar) -> None:
        if sidecar.running:
            reservation, admission = sidecar.running.pop(0)
            admission.until_s = now()
            reservation.commit(tokens=admission.tokens, cost_picodollars=admission.tokens)

    def give_back(self, sidecar: Sidecar) -> None:
        """As if it had not been asked for: its provider was never reached."""
        if sidecar.running:
            reservation, admission = sidecar.running.pop(0)
            reservation.refund()
            self.log.remove(admission)

    async def use(
        self, sidecar: Sidecar, of: Principal, need: Need = ONE, *, used: int | None = None
    ) -> bool:
        """Asks, and is done at once; it has used so many tokens (None: as many as it needed)."""
        if not await self.ask(sidecar, of, need):
            return False
        if sidecar.running:
            reservation, admission = sidecar.running.pop()
            admission.until_s = now()
            admission.tokens = need.tokens if used is None else used
            reservation.commit(tokens=admission.tokens, cost_picodollars=need.cost_picodollars)
        return True

    async def shared(self) -> None:
        """All are."""
        while not all(each.limiter.is_shared for each in self.all):
            await asyncio.sleep(0.01)

    # -- the truth --

    def most(self, length_s: float, *, tokens: bool = False) -> int:
        """In any stretch of time so long, whichever sidecars admitted it."""
        inside: deque[Admission] = deque()
        total = most = 0
        for each in sorted(self.log, key=lambda each: each.at_s):
            inside.append(each)
            total += each.tokens if tokens else 1
            while inside[0].at_s < each.at_s - length_s:
                total -= inside[0].tokens if tokens else 1
                inside.popleft()
            most = max(most, total)
        return most

    def most_at_once(self) -> int:
        ends = [(each.at_s, 1) for each in self.log]
        ends += [(each.until_s, -1) for each in self.log if each.until_s is not None]
        running = most = 0
        for _, change in sorted(ends):
            running += change
            most = max(most, running)
        return most

    def admitted(self, since_s: float = 0.0, sidecar: Sidecar | None = None) -> int:
        return sum(
            1
            for each in self.log
            if each.at_s >= since_s and (sidecar is None or each.sidecar == sidecar.name)
        )


@contextlib.contextmanager
def sidecars(count: int, *, seed: int = 0, slowest_s: float = 0.002) -> Iterator[Sidecars]:
    made = Sidecars(seed=seed, slowest_s=slowest_s)
    for _ in range(count):
        made.start()
    try:
        yield made
    finally:
        for each in made.all:
            each.task.cancel()
