"""What the documents name is there: files, commands of hack/, programs and their subcommands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"),
    *sorted((ROOT / "docs").glob("*.md")),
]
FOLDERS = sorted(
    path.name
    for path in ROOT.iterdir()
    if path.is_dir() and (not path.name.startswith(".") or path.name == ".ci")
)
CODE = re.compile(r"```.*?```|`[^`\n]+(?:\n[^`\n]+)?`", re.S)
# As far as it is spelled out: tests/x/NAME.py and tests/x/{a,b}.py say that there is tests/x.
PATH = re.compile(rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)([A-Z{{*<…]?)")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")


def id_of(path: Path) -> str:
    return path.name


def paths_in(text: str) -> set[str]:
    """Of the repository, as code spans and blocks name them; a placeholder ends a path."""
    found: set[str] = set()
    for code in CODE.findall(text):
        for path in PATH.findall(code):
            spelled_out = re.split(r"(?<=/)[A-Z]{3,}\b|…", path[0])[0]
            found.add(spelled_out.rpartition("/")[0] if path[1] else spelled_out.rstrip("."))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=id_of)
def test_paths_exist(document: Path) -> None:
    text = document.read_text()
    named = {ROOT / path for path in paths_in(text)}
    named |= {document.parent / path for path in LINK.findall(text)}
    assert sorted(str(path) for path in named if not path.exists()) == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_paths_are_found_at_all(name: str) -> None:
    assert {"hack/check", "operator/runestone_operator/api/"} <= paths_in((ROOT / name).read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=id_of)
def test_subcommands_exist(document: Path) -> None:
    text = "\n".join(CODE.findall(document.read_text()))
    assert set(re.findall(r"(?:^|[\s`])runestone ([a-z]+)(?![\w/])", text)) <= subcommands()


def subcommands() -> set[str]:
    """Of `runestone`, by its own help."""
    done = subprocess.run(
        [sys.executable, "-m", "runestone_operator.cli.main", "--help"],
        env={"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'sidecar'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^ {4}(\w+) {2,}", done.stdout, re.M))
