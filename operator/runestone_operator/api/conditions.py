"""Conditions as values: read them from a status, put a new one in, write them back."""

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from runestone_operator.api.status import MESSAGE_LIMIT, Condition, ConditionStatus

ACCEPTED = "Accepted"
RESOLVED_REFS = "ResolvedRefs"
PROGRAMMED = "Programmed"
CONFLICTED = "Conflicted"

_ELLIPSIS = " …"


def set_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """Put `new` in the place of its type's condition, or at the end.

    Its `last_transition_time` is the time of the call, and is kept only where the status flips.
    Equal input gives an equal result, so that the caller can tell that nothing is to be written.
    """
    new = new.model_copy(update={"message": bounded_message(new.message)})
    if all(old.type != new.type for old in conditions):
        return (*conditions, new)
    return tuple(_succeed(old, new) if old.type == new.type else old for old in conditions)


def _succeed(old: Condition, new: Condition) -> Condition:
    if old.status is not new.status:
        return new
    return new.model_copy(update={"last_transition_time": old.last_transition_time})


def remove_condition(conditions: Sequence[Condition], type: str) -> tuple[Condition, ...]:
    return tuple(condition for condition in conditions if condition.type != type)


def find_condition(conditions: Iterable[Condition], type: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type), None)


def is_true(conditions: Iterable[Condition], type: str) -> bool:
    found = find_condition(conditions, type)
    return found is not None and found.status is ConditionStatus.TRUE


def parse_conditions(status: object) -> tuple[Condition, ...]:
    """The conditions of a raw status. What cannot be read is left out: it is written anew."""
    raw = status.get("conditions") if isinstance(status, dict) else None
    if not isinstance(raw, list):
        return ()
    return tuple(condition for item in raw if (condition := _parse(item)) is not None)


def _parse(raw: object) -> Condition | None:
    try:
        return Condition.model_validate(raw, strict=False, by_alias=True, by_name=False)
    except ValidationError:
        return None


def bounded_message(message: str) -> str:
    if len(message) <= MESSAGE_LIMIT:
        return message
    return message[: MESSAGE_LIMIT - len(_ELLIPSIS)] + _ELLIPSIS
