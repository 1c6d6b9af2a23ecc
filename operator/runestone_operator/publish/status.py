"""The status of a resource as it should read now. Pure: the time is given."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runestone_operator.api.conditions import (
    ACCEPTED,
    CONFLICTED,
    PROGRAMMED,
    RESOLVED_REFS,
    parse_conditions,
    set_condition,
)
from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import Condition, ConditionStatus, ResourceStatus
from runestone_operator.compiler.verdicts import Verdict

_ORDER = (ACCEPTED, RESOLVED_REFS, PROGRAMMED, CONFLICTED)

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition before it has a time."""

    type: str
    is_true: bool
    reason: str
    message: str

    def at(self, generation: int, now: Timestamp) -> Condition:
        return Condition(
            type=self.type,
            status=ConditionStatus.TRUE if self.is_true else ConditionStatus.FALSE,
            observed_generation=generation,
            last_transition_time=now,
            reason=self.reason,
            message=self.message,
        )


def finding_of(verdict: Verdict) -> Finding:
    return Finding(str(verdict.type), verdict.status, str(verdict.reason), verdict.message)


def kept_finding(status: Mapping[str, Any], type: str) -> Finding | None:
    """What a condition says now, to say it again."""
    for condition in parse_conditions(status):
        if condition.type == type:
            is_true = condition.status is ConditionStatus.TRUE
            return Finding(type, is_true, condition.reason, condition.message)
    return None


def build_status(
    before: Mapping[str, Any],
    *,
    facts: ResourceStatus,
    findings: Iterable[Finding],
    generation: int,
    now: Timestamp,
) -> Status:
    """Equal to `before` where nothing is to be written. Conditions that have no finding go."""
    found = {finding.type: finding.at(generation, now) for finding in findings}
    conditions = tuple(old for old in parse_conditions(dict(before)) if old.type in found)
    for condition in found.values():
        conditions = set_condition(conditions, condition)
    status = facts.model_copy(
        update={
            "observed_generation": generation,
            "conditions": tuple(sorted(conditions, key=_place)),
        }
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _place(condition: Condition) -> int:
    return _ORDER.index(condition.type)


def transitions(before: Mapping[str, Any], after: Status) -> list[Condition]:
    """Conditions whose status has flipped, and new ones that are bad news."""
    old = {condition.type: condition.status for condition in parse_conditions(dict(before))}
    return [
        condition
        for condition in parse_conditions(after)
        if old.get(condition.type, _good(condition.type)) is not condition.status
    ]


def is_bad_news(condition: Condition) -> bool:
    return condition.status is not _good(condition.type)


def _good(type: str) -> ConditionStatus:
    return ConditionStatus.FALSE if type == CONFLICTED else ConditionStatus.TRUE
