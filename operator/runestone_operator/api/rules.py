"""Validation rules that hold in two places at once.

A rule is written once: as a CEL expression for the API server, as the equal Python check for
offline use, and with the one message that both give. tests/crds proves that they agree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """`cel` and `holds` are the same statement; `at` is the wire name of the field to blame."""

    cel: str
    message: str
    holds: Callable[[Any], bool]
    at: str | None = None

    def as_validation(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        return entry | {"fieldPath": f".{self.at}"} if self.at else entry


def rule(
    cel: str, message: str, *, at: str | None = None
) -> Callable[[Callable[[Any], bool]], Rule]:
    """Turn a predicate method of an ApiModel into a Rule of that model."""

    def wrap(holds: Callable[[Any], bool]) -> Rule:
        return Rule(cel=cel, message=message, holds=holds, at=at)

    return wrap


def quoted(words: Iterable[str]) -> str:
    """A CEL list literal of plain words."""
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"
