"""Which credential is used while others are to be left alone."""

import pytest

from runestone_sidecar.admit.cooldown import MAX_PAUSE_S, Cooldowns, Reason, Whose

KEYS = ("one", "two")


def paused(*pauses: tuple[Whose, Reason, float]) -> Cooldowns:
    cooldowns = Cooldowns()
    for whose, reason, wait_s in pauses:
        cooldowns.pause(whose, reason, wait_s, 0.0)
    return cooldowns


LIMITED, REFUSED, OVERLOADED = Reason.RATE_LIMITED, Reason.REFUSED, Reason.OVERLOADED


@pytest.mark.parametrize(
    ("pauses", "position"),
    [
        pytest.param([], 0, id="all-well"),
        pytest.param([("one", LIMITED, 9)], 1, id="first-is-limited"),
        pytest.param([("one", LIMITED, 5)], 0, id="pause-is-over"),
        pytest.param([("one", LIMITED, 9), ("two", LIMITED, 9)], None, id="both-are-limited"),
        pytest.param([("one", REFUSED, 9)], 1, id="first-is-refused"),
        pytest.param([("one", REFUSED, 9), ("two", LIMITED, 9)], 0, id="refused-is-the-last-hope"),
        pytest.param([("one", REFUSED, 9), ("two", REFUSED, 9)], 0, id="both-are-refused"),
        pytest.param([(("one", "m"), REFUSED, 9)], 1, id="refused-for-this-model"),
        pytest.param([(("one", "other"), REFUSED, 9)], 0, id="refused-for-another-model"),
        pytest.param([(None, OVERLOADED, 9)], None, id="the-whole-provider"),
        pytest.param([(None, OVERLOADED, 5)], 0, id="the-whole-provider-no-more"),
    ],
)
def test_pick(pauses: list[tuple[Whose, Reason, float]], position: int | None) -> None:
    assert paused(*pauses).pick(KEYS, "m", 5.0) == position


def test_pick_leaves_out_what_was_tried() -> None:
    cooldowns = paused(("two", LIMITED, 9))
    assert cooldowns.pick(KEYS, "m", 0.0, tried=(0,)) is None
    assert cooldowns.pick(KEYS, "m", 9.0, tried=(0,)) == 1


def test_the_wait_is_for_the_soonest_credential_and_for_the_provider() -> None:
    cooldowns = paused(("one", LIMITED, 9), ("two", LIMITED, 6))
    assert cooldowns.wait_s(KEYS, 2.0) == 4.0
    cooldowns.pause(None, OVERLOADED, 8.0, 0.0)
    assert cooldowns.wait_s(KEYS, 2.0) == 6.0
    assert cooldowns.wait_s(KEYS, 99.0) == 0.0


def test_a_pause_is_capped_and_never_made_shorter() -> None:
    cooldowns = paused(("one", LIMITED, 86_400))
    assert cooldowns.wait_s(("one",), 0.0) == MAX_PAUSE_S
    cooldowns.pause("one", LIMITED, 1.0, 0.0)
    assert cooldowns.wait_s(("one",), 0.0) == MAX_PAUSE_S


def test_news_is_told_once_until_it_is_over() -> None:
    cooldowns = Cooldowns()
    assert cooldowns.pause("one", REFUSED, None, 0.0)
    assert not cooldowns.pause("one", REFUSED, None, 100.0)
    assert cooldowns.pause("one", LIMITED, None, 100.0)
    assert cooldowns.succeeded("one", "m")
    assert not cooldowns.succeeded("one", "m")
    assert cooldowns.pause("one", REFUSED, None, 200.0)


def test_a_success_clears_what_it_disproves_alone() -> None:
    cooldowns = paused(
        (None, OVERLOADED, 9), (("one", "m"), REFUSED, 9), (("one", "x"), REFUSED, 9)
    )
    cooldowns.succeeded("one", "m")
    assert cooldowns.pick(("one",), "m", 0.0) == 0
    assert not cooldowns.refused(("one",), "m", 0.0)
    assert cooldowns.refused(("one",), "x", 0.0)


def test_a_new_key_has_no_past() -> None:
    cooldowns = paused((None, OVERLOADED, 9), ("one", REFUSED, 9), (("one", "m"), REFUSED, 9))
    cooldowns.keep(("new",))
    assert cooldowns.overloaded(0.0)
    cooldowns.succeeded("new", "m")
    assert not cooldowns
