"""Problems as lines a person, an editor and a program can find their way by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Place:
    file: str
    line: int = 0  # 0: not in a line of its own

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    place: Place
    message: str
    resource: str = ""  # Kind/name
    path: str = ""  # of the field
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        said = (str(self.place), self.resource, self.path, self.message)
        return ": ".join(part for part in said if part)

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same problem after an edit that moved it to another line."""
        return (self.resource, self.path, self.message)

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.place.file,
            "line": self.place.line or None,
            "resource": self.resource or None,
            "path": self.path or None,
            "message": self.message,
        }


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def warnings_of(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity is Severity.WARNING]


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Errors, then warnings, each under a heading of its own."""
    lines: list[str] = []
    for heading, some in (("Errors:", errors_of(problems)), ("Warnings:", warnings_of(problems))):
        if some:
            lines += [heading, *map(str, some)]
    return lines


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tally(resources: int, problems: Sequence[Problem]) -> str:
    return ", ".join(
        (
            counted(resources, "resource"),
            counted(len(errors_of(problems)), "error"),
            counted(len(warnings_of(problems)), "warning"),
        )
    )
