"""Limits under clocks that lie, bursts at a window's edge, streams cut short, and live changes.

What the store alone can show: what goes over the wire is tried elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Budget
from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.local_limits import LocalReservation
from runestone_sidecar.errors import LimitReached
from runestone_testing.limited import DOLLAR, ONE, budget, key, limiter, remaining
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runestone_sidecar.admit.local_limits import LocalLimiter
    from runestone_sidecar.config.snapshot import Principal


async def asked(
    limits: LocalLimiter, of: Principal, need: Need = ONE
) -> LocalReservation | LimitReached:
    try:
        found = await limits.reserve(of, need)
    except LimitReached as reached:
        return reached
    assert found is not None
    return found


async def admitted(limits: LocalLimiter, of: Principal, *, at_s: Iterable[float]) -> list[float]:
    """When of these times a request was let in; each uses what it needed and ends at once."""
    loop = asyncio.get_running_loop()
    found = []
    for when_s in at_s:
        await asyncio.sleep(max(0.0, when_s - loop.time()))
        answer = await asked(limits, of)
        if isinstance(answer, LocalReservation):
            answer.commit(tokens=1, cost_picodollars=1)
            found.append(loop.time())
    return found


# The clocks are replaced before anything of ours is imported, so that whichever is read is ours.
WITH_CLOCKS = """
import asyncio, sys, time
wall = [1_800_000_000.0]
running = [1_000.0]
time.time = lambda: wall[0]
time.time_ns = lambda: int(wall[0] * 1e9)
time.monotonic = lambda: running[0]

from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.local_limits import LocalLimiter
from runestone_sidecar.errors import LimitReached
from runestone_testing.limited import key

principal = key(requests_per_minute=5, requests_per_hour=8, tokens_per_minute=9)
limiter = LocalLimiter()

async def admitted():
    count = 0
    for _ in range(20):
        try:
            (await limiter.reserve(principal, Need(1, 0))).commit(tokens=1, cost_picodollars=0)
            count += 1
        except LimitReached:
            pass
    return count

async def play(jump_s, frozen):
    counts = [await admitted()]
    for jump in (jump_s, -jump_s, jump_s):
        wall[0] += jump
        counts.append(await admitted())
    running[0] += 61
    wall[0] += 0 if frozen else 61
    counts.append(await admitted())
    print(*counts)

asyncio.run(play(float(sys.argv[1]), sys.argv[2] == "frozen"))
"""


@pytest.mark.parametrize(
    ("jump_s", "wall"),
    [(3600, "runs"), (-3600, "runs"), (0, "frozen")],
    ids=["H1-an-hour-on", "H1-an-hour-back", "H1-frozen"],
)
def test_H1_the_wall_clock_opens_no_window_and_closes_none(jump_s: int, wall: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", WITH_CLOCKS, str(jump_s), wall],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert said.stdout.split() == ["5", "0", "0", "0", "3"], said.stderr


@pytest.mark.parametrize("length_s", [60, 3600], ids=["minute", "hour"])
@pytest.mark.parametrize("edge", [0.0, 0.25, 0.5, 1.0], ids=lambda edge: f"edge+{edge}")
def test_H2_no_double_burst_at_the_edge_of_a_window(length_s: int, edge: float) -> None:
    """All at once before the edge of a calendar's minute or hour, and all at once after it."""

    async def play() -> None:
        limits = {60: "requests_per_minute", 3600: "requests_per_hour"}
        start_s = 10 * length_s + edge * length_s / 60
        before = [start_s - 0.5] * 100
        after = [start_s + 0.5] * 100
        times = await admitted(limiter(), key(**{limits[length_s]: 10}), at_s=before + after)
        assert times == [start_s - 0.5] * 10

    run_in_virtual_time(play())


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 0.999], ids=lambda phase: f"phase-{phase}")
def test_H2_no_minute_whatever_holds_more_than_the_limit_at_ten_times_the_load(
    phase_s: float,
) -> None:
    limit, minutes = 30, 20

    async def play() -> None:
        offered = [phase_s + number * 60 / (10 * limit) for number in range(10 * limit * minutes)]
        times = await admitted(limiter(), key(requests_per_minute=limit), at_s=offered)
        for first in times:
            assert sum(first <= when <= first + 60 for when in times) <= limit
        assert len(times) >= limit * minutes * 0.95

    run_in_virtual_time(play())


def test_H2_refused_requests_use_nothing_up() -> None:
    """A client that hammers is let in as often as one that waits."""

    async def play() -> None:
        principal = key(requests_per_minute=2, tokens_per_minute=1000, budget=budget(1))
        hammered = limiter()
        await admitted(hammered, principal, at_s=[number / 100 for number in range(6000)])
        assert remaining(hammered, principal) == {
            "requests_per_minute": 0,
            "tokens_per_minute": 998,
            "budget": DOLLAR - 2,
        }

    run_in_virtual_time(play())


def test_H5_a_stream_cut_short_is_charged_for_what_was_sent() -> None:
    async def play() -> None:
        limits, principal = limiter(), key(tokens_per_minute=10_000, budget=budget(1))
        stream = await asked(limits, principal, Need(4096, DOLLAR // 2))
        assert isinstance(stream, LocalReservation)
        assert remaining(limits, principal) == {"tokens_per_minute": 5904, "budget": DOLLAR // 2}
        await asyncio.sleep(20)  # while it runs nobody else may have what it may need
        assert isinstance(await asked(limits, principal, Need(5905, 0)), LimitReached)
        stream.commit(tokens=120, cost_picodollars=DOLLAR // 100)
        assert remaining(limits, principal) == {
            "tokens_per_minute": 9880,
            "budget": DOLLAR - DOLLAR // 100,
        }

    run_in_virtual_time(play())


def test_H5_a_stream_that_used_more_than_was_thought_is_charged_for_all_of_it() -> None:
    """Known at its end alone, which may be long after the minute in which it was let in."""

    async def play() -> None:
        limits, principal = limiter(), key(tokens_per_minute=1000)
        stream = await asked(limits, principal, Need(100, 0))
        assert isinstance(stream, LocalReservation)
        await asyncio.sleep(300)
        stream.commit(tokens=2600, cost_picodollars=0)
        assert remaining(limits, principal) == {"tokens_per_minute": 0}
        reached = await asked(limits, principal)
        assert isinstance(reached, LimitReached)
        assert reached.retry_after_s is not None
        await asyncio.sleep(reached.retry_after_s)
        assert remaining(limits, principal) == {"tokens_per_minute": 1000}

    run_in_virtual_time(play())


LOWERED = [
    pytest.param({"requests_per_minute": 10}, {"requests_per_minute": 3}, id="H6-minute"),
    pytest.param({"requests_per_hour": 10}, {"requests_per_hour": 3}, id="H6-hour"),
    pytest.param({"tokens_per_minute": 10}, {"tokens_per_minute": 3}, id="H6-tokens"),
    pytest.param({"concurrent_requests": 10}, {"concurrent_requests": 3}, id="H6-concurrency"),
    pytest.param(
        {"budget": Budget(picodollars=10, period="Day")},
        {"budget": Budget(picodollars=3, period="Day")},
        id="H6-budget",
    ),
    pytest.param(
        {"requests_per_hour": 1000, "concurrent_requests": 1000},
        {"requests_per_hour": 3, "concurrent_requests": 1000},
        id="H6-one-of-two",
    ),
]


@pytest.mark.parametrize(("before", "after"), LOWERED)
def test_H6_a_lowered_limit_counts_for_the_next_request(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The key is another object of another snapshot; what it has used is what it had used."""

    async def play() -> None:
        limits, first, then = limiter(), key(**before), key(**after)
        running = [await asked(limits, first) for _ in range(5)]
        limits.prune([then.id])
        assert isinstance(await asked(limits, then), LimitReached)
        assert isinstance(await asked(limits, first), LocalReservation)  # raised again
        for one in running:
            assert isinstance(one, LocalReservation)
            one.refund()
        assert isinstance(await asked(limits, then), LocalReservation)

    run_in_virtual_time(play())
