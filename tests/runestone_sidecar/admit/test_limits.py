"""Limits of keys: against a log of all that was admitted, and in the words that a client reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_contract.config import Budget, Limits
from runestone_sidecar.admit.limits import LimitState, Need, duration, rate_limit_headers
from runestone_sidecar.admit.local_limits import LocalLimiter, LocalReservation
from runestone_sidecar.config.build import build_principal
from runestone_sidecar.errors import BudgetSpent, LimitReached
from runestone_testing import bundles
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from runestone_sidecar.config.snapshot import Principal

ONE = Need(tokens=1, cost_picodollars=1)
DOLLAR = 10**12
MINUTE_S, HOUR_S, DAY_S, MONTH_S = 60, 3600, 86_400, 30 * 86_400


def key(name: str = "app", **limits: Any) -> Principal:
    return build_principal(bundles.key(name, limits=Limits(**limits)))


def budget(dollars: float, period: str = "Day") -> Budget:
    return Budget(picodollars=int(dollars * DOLLAR), period=period)


def now() -> float:
    return asyncio.get_running_loop().time()


def limiter() -> LocalLimiter:
    return LocalLimiter(clock=asyncio.get_running_loop().time)


async def taken(limits: LocalLimiter, of: Principal, need: Need = ONE) -> LocalReservation:
    found = await limits.reserve(of, need)
    assert found is not None
    return found


async def refused(limits: LocalLimiter, of: Principal, need: Need = ONE) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        await limits.reserve(of, need)
    return caught.value


def remaining(limits: LocalLimiter, of: Principal) -> dict[str, int]:
    return {state.kind: state.remaining for state in limits.state(of)}


def virtually(work: Coroutine[None, None, None]) -> None:
    run_in_virtual_time(work)


# --- any schedule against the log


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


@settings(max_examples=400, deadline=None)
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

    virtually(play())


@settings(max_examples=200, deadline=None)
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

    virtually(play())


# --- what is reserved, used and given back


def test_a_key_without_limits_is_not_counted() -> None:
    async def play() -> None:
        limits, principal = limiter(), key()
        assert await limits.reserve(principal, ONE) is None
        assert limits.state(principal) == []
        assert len(limits) == 0

    virtually(play())


def test_all_or_nothing_is_taken() -> None:
    async def play() -> None:
        limits = limiter()
        principal = key(requests_per_minute=5, requests_per_hour=1, tokens_per_minute=100)
        await taken(limits, principal, Need(10, 0))
        for _ in range(10):
            await refused(limits, principal, Need(10, 0))
        assert remaining(limits, principal) == {
            "requests_per_minute": 4,
            "requests_per_hour": 0,
            "tokens_per_minute": 90,
        }

    virtually(play())


@pytest.mark.parametrize("ending", ["refund", "commit"])
def test_the_first_ending_counts(ending: str) -> None:
    async def play() -> None:
        limits = limiter()
        principal = key(
            requests_per_minute=5, tokens_per_minute=100, concurrent_requests=2, budget=budget(1)
        )
        full = remaining(limits, principal)
        other = await taken(limits, principal, Need(1, 0))
        reservation = await taken(limits, principal, Need(50, DOLLAR))
        assert remaining(limits, principal)["concurrent_requests"] == 0
        if ending == "refund":
            reservation.refund()
        else:
            reservation.commit(tokens=7, cost_picodollars=3)
        for _ in range(3):
            reservation.refund()
            reservation.commit(tokens=90, cost_picodollars=90)
        other.refund()
        used = (0, 0, 0) if ending == "refund" else (1, 7, 3)
        assert remaining(limits, principal) == {
            "requests_per_minute": full["requests_per_minute"] - used[0],
            "tokens_per_minute": full["tokens_per_minute"] - used[1],
            "budget": full["budget"] - used[2],
            "concurrent_requests": 2,
        }

    virtually(play())


def test_less_used_than_nothing_gives_nothing_away() -> None:
    """A provider's count of tokens is what a provider says."""

    async def play() -> None:
        limits, principal = limiter(), key(tokens_per_minute=100, budget=budget(1))
        (await taken(limits, principal)).commit(tokens=-500, cost_picodollars=-DOLLAR)
        assert remaining(limits, principal) == {"tokens_per_minute": 100, "budget": DOLLAR}

    virtually(play())


def test_keys_do_not_share() -> None:
    async def play() -> None:
        limits = limiter()
        await taken(limits, key("one", requests_per_minute=1))
        await taken(limits, key("two", requests_per_minute=1))
        await refused(limits, key("one", requests_per_minute=1))

    virtually(play())


@pytest.mark.parametrize("period", ["Hour", "Day", "Month", "Fortnight"])
def test_a_budget_is_free_again_a_period_later(period: str) -> None:
    length_s = {"Hour": HOUR_S, "Day": DAY_S}.get(period, MONTH_S)
    clock = [12_345.0]

    async def play() -> None:
        limits = LocalLimiter(clock=lambda: clock[0])
        principal = key(budget=budget(5, period))
        spent = Need(0, 5 * DOLLAR)
        (await taken(limits, principal, spent)).commit(tokens=0, cost_picodollars=5 * DOLLAR)
        clock[0] += length_s
        await refused(limits, principal)
        clock[0] += length_s / 60
        await taken(limits, principal, spent)

    asyncio.run(play())


def test_another_period_does_not_forgive_what_was_spent() -> None:
    async def play() -> None:
        limits = limiter()
        open_ = await taken(limits, key(budget=budget(5, "Hour")), Need(0, 5 * DOLLAR))
        for period in ("Day", "Month", "Hour"):
            await refused(limits, key(budget=budget(5, period)))
        open_.refund()
        await taken(limits, key(budget=budget(5, "Day")), Need(0, 5 * DOLLAR))

    virtually(play())


# --- what is larger than a limit


def test_more_than_a_limit_is_let_in_when_all_of_it_is_free() -> None:
    async def play() -> None:
        limits = limiter()
        principal = key(tokens_per_minute=100, budget=budget(1))
        large = Need(5000, 9 * DOLLAR, input_tokens=100, input_cost_picodollars=DOLLAR)
        open_ = await taken(limits, principal, large)
        assert remaining(limits, principal) == {"tokens_per_minute": 0, "budget": 0}
        open_.commit(tokens=10, cost_picodollars=10)
        await refused(limits, principal, large)
        assert remaining(limits, principal) == {"tokens_per_minute": 90, "budget": DOLLAR - 10}

    virtually(play())


@pytest.mark.parametrize(
    ("need", "code", "said"),
    [
        pytest.param(
            Need(500, 0, input_tokens=101),
            "rate_limit_exceeded",
            "This request is too large: this API key may use 100 tokens a minute, and its input"
            " alone comes to about 101 tokens. Send less input; waiting does not help.",
            id="tokens",
        ),
        pytest.param(
            Need(0, 9 * DOLLAR, input_cost_picodollars=3 * DOLLAR // 2),
            "insufficient_quota",
            "This request is too large: this API key may spend $1.00 in a day, and its input"
            " alone comes to about $1.50. Send less input; waiting does not help.",
            id="budget",
        ),
    ],
)
def test_input_larger_than_a_limit_is_never_let_in(need: Need, code: str, said: str) -> None:
    async def play() -> None:
        error = await refused(limiter(), key(tokens_per_minute=100, budget=budget(1)), need)
        assert (error.message, error.code, error.exhausted) == (said, code, True)
        assert error.retry_after_s == 120

    virtually(play())


def test_a_budget_of_nothing_lets_in_what_costs_nothing() -> None:
    async def play() -> None:
        limits, principal = limiter(), key(budget=budget(0))
        await taken(limits, principal, Need(10, 0))
        error = await refused(limits, principal, Need(10, 1))
        assert error.message == (
            "This API key may spend $0.00 in a day: a request like this one is never let in."
        )

    virtually(play())


# --- reloads and idle keys


def test_counters_outlive_reloads_and_a_key_that_is_gone_for_a_moment() -> None:
    async def play() -> None:
        limits = limiter()
        await taken(limits, key(budget=budget(1)), Need(0, DOLLAR))
        limits.prune([])
        await asyncio.sleep(600)
        limits.prune(["shop/app"])
        await asyncio.sleep(2 * HOUR_S)
        await refused(limits, key(budget=budget(1)))

    virtually(play())


def test_a_key_that_is_gone_for_good_is_forgotten_once_it_has_ended() -> None:
    async def play() -> None:
        limits = limiter()
        principal = key(budget=budget(1))
        open_ = await taken(limits, principal)
        (await taken(limits, principal)).commit(tokens=0, cost_picodollars=1)
        limits.prune([])
        await asyncio.sleep(50 * MINUTE_S)
        limits.prune([])
        await asyncio.sleep(11 * MINUTE_S)
        assert len(limits) == 1
        open_.commit(tokens=1, cost_picodollars=1)
        await asyncio.sleep(61)
        assert len(limits) == 0

    virtually(play())


def test_idle_keys_are_forgotten_by_themselves() -> None:
    """As many as take several slices; one whose hour still counts stays longer."""

    async def play() -> None:
        limits = limiter()
        for number in range(1000):
            await taken_and_done(limits, key(f"k{number}", requests_per_minute=1))
        busy = key("busy", requests_per_minute=5, requests_per_hour=5)
        await taken_and_done(limits, busy)
        assert len(limits) == 1001
        await asyncio.sleep(150)
        assert len(limits) == 1
        assert remaining(limits, busy) == {"requests_per_minute": 5, "requests_per_hour": 4}
        await asyncio.sleep(HOUR_S)
        assert len(limits) == 0
        await taken_and_done(limits, busy)
        await asyncio.sleep(2 * HOUR_S)
        assert len(limits) == 0

    virtually(play())


async def taken_and_done(limits: LocalLimiter, of: Principal) -> None:
    (await taken(limits, of)).commit(tokens=1, cost_picodollars=1)


# --- what a client reads

REACHED = [
    pytest.param(
        {"requests_per_minute": 1},
        (1, ONE),
        ONE,
        "Rate limit reached: this API key may send 1 request a minute. Try again in 61 seconds.",
        (61, False),
        id="minute",
    ),
    pytest.param(
        {"requests_per_hour": 1000},
        (1000, ONE),
        ONE,
        "Rate limit reached: this API key may send 1,000 requests an hour."
        " Try again in 61 minutes.",
        (120, True),
        id="hour",
    ),
    pytest.param(
        {"tokens_per_minute": 2500},
        (1, Need(2499, 0)),
        Need(3, 0),
        "Rate limit reached: this API key may use 2,500 tokens a minute and has 1 token left;"
        " this request may need 3 tokens. Try again in 61 seconds.",
        (61, False),
        id="tokens",
    ),
    pytest.param(
        {"concurrent_requests": 2},
        (2, ONE),
        ONE,
        "Too many requests at once: this API key may have 2 requests running at once."
        " Try again when one of them has ended.",
        (1, False),
        id="concurrency",
    ),
    pytest.param(
        {"budget": budget(1234.5, "Day")},
        (1, Need(0, 1234 * DOLLAR)),
        Need(0, DOLLAR // 2 + 1),
        "Budget reached: this API key may spend $1,234.50 in a day and has $0.50 left;"
        " this request may need $0.500001. Try again in 25 hours.",
        (120, True),
        id="day",
    ),
    pytest.param(
        {"budget": budget(20, "Month")},
        (20, Need(0, DOLLAR)),
        Need(0, DOLLAR // 8),
        "Budget reached: this API key may spend $20.00 in 30 days and has $0.00 left;"
        " this request may need $0.125. Try again in 31 days.",
        (120, True),
        id="month",
    ),
    pytest.param(
        {"tokens_per_minute": 5, "budget": budget(20, "Hour"), "concurrent_requests": 1},
        (1, Need(5, 20 * DOLLAR)),
        Need(5, DOLLAR),
        "Budget reached: this API key may spend $20.00 in an hour and has $0.00 left;"
        " this request may need $1.00. Try again in 61 minutes.",
        (120, True),
        id="the-longest-wait",
    ),
]


@pytest.mark.parametrize(("limits", "before", "need", "said", "wait"), REACHED)
def test_a_refusal_names_the_limit_and_when_to_come_back(
    limits: dict[str, Any],
    before: tuple[int, Need],
    need: Need,
    said: str,
    wait: tuple[float, bool],
) -> None:
    async def play() -> None:
        store, principal = limiter(), key(**limits)
        for _ in range(before[0]):
            await taken(store, principal, before[1])
        error = await refused(store, principal, need)
        assert error.message == said
        assert (error.retry_after_s, error.exhausted) == wait
        budget_spent = said.startswith("Budget")
        assert isinstance(error, BudgetSpent) == budget_spent
        assert error.code == ("insufficient_quota" if budget_spent else "rate_limit_exceeded")
        assert error.status == 429
        assert error.limit in remaining(store, principal)

    virtually(play())


def test_nothing_at_once_is_nothing_ever() -> None:
    async def play() -> None:
        error = await refused(limiter(), key(concurrent_requests=0))
        assert error.message == (
            "This API key may have 0 requests running at once: a request like this one is never"
            " let in."
        )
        assert (error.retry_after_s, error.exhausted) == (120, True)

    virtually(play())


def test_a_client_does_not_try_again_by_itself_on_a_budget() -> None:
    """Though there is room soon: the next request would find none again."""

    async def play() -> None:
        store, principal = limiter(), key(budget=budget(1, "Hour"))
        await taken(store, principal, Need(0, DOLLAR))
        await asyncio.sleep(HOUR_S)
        error = await refused(store, principal)
        assert (error.retry_after_s, error.exhausted) == (60, True)

    virtually(play())


def test_headers_are_openais() -> None:
    async def play() -> None:
        store = limiter()
        principal = key(
            requests_per_minute=60,
            requests_per_hour=1000,
            tokens_per_minute=10_000,
            concurrent_requests=4,
            budget=budget(1),
        )
        await asyncio.sleep(0.75)
        open_ = await taken(store, principal, Need(4000, 1))
        expected = {
            b"x-ratelimit-limit-requests": b"60",
            b"x-ratelimit-remaining-requests": b"59",
            b"x-ratelimit-reset-requests": b"1m1s",
            b"x-ratelimit-limit-tokens": b"10000",
            b"x-ratelimit-remaining-tokens": b"6000",
            b"x-ratelimit-reset-tokens": b"1m1s",
            b"x-ratelimit-limit-concurrent": b"4",
            b"x-ratelimit-remaining-concurrent": b"3",
        }
        assert dict(open_.headers) == expected
        open_.commit(tokens=1000, cost_picodollars=1)
        assert dict(open_.headers) == expected | {
            b"x-ratelimit-remaining-tokens": b"9000",
            b"x-ratelimit-remaining-concurrent": b"4",
        }
        error = await refused(store, principal, Need(9001, 1))
        assert sorted(error.headers) == sorted(open_.headers)

    virtually(play())


@pytest.mark.parametrize(
    ("minute", "hour", "limit"),
    [
        pytest.param(5, 6, b"10", id="minute"),
        pytest.param(5, 4, b"99", id="hour"),
        pytest.param(0, 0, b"99", id="both-used-up-the-later"),
    ],
)
def test_of_the_limits_on_requests_the_nearer_is_shown(
    minute: int, hour: int, limit: bytes
) -> None:
    states = [
        LimitState("requests_per_minute", limit=10, remaining=minute, reset_s=60.0),
        LimitState("requests_per_hour", limit=99, remaining=hour, reset_s=3600.0),
    ]
    for order in (states, states[::-1]):
        assert dict(rate_limit_headers(order))[b"x-ratelimit-limit-requests"] == limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, b"0s"),
        (0.0001, b"1ms"),
        (0.02, b"20ms"),
        (0.9995, b"1s"),
        (1.0, b"1s"),
        (59.2, b"1m0s"),
        (360.0, b"6m0s"),
        (3600.0, b"1h0m0s"),
        (30 * 86_400.0, b"720h0m0s"),
    ],
    ids=str,
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text


def test_state_shows_every_limit_and_makes_none() -> None:
    async def play() -> None:
        store = limiter()
        principal = key(requests_per_hour=7, concurrent_requests=2, budget=budget(1, "Month"))
        assert store.state(principal) == [
            LimitState("requests_per_hour", limit=7, remaining=7, reset_s=0.0),
            LimitState("budget", limit=DOLLAR, remaining=DOLLAR, reset_s=0.0, period="Month"),
            LimitState("concurrent_requests", limit=2, remaining=2, reset_s=0.0),
        ]
        assert len(store) == 0

    virtually(play())
