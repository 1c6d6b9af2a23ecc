"""Any schedule of requests that wait, against a queue that is told in a few lines."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.admit.limits import Need
from runestone_testing.limited import key
from runestone_testing.virtual_time import run_in_virtual_time
from runestone_testing.waiting import Hall, now


@dataclass(frozen=True, slots=True)
class Coming:
    at_s: float
    run_s: int
    patience_s: float | None  # until the client leaves, if it still waits


def spread(drawn: list[tuple[int, int, int | None]]) -> list[Coming]:
    """No two things happen at the same time: which came first would be anybody's guess."""
    return [
        Coming(at + number / 100, run, None if patience is None else patience + 0.5)
        for number, (at, run, patience) in enumerate(sorted(drawn, key=lambda each: each[0]))
    ]


COMING = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 15), st.one_of(st.none(), st.integers(0, 20))),
    min_size=1,
    max_size=30,
).map(spread)


@dataclass(slots=True)
class Model:
    """A queue before so many servers."""

    servers: int
    max_queued: int
    max_age_s: int

    def gone(self, each: Coming) -> tuple[float, str]:
        late = (each.at_s + self.max_age_s, "too late")
        if each.patience_s is None:
            return late
        return min(late, (each.at_s + each.patience_s, "left"))

    def begun(self, coming: list[Coming]) -> list[float | str]:
        """When each began, or why it did not."""
        ends: list[float] = []  # of those that run
        queue: list[int] = []
        told: list[float | str] = ["?"] * len(coming)

        def serve(until_s: float) -> None:
            """What happens up to this moment to those in the queue."""
            while queue:
                free_s = ends[0] if len(ends) >= self.servers else 0.0
                (gone_s, why), leaver = min((self.gone(coming[each]), each) for each in queue)
                if gone_s < min(free_s, until_s):
                    told[leaver] = why
                    queue.remove(leaver)
                elif free_s <= until_s:
                    heapq.heappop(ends)
                    told[queue[0]] = free_s
                    heapq.heappush(ends, free_s + coming[queue.pop(0)].run_s)
                else:
                    return

        for number, each in enumerate(coming):
            serve(each.at_s)
            while ends and ends[0] <= each.at_s:
                heapq.heappop(ends)
            if not queue and len(ends) < self.servers:
                told[number] = each.at_s
                heapq.heappush(ends, each.at_s + each.run_s)
            elif len(queue) >= self.max_queued:
                told[number] = "full"
            else:
                queue.append(number)
        serve(float("inf"))
        return told


async def lived(hall: Hall, coming: list[Coming]) -> list[float | str]:
    left: set[int] = set()

    async def lose(number: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        guest = hall.guests[number]
        if guest.began_s is None and guest.error is None:
            left.add(number)
            await hall.leave(guest)

    losing = []
    for number, each in enumerate(coming):
        await asyncio.sleep(each.at_s - now())
        hall.come(run_s=each.run_s)
        if each.patience_s is not None:
            losing.append(asyncio.create_task(lose(number, each.patience_s)))
    await asyncio.gather(*losing)
    await asyncio.gather(*(g.task for g in hall.guests if g.task), return_exceptions=True)
    hall.check_empty()
    return [told(hall, number, left) for number in range(len(coming))]


def told(hall: Hall, number: int, left: set[int]) -> float | str:
    guest = hall.guests[number]
    if number in left:
        return "left"
    if guest.error is not None:
        return "full" if "already" in guest.error.message else "too late"
    assert guest.began_s is not None
    return round(guest.began_s, 6)


@settings(max_examples=300, deadline=None)
@given(COMING, st.integers(1, 3), st.integers(1, 8), st.integers(5, 40))
def test_who_begins_when_is_what_a_queue_says(
    coming: list[Coming], servers: int, max_queued: int, max_age_s: int
) -> None:
    terms = PolicyOverflow(max_queued=max_queued, max_age_ms=max_age_s * 1000)

    async def play() -> None:
        hall = Hall(key(concurrent_requests=servers), terms)
        expected = Model(servers, max_queued, max_age_s).begun(coming)
        assert await lived(hall, coming) == [
            each if isinstance(each, str) else round(each, 6) for each in expected
        ]

    run_in_virtual_time(play())


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "requests_per_minute": st.integers(1, 5),
        "tokens_per_minute": st.integers(50, 200),
        "concurrent_requests": st.integers(1, 3),
    },
)


@settings(max_examples=150, deadline=None)
@given(COMING, LIMITS, st.lists(st.integers(1, 50), min_size=30, max_size=30))
def test_under_any_limits_all_begin_in_the_order_in_which_they_came(
    coming: list[Coming], limits: dict[str, Any], tokens: list[int]
) -> None:
    async def play() -> None:
        hall = Hall(key(**limits))
        for each, size in zip(coming, tokens, strict=False):
            await asyncio.sleep(each.at_s - now())
            hall.come(run_s=each.run_s, need=Need(size, 0))
        await hall.all_done()
        began = [guest.began_s for guest in hall.guests]
        assert None not in began
        assert began == sorted(began, key=lambda at: at or 0.0)
        # Each arrival and each end may ask once, and once more for the next in line; looks do.
        assert hall.asked <= 4 * len(coming) + now()
        hall.check_empty()

    run_in_virtual_time(play())
