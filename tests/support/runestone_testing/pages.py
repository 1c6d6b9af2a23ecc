"""The pages of docs/ as a person reads them: commands, what they print, and files to save.

Every fenced block is one of these, or the page is refused: a command that nothing runs, or an
example that nothing reads, would rot. In what is printed `…` stands for any text of a line, and a
line of its own for any lines; how columns are filled up with spaces does not count.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
COMMAND_TIMEOUT_S: Final = 300
SETTLE_S: Final = 120  # what is asked again and again until it is as the page says
FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.M | re.S)
FILE_NAME: Final = re.compile(r"^`([\w.-]+)`:\s*\Z", re.M)
SAVED: Final = frozenset({"yaml", "python"})
# Asking twice is asking once.
LOOKING: Final = re.compile(r"kubectl( -n \S+)? (get|describe|logs|events|exec|auth|version)\b")


class PageError(Exception):
    """A page has something that nobody would run or read."""


@dataclass(frozen=True, slots=True)
class Save:
    line: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    line: int
    text: str
    printed: str | None  # None: the page does not say

    @property
    def only_looks(self) -> bool:
        commands = self.text.replace("\\\n", " ").splitlines()
        return all(LOOKING.match(command) for command in commands)


Step = Save | Run


def read_steps(page: str) -> list[Step]:
    """In their order."""
    steps: list[Step] = []
    latest_end = 0
    for block in FENCE.finditer(page):
        language, text = block[1], block[2]
        line = page.count("\n", 0, block.start()) + 1
        between = page[latest_end : block.start()]
        latest_end = block.end()
        if language == "sh":
            steps.append(Run(line, text, None))
        elif language == "text":
            steps[-1:] = [_printing(steps, text, between, line)]
        elif language in SAVED:
            name = FILE_NAME.search(between)
            if name is None:
                raise PageError(f"line {line}: which file is this? (`NAME`: above it)")
            steps.append(Save(line, name[1], text))
        else:
            raise PageError(f"line {line}: a block of {language or 'nothing'} is not run or read")
    if FENCE.sub("", page).count("```"):
        raise PageError("a block is not closed")
    return steps


def _printing(steps: list[Step], text: str, between: str, line: int) -> Run:
    latest = steps[-1] if steps else None
    if not isinstance(latest, Run) or latest.printed is not None or between.strip():
        raise PageError(f"line {line}: no command right above prints this")
    return Run(latest.line, latest.text, text)


def matches(printed: str, wanted: str) -> bool:
    pattern = "".join(_line_pattern(line) for line in _lines(wanted))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def _line_pattern(line: str) -> str:
    if line == "…":
        return r"(?:.*\n)*?"
    return re.escape(line).replace("…", ".*") + "\n"


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who does what the pages say, in one folder and one shell's environment."""

    folder: Path
    env: Mapping[str, str]

    def follow(self, page: Path) -> Iterator[str]:
        """Does one step after the other; yields each command that was run."""
        for step in read_steps(page.read_text()):
            where = f"{page.name}:{step.line}"
            if isinstance(step, Save):
                (self.folder / step.name).write_text(step.text)
                continue
            self._run(step, where)
            yield step.text

    def _run(self, step: Run, where: str) -> None:
        latest = self._outcome(step.text, where)
        if step.printed is None or matches(latest, step.printed):
            return
        wanted = step.printed

        def is_printed() -> bool:
            nonlocal latest
            latest = self._outcome(step.text, where)
            return matches(latest, wanted)

        told = f"{where}: {step.text}--- is to print\n{wanted}"
        try:
            assert step.only_looks, told
            wait_until(told, is_printed, within_s=SETTLE_S, every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- and printed\n{latest}") from None

    def _outcome(self, command: str, where: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{where}: status {done.returncode} of\n{command}{done.stdout}")
        return done.stdout
