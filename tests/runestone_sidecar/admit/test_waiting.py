"""Who waits for a limit: in order, bounded, woken when there is room, and gone without a trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.waiting import LOOK_EVERY_S, WAITER_BYTES
from runestone_sidecar.errors import BudgetSpent, Draining, LimitReached
from runestone_testing.limited import DOLLAR, ONE, budget, key
from runestone_testing.virtual_time import run_in_virtual_time
from runestone_testing.waiting import Guest, Hall, now


def terms(**fields: Any) -> PolicyOverflow:
    return PolicyOverflow(**fields)


def test_first_come_first_served_and_never_two_at_once() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1))
        for _ in range(5):
            hall.come(run_s=10)
        await hall.all_done()
        assert [guest.began_s for guest in hall.guests] == [0, 10, 20, 30, 40]
        hall.check_empty()

    run_in_virtual_time(play())


def test_a_free_slot_wakes_the_first_at_once_and_nobody_else() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=2))
        guests = [hall.come() for _ in range(20)]
        await hall.settle()
        assert hall.begun == [0, 1]
        asked = hall.asked
        hall.end(guests[0])
        await hall.settle()
        assert hall.begun == [0, 1, 2]
        assert hall.asked == asked + 2  # the one that was let in, and the next, in vain
        for guest in guests:
            await hall.leave(guest)

    run_in_virtual_time(play())


def test_as_many_are_let_in_as_there_is_room_for() -> None:
    async def play() -> None:
        hall = Hall(key(requests_per_minute=3))
        for _ in range(9):
            hall.come(run_s=1)
        await hall.all_done()
        began = [guest.began_s for guest in hall.guests]
        assert began == sorted(began, key=lambda at: at or 0)
        assert [round(at or 0) for at in began] == [0, 0, 0, 61, 61, 61, 122, 122, 122]
        # One question each, one in vain for each time that there is no more room, and looks.
        assert hall.asked <= 9 + 4 + 122 / LOOK_EVERY_S

    run_in_virtual_time(play())


def test_a_small_request_does_not_overtake_a_large_one() -> None:
    async def play() -> None:
        hall = Hall(key(tokens_per_minute=100))
        first = hall.come(need=Need(90, 0))
        large = hall.come(need=Need(50, 0))
        await hall.settle()
        small = hall.come(need=Need(10, 0))  # there is room for it
        await hall.settle()
        assert hall.begun == [0]
        await hall.leave(large)
        await hall.settle()
        assert small.began_s == now()
        hall.end(first)

    run_in_virtual_time(play())


def test_what_is_given_back_wakes_the_first_too() -> None:
    async def play() -> None:
        hall = Hall(key(tokens_per_minute=100))
        first = hall.come(need=Need(90, 0))
        second = hall.come(need=Need(50, 0))
        await hall.settle()
        assert second.began_s is None
        assert first.reservation is not None
        first.reservation.refund()
        await hall.settle()
        assert second.began_s == now() == 0

    run_in_virtual_time(play())


@pytest.mark.parametrize("who", [1, 2, 3], ids=["first", "middle", "last"])
def test_one_that_leaves_never_starts_and_takes_no_slot(who: int) -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1))
        guests = [hall.come(run_s=10, body_bytes=1000) for _ in range(4)]
        await asyncio.sleep(3)
        await hall.leave(guests[who])
        await hall.settle()
        left = [each for at, each in enumerate(guests) if at not in {0, who}]
        assert [place for place, _ in filter(None, standings(*left))] == [1, 2]
        assert hall.room.held_bytes == 2 * (WAITER_BYTES + 2000)
        await asyncio.gather(*(g.task for g in hall.guests if g.task), return_exceptions=True)
        began = [guest.began_s for guest in guests]
        assert began.pop(who) is None
        assert began == [0, 10, 20]
        assert guests[who].waiter.waited_s == 3
        assert hall.counts.ended == {("shop/app", "admitted"): 2, ("shop/app", "left"): 1}
        hall.check_empty()

    run_in_virtual_time(play())


def test_one_that_leaves_in_the_moment_of_its_turn_leaves_it_to_the_next() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1))
        running, first, second = [hall.come() for _ in range(3)]
        await hall.settle()
        hall.end(running)  # wakes the first
        await hall.leave(first)
        await hall.settle()
        assert (first.began_s, first.reservation) == (None, None)
        assert second.began_s == 0
        await hall.leave(second)

    run_in_virtual_time(play())


def test_a_full_line_refuses_with_a_time_to_come_back() -> None:
    async def play() -> None:
        hall = Hall(key(requests_per_minute=1), terms(max_queued=2))
        guests = [hall.come() for _ in range(5)]
        await hall.settle()
        assert [guest.error is None for guest in guests] == [True, True, True, False, False]
        error = guests[3].error
        assert isinstance(error, LimitReached)
        assert error.code == "rate_limit_exceeded"
        assert error.message == (
            "This API key's limit of requests a minute is reached, and as many requests wait"
            " already as may."
        )
        assert error.retry_after_s == 120  # 183, but no client is sent away for longer
        assert hall.counts.ended == {("shop/app", "full"): 2}
        for guest in guests:
            await hall.leave(guest)
        hall.check_empty()

    run_in_virtual_time(play())


def test_memory_for_all_keys_together_is_bounded() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1), max_bytes=3 * WAITER_BYTES)
        running = hall.come()
        fits, too_much, small = (hall.come(body_bytes=size) for size in (WAITER_BYTES, 1, 0))
        await hall.settle()
        assert hall.room.held_bytes == 3 * WAITER_BYTES
        assert too_much.error is not None
        assert small.error is not None
        await hall.leave(fits)
        hall.come(run_s=0)
        await hall.settle()
        hall.end(running)
        await hall.settle()
        assert hall.begun == [0, 4]
        hall.check_empty()

    run_in_virtual_time(play())


def test_one_that_waited_too_long_is_refused_and_says_so() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1), terms(max_age_ms=30_000))
        running = hall.come()
        await asyncio.sleep(5)
        late = hall.come()
        await asyncio.sleep(20)
        later = hall.come(run_s=1)
        await asyncio.sleep(20)
        assert (late.ended_s, later.error) == (35, None)
        error = late.error
        assert isinstance(error, LimitReached)
        assert error.message == (
            "This API key's limit of requests at once is reached, and this request waited"
            " 30 seconds for its turn, as long as it may."
        )
        assert error.retry_after_s == 2 * 30  # it would be the third
        hall.end(running)
        await hall.settle()
        assert later.began_s == 45
        assert hall.counts.ended[hall.key, "timed_out"] == 1

    run_in_virtual_time(play())


HOPELESS = [
    pytest.param({"tokens_per_minute": 100}, Need(500, 0, input_tokens=200), id="input-too-large"),
    pytest.param({"requests_per_hour": 0}, ONE, id="limit-0"),
    pytest.param({"concurrent_requests": 0}, ONE, id="no-slot"),
    pytest.param({"budget": budget(0)}, ONE, id="no-money"),
]


@pytest.mark.parametrize(("limits", "need"), HOPELESS)
@pytest.mark.parametrize("others", [0, 2], ids=["alone", "behind others"])
def test_what_never_fits_is_refused_at_once(limits: Any, need: Need, others: int) -> None:
    async def play() -> None:
        hall = Hall(key(**{"concurrent_requests": 1, **limits}))
        before = [hall.come(need=Need(1, 0)) for _ in range(others)]
        hopeless = hall.come(need=need)
        await hall.settle()
        assert hopeless.error is not None
        assert hopeless.error.exhausted
        assert hopeless.waiter.waited_s is None
        for guest in before:
            await hall.leave(guest)
        hall.check_empty()

    run_in_virtual_time(play())


def test_a_budget_that_is_spent_for_longer_than_one_may_wait_is_told_at_once() -> None:
    async def play() -> None:
        hall = Hall(key(budget=budget(1, "Day")), terms(max_age_ms=3_600_000))
        hall.come(need=Need(0, DOLLAR))
        error = hall.come(need=Need(0, DOLLAR))
        await hall.settle()
        assert isinstance(error.error, BudgetSpent)
        hall.check_empty()

    run_in_virtual_time(play())


def test_draining_sends_all_away_at_once() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1))
        running = hall.come()
        waiting = [hall.come() for _ in range(3)]
        await hall.settle()
        hall.room.close()
        await hall.settle()
        late = hall.come()
        await hall.settle()
        assert all(isinstance(guest.error, Draining) for guest in [*waiting, late])
        assert running.error is None
        assert hall.counts.ended == {(hall.key, "draining"): 3}
        hall.check_empty()

    run_in_virtual_time(play())


def test_a_lowered_limit_and_a_raised_one_hold_for_those_who_wait() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=2))
        running = [hall.come(), hall.come()]
        waiting = [hall.come() for _ in range(5)]
        await hall.settle()
        hall.principal = key(concurrent_requests=1)
        hall.room.look_again()
        hall.end(running[0])
        await hall.settle()
        assert hall.begun == [0, 1]
        hall.principal = key(concurrent_requests=4)
        hall.room.look_again()
        await hall.settle()
        assert hall.begun == [0, 1, 2, 3, 4]
        hall.principal = key()  # no limit any more
        hall.room.look_again()
        await hall.settle()
        assert hall.begun == [0, 1, 2, 3, 4, 5, 6]
        assert all(guest.began_s == 0 for guest in waiting)
        hall.check_empty()

    run_in_virtual_time(play())


def standings(*guests: Guest) -> list[tuple[int, float] | None]:
    return [guest.waiter.standing(now()) for guest in guests]


def test_the_estimate_is_the_limiters_times_the_place_until_the_line_has_moved() -> None:
    async def play() -> None:
        hall = Hall(key(requests_per_minute=1))
        _, first, second, third = [hall.come(run_s=0) for _ in range(4)]
        await hall.settle()
        assert standings(first, second, third) == [(1, 61), (2, 122), (3, 183)]
        await asyncio.sleep(20)
        assert standings(first, second, third) == [(1, 41), (2, 102), (3, 163)]
        await asyncio.sleep(42)  # the first is in, and one more in 60 s
        assert standings(first, second, third) == [None, (1, 60), (2, 121)]
        await hall.all_done()
        assert [guest.began_s for guest in hall.guests] == [0, 61, 122, 183]

    run_in_virtual_time(play())


def test_the_estimate_learns_how_long_requests_run() -> None:
    async def play() -> None:
        hall = Hall(key(concurrent_requests=1))
        guests = [hall.come(run_s=8) for _ in range(8)]
        await asyncio.sleep(6)  # nobody knows yet, but that none has ended within this
        assert standings(*guests[1:4]) == [(1, 0), (2, 6), (3, 12)]
        await asyncio.sleep(11)  # two of those who waited are in
        assert standings(*guests[2:6]) == [None, (1, 7), (2, 15), (3, 23)]
        await asyncio.sleep(6)
        assert standings(guests[3], guests[7]) == [(1, 1), (5, 33)]
        assert all(eta_s >= 0 for _, eta_s in filter(None, standings(*guests)))
        await hall.all_done()

    run_in_virtual_time(play())


def test_keys_do_not_wait_for_each_other() -> None:
    async def play() -> None:
        hall = Hall(key("one", concurrent_requests=1))
        stuck = [hall.come(), hall.come()]
        await hall.settle()
        hall.principal = key("two", concurrent_requests=1)
        free = hall.come(run_s=1)
        await hall.settle()
        assert free.began_s == 0
        for guest in stuck:
            await hall.leave(guest)

    run_in_virtual_time(play())
