"""What a pod's annotations change about its sidecar, within reason."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from runestone_operator.inject.facts import UnfitError
from runestone_operator.inject.names import LOG_LEVEL_ANNOTATION, RESOURCE_ANNOTATIONS
from runestone_operator.settings import LOG_LEVELS, SidecarSettings

Resources = dict[str, dict[str, str]]
Annotations = Mapping[str, str]

_QUANTITY: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(m|k|M|G|Ki|Mi|Gi)?")
_UNITS: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
}
# Below the least a sidecar does not start; above the most someone has mistaken it for the app.
_BOUNDS: Final = {"cpu": ("5m", "16"), "memory": ("64Mi", "16Gi")}


def resources_of(annotations: Annotations, settings: SidecarSettings) -> Resources:
    """Raises UnfitError, which names the annotation."""
    made = {part: dict(amounts) for part, amounts in settings.resources.items()}
    asked = {name: annotations[name] for name in RESOURCE_ANNOTATIONS if name in annotations}
    for name, text in asked.items():
        part, what = RESOURCE_ANNOTATIONS[name]
        _check(name, what, text)
        made.setdefault(part, {})[what] = text
    for name in asked:
        _settle(made, name)
    return made


def log_level_of(annotations: Annotations, settings: SidecarSettings) -> str:
    level = annotations.get(LOG_LEVEL_ANNOTATION, settings.log_level).lower()
    if level not in LOG_LEVELS:
        raise UnfitError(
            f"annotation {LOG_LEVEL_ANNOTATION} must be one of {', '.join(LOG_LEVELS)}"
        )
    return level


def _check(name: str, what: str, text: str) -> None:
    amount, (least, most) = _amount(text), _BOUNDS[what]
    low, high = _amount(least), _amount(most)
    assert low is not None
    assert high is not None
    if amount is None or not low <= amount <= high:
        raise UnfitError(f"annotation {name} must be a quantity from {least} to {most}")


def _settle(made: Resources, name: str) -> None:
    """A request above its limit is refused by the API server: what was not asked for gives way."""
    part, what = RESOURCE_ANNOTATIONS[name]
    request = _amount(made.get("requests", {}).get(what, ""))
    limit = _amount(made.get("limits", {}).get(what, ""))
    if request is None or limit is None or request <= limit:
        return
    other = "limits" if part == "requests" else "requests"
    made[other][what] = made[part][what]


def _amount(text: str) -> Decimal | None:
    found = _QUANTITY.fullmatch(text)
    return Decimal(found[1]) * _UNITS.get(found[2], Decimal(1)) if found else None
