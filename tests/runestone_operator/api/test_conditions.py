"""Conditions: the time moves on a flip only, and nothing new compares equal."""

from datetime import UTC, datetime

import pytest

from runestone_operator.api.conditions import (
    ACCEPTED,
    PROGRAMMED,
    RESOLVED_REFS,
    find_condition,
    is_true,
    parse_conditions,
    remove_condition,
    set_condition,
)
from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import MESSAGE_LIMIT, Condition, ConditionStatus

EARLY = Timestamp.of(datetime(2026, 1, 1, tzinfo=UTC))
LATE = Timestamp.of(datetime(2026, 1, 2, tzinfo=UTC))


def condition(
    type_: str = PROGRAMMED,
    status: ConditionStatus = ConditionStatus.FALSE,
    *,
    at: Timestamp = EARLY,
    generation: int = 1,
    message: str = "2/3 sidecars at 5f2c",
) -> Condition:
    return Condition(
        type=type_,
        status=status,
        observed_generation=generation,
        last_transition_time=at,
        reason="Waiting",
        message=message,
    )


def test_a_first_condition_has_the_time_of_its_setting() -> None:
    assert set_condition((), condition()) == (condition(),)


def test_the_time_stays_while_the_status_does() -> None:
    (result,) = set_condition(
        [condition()], condition(at=LATE, generation=2, message="1/3 sidecars at 77aa")
    )
    assert result == condition(at=EARLY, generation=2, message="1/3 sidecars at 77aa")


def test_the_time_moves_when_the_status_flips() -> None:
    (result,) = set_condition([condition()], condition(status=ConditionStatus.TRUE, at=LATE))
    assert result.last_transition_time == LATE


def test_the_same_again_is_equal() -> None:
    before = (condition(ACCEPTED), condition(RESOLVED_REFS), condition(PROGRAMMED))
    assert set_condition(before, condition(RESOLVED_REFS, at=LATE)) == before


def test_the_order_stays_and_new_ones_come_last() -> None:
    result = set_condition([condition(PROGRAMMED), condition(ACCEPTED)], condition(PROGRAMMED))
    result = set_condition(result, condition(RESOLVED_REFS))
    assert [c.type for c in result] == [PROGRAMMED, ACCEPTED, RESOLVED_REFS]


def test_a_long_message_is_cut_to_what_the_api_takes() -> None:
    long = "é" * (MESSAGE_LIMIT + 1)
    (result,) = set_condition((), condition(message="x").model_copy(update={"message": long}))
    assert len(result.message) == MESSAGE_LIMIT
    assert result.message.endswith("é …")


def test_a_message_that_just_fits_is_kept() -> None:
    (result,) = set_condition((), condition(message="x" * MESSAGE_LIMIT))
    assert result.message == "x" * MESSAGE_LIMIT


def test_find_and_remove() -> None:
    conditions = (condition(ACCEPTED, ConditionStatus.TRUE), condition(PROGRAMMED))
    assert is_true(conditions, ACCEPTED)
    assert not is_true(conditions, PROGRAMMED)
    assert not is_true(conditions, RESOLVED_REFS)
    assert find_condition(remove_condition(conditions, ACCEPTED), ACCEPTED) is None


def test_they_survive_the_wire() -> None:
    written = [condition(status=ConditionStatus.UNKNOWN).model_dump(mode="json", by_alias=True)]
    assert written[0] == {
        "type": "Programmed",
        "status": "Unknown",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Waiting",
        "message": "2/3 sidecars at 5f2c",
    }
    assert parse_conditions({"conditions": written}) == (condition(status=ConditionStatus.UNKNOWN),)


@pytest.mark.parametrize(
    "status",
    [None, {}, "x", {"conditions": None}, {"conditions": "x"}, {"conditions": [{"type": "A"}, 7]}],
    ids=["none", "empty", "text", "null", "no list", "no conditions in it"],
)
def test_what_cannot_be_read_is_left_out(status: object) -> None:
    assert parse_conditions(status) == ()


def test_another_writers_condition_does_not_take_ours_along() -> None:
    ours = condition().model_dump(mode="json", by_alias=True)
    assert parse_conditions({"conditions": [{"type": "Ready"}, ours]}) == (condition(),)
