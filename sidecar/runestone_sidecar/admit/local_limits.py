"""The limits of keys counted in this process: exact where it is the only replica.

All of a request's limits are looked at before anything is taken. The wall clock is not read:
setting it opens no window and closes none. Counts outlive reloads, and are forgotten by themselves
once they make no difference.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from runestone_contract.config import Limits
from runestone_sidecar.admit.key_usage import KINDS, SLOTS, Hold, KeyUsage, asked
from runestone_sidecar.admit.limits import (
    BUDGET,
    CONCURRENT_REQUESTS,
    TOKENS_PER_MINUTE,
    LimitState,
    Lines,
    Need,
    rate_limit_lines,
)
from runestone_sidecar.admit.refusal import limit_reached
from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.errors import LimitReached

SLOT_WAIT_S: Final = 1.0  # nobody knows when a running request ends
SWEEP_EVERY_S: Final = 60.0
SWEPT_AT_ONCE: Final = 256  # keys: a fraction of a millisecond
SWEEP_PAUSE_S: Final = 0.02


class LocalReservation:
    __slots__ = ("_at_s", "_holds", "_limiter", "_limits", "_usage")

    def __init__(
        self,
        limiter: "LocalLimiter",
        limits: Limits,
        usage: KeyUsage,
        holds: list[Hold],
        at_s: float,
    ) -> None:
        self._limiter = limiter
        self._limits = limits
        self._usage = usage
        self._holds: list[Hold] | None = holds
        self._at_s = at_s

    def commit(self, *, tokens: int, cost_picodollars: int) -> None:
        spent = cost_picodollars if cost_picodollars > 0 else 0
        self._settle((1, 1, tokens if tokens > 0 else 0, spent))

    def refund(self) -> None:
        self._settle((0, 0, 0, 0))

    @property
    def lines(self) -> Lines:
        return self._usage.lines(self._limits, self._limiter.clock())

    def _settle(self, used: tuple[int, int, int, int]) -> None:
        """`used` has a place for each of KINDS."""
        holds, self._holds = self._holds, None
        if holds is None:
            return
        self._usage.in_flight -= 1
        for which, window, held in holds:
            more = used[which] - held
            if more < 0:
                window.give_back(-more, added_s=self._at_s)
            elif more > 0:  # a debt: it counts from now on
                window.advance(self._limiter.clock())
                window.add(more)


class LocalLimiter:
    """A Limiter. Its state is a few kilobytes for each key that was used of late."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        make_usage: Callable[[], KeyUsage] = KeyUsage,
    ) -> None:
        self.clock = clock
        self._make_usage = make_usage
        self._used: dict[str, KeyUsage] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._unswept: list[str] = []

    def take(self, principal: Principal, need: Need) -> LocalReservation | None:
        limits = principal.limits
        if limits is None:
            return None
        now_s = self.clock()
        usage = self._used.get(principal.id) or self._begin(principal.id)
        holds = usage.take(limits, need, now_s)
        return None if holds is None else LocalReservation(self, limits, usage, holds, now_s)

    async def reserve(self, principal: Principal, need: Need) -> LocalReservation | None:
        reservation = self.take(principal, need)
        if reservation is None and principal.limits is not None:
            raise refusal(self.usage(principal.id), principal.limits, need, self.clock())
        return reservation

    def state(self, principal: Principal) -> list[LimitState]:
        if principal.limits is None:
            return []
        usage = self._used.get(principal.id) or KeyUsage()
        return list(usage.states(principal.limits, self.clock()))

    def prune(self, keep: Collection[str]) -> None:
        """A key that is gone is remembered for a while: it may have been replaced by itself."""
        now_s = self.clock()
        for id_, usage in self._used.items():
            if id_ in keep:
                usage.gone_since_s = None
            elif usage.gone_since_s is None:
                usage.gone_since_s = now_s

    @property
    def usages(self) -> Mapping[str, KeyUsage]:
        return self._used

    def usage(self, id_: str) -> KeyUsage:
        return self._used.get(id_) or self._begin(id_)

    def __len__(self) -> int:
        """Keys that it holds something for."""
        return len(self._used)

    def _begin(self, id_: str) -> KeyUsage:
        usage = self._used[id_] = self._make_usage()
        if self._sweeping is None:
            self._sweep_in(SWEEP_EVERY_S)
        return usage

    def _sweep_in(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Comes round by itself for as long as there is anything to forget."""
        self._sweeping = None
        now_s = self.clock()
        unswept = self._unswept or list(self._used)
        self._unswept = unswept[SWEPT_AT_ONCE:]
        for id_ in unswept[:SWEPT_AT_ONCE]:
            if (usage := self._used.get(id_)) and not usage.matters(now_s):
                del self._used[id_]
        if self._used:
            self._sweep_in(SWEEP_PAUSE_S if self._unswept else SWEEP_EVERY_S)


def refusal(usage: KeyUsage, limits: Limits, need: Need, now_s: float) -> LimitReached:
    """By the limit that there is to wait for longest."""
    waits = {
        KINDS[which]: (usage.room_in_s(which, length_s, limit, amount, now_s=now_s), amount)
        for which, length_s, limit, amount in asked(limits, need)
        if amount
    }
    at_once = limits.concurrent_requests
    if at_once is not None and usage.in_flight >= min(at_once, usage.usable[SLOTS]):
        waits[CONCURRENT_REQUESTS] = (SLOT_WAIT_S if at_once else math.inf, 1)
    kind = max(waits, key=lambda kind: waits[kind][0])
    wait_s, amount = waits[kind]
    states = list(usage.states(limits, now_s))
    certain = {TOKENS_PER_MINUTE: need.input_tokens, BUDGET: need.input_cost_picodollars}
    return limit_reached(
        next(state for state in states if state.kind == kind),
        amount=amount,
        input_alone=certain.get(kind, 0),
        wait_s=wait_s,
        lines=rate_limit_lines(states),
    )
