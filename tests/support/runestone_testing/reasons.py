"""The tables of docs/troubleshooting.md: what the operator says of a resource, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runestone_testing.pages import DOCS, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = DOCS / "troubleshooting.md"
SECTION: Final = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.M | re.S)
ROW: Final = re.compile(r"^\| (True|False) \| `(\w+)` \| `([^`]+)` \| (.+) \|$", re.M)
EVENT: Final = re.compile(r"^\| `(\w+)` \|", re.M)


@dataclass(frozen=True, slots=True)
class Said:
    """A condition of a resource; in a page's message `…` is any text."""

    type: str
    status: str
    reason: str
    message: str

    def is_example_of(self, row: Said) -> bool:
        told = (self.type, self.status, self.reason) == (row.type, row.status, row.reason)
        return told and matches(self.message, row.message)


def rows() -> Iterator[Said]:
    for section in SECTION.finditer(PAGE.read_text()):
        for row in ROW.finditer(section[2]):
            yield Said(section[1], row[1], row[2], row[3])


def events() -> set[str]:
    (section,) = (one for one in SECTION.finditer(PAGE.read_text()) if one[1] == "Events")
    return set(EVENT.findall(section[2]))
