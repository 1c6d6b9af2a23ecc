"""What a request reserves, uses and gives back, and what is remembered of it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.local_limits import LocalLimiter
from runestone_testing.limited import (
    DOLLAR,
    ONE,
    budget,
    key,
    limiter,
    refused,
    remaining,
    taken,
)
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from types import FrameType

    from runestone_sidecar.config.snapshot import Principal

MINUTE_S, HOUR_S, DAY_S, MONTH_S = 60, 3600, 86_400, 30 * 86_400


def test_a_key_without_limits_is_not_counted() -> None:
    async def play() -> None:
        limits, principal = limiter(), key()
        assert await limits.reserve(principal, ONE) is None
        assert limits.state(principal) == []
        assert len(limits) == 0

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


def test_less_used_than_nothing_gives_nothing_away() -> None:
    """A provider's count of tokens is what a provider says."""

    async def play() -> None:
        limits, principal = limiter(), key(tokens_per_minute=100, budget=budget(1))
        (await taken(limits, principal)).commit(tokens=-500, cost_picodollars=-DOLLAR)
        assert remaining(limits, principal) == {"tokens_per_minute": 100, "budget": DOLLAR}

    run_in_virtual_time(play())


def test_keys_do_not_share() -> None:
    async def play() -> None:
        limits = limiter()
        await taken(limits, key("one", requests_per_minute=1))
        await taken(limits, key("two", requests_per_minute=1))
        await refused(limits, key("one", requests_per_minute=1))

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


def test_a_budget_of_nothing_lets_in_what_costs_nothing() -> None:
    async def play() -> None:
        limits, principal = limiter(), key(budget=budget(0))
        await taken(limits, principal, Need(10, 0))
        error = await refused(limits, principal, Need(10, 1))
        assert error.message == (
            "This API key may spend $0.00 in a day: a request like this one is never let in."
        )

    run_in_virtual_time(play())


def test_what_a_request_costs_does_not_grow() -> None:
    """Calls of Python functions, for all five limits: the same for one key and for a thousand."""
    every: dict[str, Any] = {
        "requests_per_minute": 10**6,
        "requests_per_hour": 10**6,
        "tokens_per_minute": 10**6,
        "concurrent_requests": 10**6,
        "budget": budget(1000),
    }

    async def play() -> None:
        store, principal = limiter(), key(**every)
        for number in range(1000):
            await taken(store, key(f"k{number}", **every), Need(10, 10))
        await taken(store, principal, Need(10, 10))
        calls: list[str] = []

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                calls.append(frame.f_code.co_qualname)

        sys.setprofile(note)
        reservation = await store.reserve(principal, Need(10, 10))
        assert reservation is not None
        reservation.commit(tokens=5, cost_picodollars=5)
        sys.setprofile(None)
        assert len(calls) <= 26, calls

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


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

    run_in_virtual_time(play())


async def taken_and_done(limits: LocalLimiter, of: Principal) -> None:
    (await taken(limits, of)).commit(tokens=1, cost_picodollars=1)
