"""Windows against a log of everything that was added, on a clock that the test moves."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_sidecar.admit.window import BUCKETS, Window

HOUR_S, DAY_S, MONTH_S = 3600, 86_400, 30 * 86_400
LENGTHS_S = (60, HOUR_S, DAY_S, MONTH_S)

# In 1/16 of a second, so that no time is rounded; often on a bucket's edge, often at once.
PAUSES = st.one_of(
    st.just(0), st.integers(1, 40), st.sampled_from([16, 160, 944, 960, 976]), st.integers(1, 2000)
)
STEPS = st.lists(st.tuples(PAUSES, st.integers(1, 12)), min_size=1, max_size=120)


@dataclass(slots=True)
class Added:
    at_s: float
    amount: int


def used(log: list[Added], since_s: float, until_s: float) -> int:
    return sum(added.amount for added in log if since_s <= added.at_s <= until_s)


def admitted(window: Window, steps: list[tuple[int, int]], *, limit: int) -> list[Added]:
    """Asks for each amount after each pause; the answers are checked against the log."""
    log: list[Added] = []
    length_s = window.length_s
    now_s = 0.0
    for pause, amount in steps:
        now_s += pause / 16 * (length_s / 60)
        window.advance(now_s)
        if window.total + amount <= limit:
            window.add(amount)
            log.append(Added(now_s, amount))
        else:  # no more than one bucket is held back
            assert used(log, now_s - length_s * (1 + 1 / BUCKETS), now_s) + amount > limit
    return log


@pytest.mark.parametrize("length_s", LENGTHS_S, ids=["minute", "hour", "day", "month"])
@settings(max_examples=150)
@given(steps=STEPS, limit=st.integers(1, 40))
def test_no_stretch_of_time_holds_more_than_the_limit(
    length_s: int, steps: list[tuple[int, int]], limit: int
) -> None:
    log = admitted(Window(length_s, 0.0), steps, limit=limit)

    for first in log:
        assert used(log, first.at_s, first.at_s + length_s) <= limit


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.tuples(PAUSES, st.integers(1, 12), st.booleans(), st.none() | st.integers(0, 100)),
        max_size=120,
    )
)
def test_what_is_given_back_was_never_there(
    steps: list[tuple[int, int, bool, int | None]],
) -> None:
    """One window holds what is to be given back as well, the other does not."""
    window, without = Window(60, 0.0), Window(60, 0.0)
    now_s = 0.0
    held: list[Added] = []
    for pause, amount, stays, back in steps:
        now_s += pause / 16
        window.advance(now_s)
        without.advance(now_s)
        window.add(amount)
        if stays:
            without.add(amount)
        else:
            held.append(Added(now_s, amount))
        if held and back is not None:
            given = held.pop(back % len(held))
            window.give_back(given.amount, added_s=given.at_s)
        assert window.total - without.total == used(held, _edge(now_s), now_s)


def _edge(now_s: float) -> float:
    """Where the oldest second begins that a minute until now touches."""
    return math.floor(now_s - 60)


@settings(max_examples=200)
@given(steps=STEPS, limit=st.integers(1, 40), amount=st.integers(1, 40))
def test_room_comes_when_it_was_said_and_no_sooner(
    steps: list[tuple[int, int]], limit: int, amount: int
) -> None:
    window = Window(60, 0.0)
    log = admitted(window, steps, limit=limit)
    now_s = sum(pause for pause, _ in steps) / 16
    wait_s = window.room_in_s(amount, limit, now_s)

    if amount > limit:
        assert wait_s == math.inf
        return
    if wait_s:
        window.advance(now_s + wait_s - 1 / 16)
        assert window.total + amount > limit
    window.advance(now_s + wait_s)
    assert window.total + amount <= limit
    assert wait_s <= 61
    assert log or wait_s == 0


@settings(max_examples=200)
@given(steps=STEPS)
def test_it_is_empty_when_it_was_said_and_no_sooner(steps: list[tuple[int, int]]) -> None:
    window = Window(60, 0.0)
    admitted(window, steps, limit=20)
    now_s = sum(pause for pause, _ in steps) / 16 + 30  # it was not advanced to this moment
    wait_s = window.empty_in_s(now_s)

    if wait_s:
        window.advance(now_s + wait_s - 1 / 16)
        assert window.total
    window.advance(now_s + wait_s)
    assert not window.total


@settings(max_examples=200)
@given(
    steps=STEPS,
    before_s=st.sampled_from(LENGTHS_S),
    after_s=st.sampled_from(LENGTHS_S),
)
def test_another_length_lets_go_of_nothing_too_early(
    steps: list[tuple[int, int]], before_s: int, after_s: int
) -> None:
    window = Window(before_s, 0.0)
    log = admitted(window, steps, limit=200)
    now_s = sum(pause for pause, _ in steps) / 16 * (before_s / 60)

    window.stretch(after_s, now_s)
    assert window.length_s == after_s
    kept = [added for added in log if added.at_s >= now_s - before_s]
    for at_s in (now_s, *(max(now_s, added.at_s + after_s) for added in kept)):
        window.advance(at_s)
        assert window.total >= used(kept, at_s - after_s, at_s)
        assert window.total <= sum(added.amount for added in log)
    window.advance(now_s + after_s * (1 + 1 / BUCKETS))
    assert window.total == 0


@pytest.mark.parametrize("after_s", [60, HOUR_S, MONTH_S], ids=["minute", "hour", "month"])
def test_what_was_added_before_the_length_changed_is_given_back_after(after_s: int) -> None:
    window = Window(HOUR_S, 7.0)
    window.add(10)
    window.stretch(after_s, 31.0)
    window.give_back(10, added_s=7.0)
    assert window.total == 0


def test_a_debt_stands_in_the_way_until_it_has_slid_out() -> None:
    window = Window(60, 0.0)
    window.add(25)  # of 10

    assert window.room_in_s(1, 10, 0.0) == 61
    window.advance(60.9)
    assert window.total == 25
    window.advance(61.0)
    assert window.total == 0


def test_a_full_minute_is_let_in_nearly_a_minute_after_the_last() -> None:
    """At ten times the limit, evenly: at most a 60th is lost to the width of a bucket."""
    window, limit = Window(60, 0.0), 600
    count = 0
    for number in range(10 * limit * 60):  # an hour
        window.advance(number / 100)
        if window.total < limit:
            window.add(1)
            count += 1
    assert 60 * limit * 60 / 61 - limit <= count <= 60 * limit
