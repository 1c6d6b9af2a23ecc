"""Label selectors, with the meaning that Kubernetes gives them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.forms import Form, matching
from runestone_operator.api.model import ApiModel
from runestone_operator.api.rules import rule

LabelKey = Annotated[
    str,
    Form(
        317,
        (
            matching(
                r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
                "must be a label key such as team or example.com/team",
            ),
        ),
    ),
]
LabelValue = Annotated[
    str,
    Form(
        63,
        (matching(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", "must be a label value"),),
    ),
]


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_WITH_VALUES = (SelectorOperator.IN, SelectorOperator.NOT_IN)


class LabelRequirement(ApiModel):
    """One condition on a label."""

    key: LabelKey
    """Label key that the condition is about."""
    operator: SelectorOperator
    """How the label's value relates to `values`."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=32)] = ()
    """Values for In and NotIn; left out for Exists and DoesNotExist."""

    @rule(
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
        "values are needed for In and NotIn, and must be left out for Exists and DoesNotExist",
        at="values",
    )
    def values_suit_operator(self) -> bool:
        return (self.operator in _WITH_VALUES) == bool(self.values)

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        match self.operator:
            case SelectorOperator.IN:
                return present and labels[self.key] in self.values
            case SelectorOperator.NOT_IN:
                return not present or labels[self.key] not in self.values
            case SelectorOperator.EXISTS:
                return present
            case SelectorOperator.DOES_NOT_EXIST:
                return not present


class LabelSelector(ApiModel):
    """Labels that a namespace must carry; every condition must hold."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Labels and the exact values that they must have."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=16)] = ()
    """Conditions beyond equality."""

    @rule(
        "(has(self.matchLabels) && self.matchLabels.size() > 0)"
        " || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",
        "an empty selector would choose every namespace: use namespaces: All for that",
    )
    def is_not_empty(self) -> bool:
        return bool(self.match_labels or self.match_expressions)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
