"""Label selectors mean what they mean in Kubernetes."""

from typing import Any

import pytest

from runestone_operator.api.selector import LabelSelector

LABELS = {"team": "research", "region": "eu"}
NO_QUOTES = str.maketrans("", "", "{}'[]")


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"matchLabels": {"team": "research"}}, True),
        ({"matchLabels": {"team": "research", "region": "us"}}, False),
        ({"matchLabels": {"tier": ""}}, False),
        ({"matchExpressions": [{"key": "region", "operator": "In", "values": ["eu", "us"]}]}, True),
        ({"matchExpressions": [{"key": "region", "operator": "In", "values": ["us"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["eu"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        (
            {
                "matchLabels": {"team": "research"},
                "matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["eu"]}],
            },
            False,
        ),
    ],
    ids=lambda value: None if isinstance(value, bool) else str(value).translate(NO_QUOTES),
)
def test_selector(selector: dict[str, Any], chosen: bool) -> None:
    parsed = LabelSelector.model_validate(selector, strict=False)
    assert parsed.matches(LABELS) is chosen


def test_nothing_is_chosen_by_labels_that_are_not_there() -> None:
    selector = LabelSelector.model_validate({"matchLabels": {"team": "a"}}, strict=False)
    assert not selector.matches({})
