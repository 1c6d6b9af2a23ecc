"""The words of the tables that say what becomes of a format's fields in another format.

The rule behind the tables: what only tunes cost, speed or quality is dropped where it has no
counterpart; what a client's code relies on is refused, since an answer without it would look like a
success. A field that is in nobody's table is refused too: a 400 that names it can be acted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from runestone_sidecar.upstream.dialects.base import Untranslatable


class Fate(Enum):
    CARRIED = "carried"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    fate: Fate
    reason: str
    neutral: tuple[Any, ...] = ()  # values of a refused field that ask for nothing


def carried(how: str) -> Field:
    return Field(Fate.CARRIED, how)


def dropped(why: str) -> Field:
    return Field(Fate.DROPPED, why)


def refused(why: str, *neutral: Any) -> Field:
    return Field(Fate.REFUSED, why, neutral)


def check_fields(body: Mapping[str, Any], table: Mapping[str, Field]) -> None:
    """Raises Untranslatable for the first field that may not be left out. A null is no setting."""
    for name, value in body.items():
        if value is None:
            continue
        field = table.get(name)
        if field is None:
            raise Untranslatable("This field is not known for this model.", param=name)
        if field.fate is Fate.REFUSED and value not in field.neutral:
            raise Untranslatable(field.reason, param=name)


def within(place: str, refusal: Untranslatable) -> Untranslatable:
    """Places are put together on the way out, so that what can be said does not pay for them."""
    param = f"{place}.{refusal.param}" if refusal.param else place
    return Untranslatable(refusal.message, param=param)
