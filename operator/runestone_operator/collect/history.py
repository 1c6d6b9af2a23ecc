"""What is known of a generated key beside its value: when it was made, what it was made for, and
which keys it replaced.

It stands in the annotations of the key's Secret and is written with the key itself, in one write:
no crash comes between them, so a key is never lost, nor replaced twice for one wish. Of the keys
that were replaced there are hashes alone.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from runestone_contract.config import KeyHash
from runestone_contract.names import GROUP
from runestone_operator.api.apikey import Rotation
from runestone_operator.api.resource import ApiKey
from runestone_operator.api.scalars import Timestamp

ROTATE: Final = f"{GROUP}/rotate"  # on an ApiKey: any new value asks for a new key
MADE_AT: Final = f"{GROUP}/key-made-at"
MADE_FOR: Final = f"{GROUP}/key-made-for"
RETIRED: Final = f"{GROUP}/retired-keys"

MOST_RETIRED: Final = 8  # of one ApiKey, and at once: of more, the oldest ceases to work
_END_OF_TIME_S: Final = 253_402_300_799  # the last second that four digits have a year for

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
EpochS = Annotated[int, Field(ge=0, le=_END_OF_TIME_S)]
Annotations = dict[str, str]


class Cause(StrEnum):
    ANNOTATION = "annotation"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class RetiredKey:
    sha256: Sha256
    until_s: EpochS


@dataclass(frozen=True, slots=True)
class KeyHistory:
    made_at_s: int
    made_for: str  # the wish that was fulfilled with it, see wish_of
    retired: tuple[RetiredKey, ...] = ()  # newest first

    def replaced(self, sha256: str | None, key: ApiKey, now_s: int) -> "KeyHistory":
        """Once a new key has taken the place of the one with this hash. No earlier one outlives
        that: with an overlap of 0s a rotation revokes all that was."""
        end_s = min(now_s + overlap_s(key), _END_OF_TIME_S)
        ends = [(old.sha256, min(old.until_s, end_s)) for old in self.retired]
        if sha256 is not None:
            ends.insert(0, (sha256, end_s))
        retired = [RetiredKey(each, until_s) for each, until_s in ends if until_s > now_s]
        return KeyHistory(now_s, wish_of(key), tuple(retired[:MOST_RETIRED]))

    def annotations(self) -> Annotations:
        return {
            MADE_AT: Timestamp.of_epoch_s(self.made_at_s),
            MADE_FOR: self.made_for,
            RETIRED: _LIST.dump_json(self.retired).decode(),
        }


_LIST: Final = TypeAdapter(tuple[RetiredKey, ...])


def first_history(key: ApiKey, now_s: int) -> KeyHistory:
    return KeyHistory(now_s, wish_of(key))


def parse_history(meta: Mapping[str, Any]) -> KeyHistory:
    """What cannot be read counts as not there: then a key lets nobody in any more."""
    annotations = meta.get("annotations") or {}
    try:
        retired = _LIST.validate_json(annotations.get(RETIRED) or "[]")
    except ValidationError:
        retired = ()
    return KeyHistory(
        made_at_s=epoch_s(annotations.get(MADE_AT)) or epoch_s(meta.get("creationTimestamp")),
        made_for=str(annotations.get(MADE_FOR, "")),
        retired=retired[:MOST_RETIRED],
    )


def wish_of(key: ApiKey) -> str:
    """A short form of the annotation's value: that may be long, and anything."""
    asked = key.meta.annotations.get(ROTATE, "")
    return hashlib.sha256(asked.encode()).hexdigest()[:16] if asked else ""


def overlap_s(key: ApiKey) -> int:
    return (key.spec.rotation or Rotation()).overlap.ms // 1000


def rotation_due(key: ApiKey, history: KeyHistory, now_s: float) -> tuple[Cause, float] | None:
    """Why the key is to be replaced, and in how many seconds; None: not by itself."""
    wish = wish_of(key)
    if wish and wish != history.made_for:
        return Cause.ANNOTATION, 0.0
    interval = key.spec.rotation.interval if key.spec.rotation else None
    if interval is None:
        return None
    return Cause.INTERVAL, max(0.0, history.made_at_s + interval.ms / 1000 - now_s)


def retired_hashes(history: KeyHistory, now_s: float) -> Iterator[KeyHash]:
    """Those that still let somebody in. What the overlap was at the rotation stands: nothing that
    has ceased to work comes back because somebody writes a longer one."""
    for old in history.retired:
        if old.until_s > now_s:
            yield KeyHash(sha256=old.sha256, not_after_s=old.until_s)


def epoch_s(text: object) -> int:
    """0 where it is no time."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except (ValueError, OverflowError):
        return 0
