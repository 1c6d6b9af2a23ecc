"""A waiting room beside a limiter on the loop's clock, and what became of each who came there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.admit.key_usage import never_fits
from runestone_sidecar.admit.line import Waiter
from runestone_sidecar.admit.waiting import WaitingRoom
from runestone_sidecar.errors import GatewayError
from runestone_sidecar.telemetry.waits import Waits
from runestone_testing.limited import ONE, limiter

if TYPE_CHECKING:
    from runestone_sidecar.admit.limits import Need, Reservation
    from runestone_sidecar.admit.local_limits import LocalLimiter
    from runestone_sidecar.config.snapshot import Principal


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Guest:
    """One request: when it was let in, or why not."""

    waiter: Waiter
    began_s: float | None = None
    error: GatewayError | None = None
    ended_s: float | None = None
    reservation: Reservation | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Hall:
    principal: Principal
    terms: PolicyOverflow = field(default_factory=PolicyOverflow)
    max_bytes: int = 1 << 30
    counts: Waits = field(default_factory=Waits)
    asked: int = 0  # times that the limiter was
    guests: list[Guest] = field(default_factory=list)
    limiter: LocalLimiter = field(init=False, default_factory=limiter)
    room: WaitingRoom = field(init=False)

    def __post_init__(self) -> None:
        self.room = WaitingRoom(self.counts, max_bytes=self.max_bytes)

    @property
    def key(self) -> str:
        return self.principal.id

    def come(self, *, run_s: float | None = None, need: Need = ONE, body_bytes: int = 0) -> Guest:
        """A request that, once it is let in, runs for so long; None: until `end`."""

        async def ask() -> None:
            self.asked += 1
            found = await self.limiter.reserve(self.principal, need)
            if found is not None:
                guest.reservation = self.room.watched(found, self.key)

        async def live() -> None:
            limits = self.principal.limits
            fits = limits is None or not never_fits(limits, need)
            try:
                await self.room.admit(guest.waiter, fits=fits)
            except GatewayError as error:
                guest.error, guest.ended_s = error, now()
                return
            guest.began_s = now()
            if run_s is not None:
                try:
                    await asyncio.sleep(run_s)
                finally:
                    self.end(guest)

        guest = Guest(Waiter(self.key, self.terms, body_bytes, ask))
        guest.task = asyncio.create_task(live())
        self.guests.append(guest)
        return guest

    def end(self, guest: Guest) -> None:
        guest.ended_s = now()
        if guest.reservation is not None:
            guest.reservation.commit(tokens=1, cost_picodollars=1)

    async def settle(self) -> None:
        """Until nothing more happens without time going by."""
        for _ in range(4 * len(self.guests) + 8):
            await asyncio.sleep(0)

    async def leave(self, guest: Guest) -> None:
        assert guest.task is not None
        guest.task.cancel()
        await asyncio.gather(guest.task, return_exceptions=True)

    async def all_done(self) -> None:
        await asyncio.gather(*(guest.task for guest in self.guests if guest.task is not None))

    @property
    def begun(self) -> list[int]:
        """Who was let in so far, by the order in which they came."""
        return [at for at, guest in enumerate(self.guests) if guest.began_s is not None]

    def check_empty(self) -> None:
        assert len(self.room) == 0
        assert self.room.held_bytes == 0
        assert not any(self.counts.waiting.values())
