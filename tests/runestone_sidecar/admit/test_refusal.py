"""What a client reads about its limits: refusals, headers, and the state of each limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runestone_sidecar.admit.limits import LimitState, Need, duration, rate_limit_lines
from runestone_sidecar.edge.respond import headers_in
from runestone_sidecar.errors import BudgetSpent
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

HOUR_S = 3600

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
        {"budget": budget(1, "Day")},
        (1, Need(0, DOLLAR // 2)),
        Need(0, 3 * DOLLAR, input_cost_picodollars=DOLLAR // 100),
        "Budget reached: this API key may spend $1.00 in a day and has $0.50 left;"
        " this request may need $1.00. Allow it less output, or try again in 25 hours.",
        (120, True),
        id="day-for-what-may-be-written",
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

    run_in_virtual_time(play())


def test_nothing_at_once_is_nothing_ever() -> None:
    async def play() -> None:
        error = await refused(limiter(), key(concurrent_requests=0))
        assert error.message == (
            "This API key may have 0 requests running at once: a request like this one is never"
            " let in."
        )
        assert (error.retry_after_s, error.exhausted) == (120, True)

    run_in_virtual_time(play())


def test_a_client_does_not_try_again_by_itself_on_a_budget() -> None:
    """Though there is room soon: the next request would find none again."""

    async def play() -> None:
        store, principal = limiter(), key(budget=budget(1, "Hour"))
        await taken(store, principal, Need(0, DOLLAR))
        await asyncio.sleep(HOUR_S)
        error = await refused(store, principal)
        assert (error.retry_after_s, error.exhausted) == (60, True)

    run_in_virtual_time(play())


def shown(lines: bytes) -> dict[bytes, bytes]:
    return dict(headers_in(lines))


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
        assert shown(open_.lines) == expected
        open_.commit(tokens=1000, cost_picodollars=1)
        assert shown(open_.lines) == expected | {
            b"x-ratelimit-remaining-tokens": b"9000",
            b"x-ratelimit-remaining-concurrent": b"4",
        }
        error = await refused(store, principal, Need(9001, 1))
        assert shown(error.lines) == shown(open_.lines)

    run_in_virtual_time(play())


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
        assert b"x-ratelimit-limit-requests: %b\r\n" % limit in rate_limit_lines(order)


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

    run_in_virtual_time(play())
