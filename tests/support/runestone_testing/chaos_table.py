"""What a trial of jobs has found, as a table and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    count: object
    holds: bool | None = None  # None: told, not judged


@dataclass(frozen=True, slots=True)
class Trial:
    title: str
    rows: Sequence[Row]

    def text(self) -> str:
        lines = [f"# {self.title}", "", "| what | count | |", "|---|---|---|"]
        for row in self.rows:
            verdict = "" if row.holds is None else "ok" if row.holds else "BROKEN"
            lines.append(f"| {row.what} | {row.count} | {verdict} |")
        return "\n".join(lines)

    @property
    def holds(self) -> bool:
        return all(row.holds is not False for row in self.rows)
