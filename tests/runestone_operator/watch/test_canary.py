from __future__ import annotations

import pytest

from runestone_operator.kinds import CONFIG_MAP, SECRET
from runestone_operator.watch.canary import NAME, Canary, Patience


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def canary(clock: Clock) -> Canary:
    return Canary("system", Patience(period_s=30, silence_s=120, outage_s=600), clock=clock)


def test_a_heard_canary_is_no_complaint(canary: Canary, clock: Clock) -> None:
    for version in range(1, 100):
        canary.sung(version)
        clock.now_s += 30
        canary.heard(version)
        assert canary.complaint() is None
    assert canary.age_s == 0


def test_silence_after_a_confirmed_change_is_a_dead_watch(canary: Canary, clock: Clock) -> None:
    canary.sung(1)
    clock.now_s += 120
    assert canary.complaint() is None
    clock.now_s += 1
    assert canary.complaint() == "the watch does not show changes that were made"
    assert canary.age_s == 121


def test_later_changes_do_not_excuse_an_earlier_one(canary: Canary, clock: Clock) -> None:
    for version in range(1, 10):
        canary.sung(version)
        clock.now_s += 30
    assert canary.complaint() is not None


def test_an_echo_of_a_later_change_will_do(canary: Canary, clock: Clock) -> None:
    canary.sung(1)
    canary.sung(5)
    canary.heard(9)  # another operator sang, too
    clock.now_s += 200
    assert canary.complaint() is None


def test_an_echo_may_come_before_the_answer(canary: Canary, clock: Clock) -> None:
    canary.heard(3)
    canary.sung(3)
    clock.now_s += 200
    assert canary.complaint() is None


def test_an_absent_api_server_is_not_our_fault(canary: Canary, clock: Clock) -> None:
    canary.sung(1)
    canary.heard(1)
    clock.now_s += 599
    assert canary.complaint() is None


def test_but_after_a_long_time_it_may_be(canary: Canary, clock: Clock) -> None:
    clock.now_s += 601
    assert canary.complaint() == "the API server has not answered for a long time"
    canary.answered()
    assert canary.complaint() is None


def test_it_knows_itself(canary: Canary) -> None:
    assert canary.is_it(CONFIG_MAP, {"namespace": "system", "name": NAME})
    assert not canary.is_it(CONFIG_MAP, {"namespace": "shop", "name": NAME})
    assert not canary.is_it(CONFIG_MAP, {"namespace": "system", "name": "other"})
    assert not canary.is_it(SECRET, {"namespace": "system", "name": NAME})
