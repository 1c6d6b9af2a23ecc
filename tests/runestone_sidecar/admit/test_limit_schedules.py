"""Any schedule of requests against a log of all that was admitted: the truth, slow and plain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_contract.config import Budget, Limits
from runestone_sidecar.admit.limits import Need
from runestone_sidecar.errors import LimitReached
from runestone_testing.limited import key, limiter, refused, taken
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runestone_sidecar.admit.local_limits import LocalLimiter, LocalReservation

MINUTE_S, HOUR_S = 60, 3600


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Entry:
    at_s: float
    amount: int


@dataclass(slots=True)
class Open:
    reservation: LocalReservation
    entries: Mapping[str, Entry]


@dataclass(slots=True)
class Log:
    """What was admitted, kind by kind: the truth, as slow as it is plain."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)

    def used(self, kind: str, for_s: float) -> int:
        since_s = now() - for_s
        return sum(entry.amount for entry in self.entries.get(kind, ()) if entry.at_s >= since_s)

    def add(self, kind: str, amount: int) -> Entry:
        entry = Entry(now(), amount)
        self.entries.setdefault(kind, []).append(entry)
        return entry

    def settle(self, done: Open, used: Mapping[str, int]) -> None:
        for kind, entry in done.entries.items():
            more = used[kind] - entry.amount
            if more > 0:
                self.add(kind, more)
            else:
                entry.amount += more


LENGTHS_S = {
    "requests_per_minute": MINUTE_S,
    "requests_per_hour": HOUR_S,
    "tokens_per_minute": MINUTE_S,
    "budget": HOUR_S,
}


def sizes(limits: Limits) -> dict[str, int]:
    found = {kind: getattr(limits, kind) for kind in LENGTHS_S if kind != "budget"}
    found["budget"] = limits.budget.picodollars if limits.budget else None
    return {kind: size for kind, size in found.items() if size is not None}


def asked(need: Need, limits: Limits) -> dict[str, int]:
    wanted = {
        "requests_per_minute": 1,
        "requests_per_hour": 1,
        "tokens_per_minute": need.tokens,
        "budget": need.cost_picodollars,
    }
    return {kind: min(wanted[kind], size) for kind, size in sizes(limits).items()}


LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(1, 8),
    requests_per_hour=st.none() | st.integers(1, 20),
    tokens_per_minute=st.none() | st.integers(1, 60),
    concurrent_requests=st.none() | st.integers(1, 5),
    budget=st.none() | st.builds(Budget, picodollars=st.integers(1, 90), period=st.just("Hour")),
)
AMOUNTS = st.tuples(st.integers(0, 70), st.integers(0, 100))
# Times in 1/16 of a second, so that none is rounded.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([1, 15, 16, 160, 959, 960, 976, 9600, 57600])),
        st.tuples(st.just("reserve"), AMOUNTS),
        st.tuples(st.just("reserve"), AMOUNTS),
        st.tuples(st.just("commit"), AMOUNTS),
        st.tuples(st.just("refund"), st.none()),
        st.tuples(st.just("limits"), LIMITS),
    ),
    min_size=5,
    max_size=80,
)


@dataclass(slots=True)
class Trial:
    limiter: LocalLimiter
    limits: Limits
    log: Log = field(default_factory=Log)
    running: list[Open] = field(default_factory=list)

    async def step(self, what: str, of: Any) -> None:
        if what == "wait":
            await asyncio.sleep(of / 16)
        elif what == "limits":
            self.limits = of
        elif what == "reserve":
            await self.reserve(Need(*of))
        elif self.running:
            done = self.running.pop(0)
            tokens, cost = of or (0, 0)
            if what == "refund":
                done.reservation.refund()
            else:
                done.reservation.commit(tokens=tokens, cost_picodollars=cost)
            requests = 0 if what == "refund" else 1
            used = {"requests_per_minute": requests, "requests_per_hour": requests}
            self.log.settle(done, used | {"tokens_per_minute": tokens, "budget": cost})

    async def reserve(self, need: Need) -> None:
        principal = key(**dict(self.limits))
        wanted = asked(need, self.limits)
        before = self.limiter.state(principal)
        try:
            reservation = await self.limiter.reserve(principal, need)
        except LimitReached:
            assert self.limiter.state(principal) == before  # a refusal takes nothing
            assert self.is_full(wanted)
            return
        if reservation is None:
            assert self.limits == Limits()
            return
        entries = {kind: self.log.add(kind, amount) for kind, amount in wanted.items()}
        self.running.append(Open(reservation, entries))
        for kind, size in sizes(self.limits).items():
            assert wanted[kind] == 0 or self.log.used(kind, LENGTHS_S[kind]) <= size
        at_once = self.limits.concurrent_requests
        assert at_once is None or len(self.running) <= at_once

    def is_full(self, wanted: Mapping[str, int]) -> bool:
        """Counting one bucket more than the window is long: that much may be held back."""
        at_once = self.limits.concurrent_requests
        if at_once is not None and len(self.running) >= at_once:
            return True
        return any(
            wanted[kind] and self.log.used(kind, LENGTHS_S[kind] * 61 / 60) + wanted[kind] > size
            for kind, size in sizes(self.limits).items()
        )


@settings(max_examples=400)
@given(limits=LIMITS, steps=STEPS)
def test_any_schedule_stays_within_the_limits_and_within_a_bucket_of_them(
    limits: Limits, steps: list[tuple[str, Any]]
) -> None:
    async def play() -> None:
        trial = Trial(limiter(), limits)
        for what, of in steps:
            await trial.step(what, of)
        while trial.running:
            await trial.step("commit", (0, 0))
        await asyncio.sleep(2 * HOUR_S)
        assert len(trial.limiter) == 0  # and nothing is kept of it

    run_in_virtual_time(play())


@settings(max_examples=200)
@given(
    limits=LIMITS.filter(lambda limits: limits.concurrent_requests is None),
    steps=STEPS.map(lambda steps: [step for step in steps if step[0] != "limits"]),
    amounts=AMOUNTS,
)
def test_it_is_let_in_when_it_was_told_to_come_back_and_no_sooner(
    limits: Limits, steps: list[tuple[str, Any]], amounts: tuple[int, int]
) -> None:
    async def play() -> None:
        trial = Trial(limiter(), limits)
        for what, of in steps:
            await trial.step(what, of)
        principal, need = key(**dict(limits)), Need(*amounts)
        try:
            await trial.limiter.reserve(principal, need)
        except LimitReached as reached:
            assert reached.retry_after_s is not None
            assert 0 < reached.retry_after_s <= 120
            if reached.retry_after_s < 120:
                await asyncio.sleep(reached.retry_after_s - 1 / 16)
                await refused(trial.limiter, principal, need)
                await asyncio.sleep(1 / 16)
                await taken(trial.limiter, principal, need)

    run_in_virtual_time(play())
