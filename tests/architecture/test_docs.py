"""The pages of docs/ are all read to their end, and leave no word of the operator's out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from runestone_operator.compiler.verdicts import ConditionType
from runestone_operator.compiler.verdicts import Reason as Verdict
from runestone_operator.reconcile.programmed import Reason as Programmed
from runestone_testing import reasons
from runestone_testing.pages import DOCS, PageError, Run, Save, matches, read_steps

ROOT = Path(__file__).parents[2]
PAGES = sorted(DOCS.iterdir())
COMMAND = "```sh\nkubectl get pods\n```\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_of_a_page_is_run_or_read(page: Path) -> None:
    steps = read_steps(page.read_text())
    assert any(isinstance(step, Run) for step in steps)


def test_every_page_is_read_by_somebody_on_a_real_node() -> None:
    stories = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    assert [page.name for page in PAGES if f'"{page.name}"' not in stories] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if f"(docs/{page.name})" not in readme] == []


def test_every_reason_of_a_condition_is_explained() -> None:
    told = {row.reason for row in reasons.rows() if row.type in set(ConditionType)}
    assert told == {reason.value for reason in Verdict}
    told = {row.reason for row in reasons.rows() if row.type == "Programmed"}
    assert told == {reason.value for reason in Programmed}


def test_every_reason_of_an_event_is_explained() -> None:
    found: set[str] = set()
    for path in (ROOT / "operator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Notice":
                named = {word.arg: word.value for word in node.keywords}
                reason = named.get("reason", node.args[3] if len(node.args) > 3 else None)
                if isinstance(reason, ast.Constant):
                    found.add(str(reason.value))
    assert found == reasons.events()


def test_what_a_page_shows_is_read_as_it_stands() -> None:
    page = (
        f"Save `a.yaml`:\n\n`a.yaml`:\n\n```yaml\na: 1\n```\n\n{COMMAND}\n```text\nNAME\n…\n```\n"
    )
    assert read_steps(page) == [
        Save(5, "a.yaml", "a: 1\n"),
        Run(9, "kubectl get pods\n", "NAME\n…\n"),
    ]


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        pytest.param("```\nls\n```\n", "line 1: a block of nothing", id="of no language"),
        pytest.param("```bash\nls\n```\n", "a block of bash", id="of another language"),
        pytest.param("Such as:\n\n```yaml\na: 1\n```\n", "which file", id="a file with no name"),
        pytest.param("```text\nhello\n```\n", "no command", id="output of nothing"),
        pytest.param(f"{COMMAND}so\n```text\na\n```\n", "no command", id="output further below"),
        pytest.param(f"{COMMAND}```sh\nls\n", "not closed", id="not closed"),
    ],
)
def test_what_nobody_would_run_or_read_is_refused(page: str, complaint: str) -> None:
    with pytest.raises(PageError, match=complaint):
        read_steps(page)


@pytest.mark.parametrize(
    ("printed", "wanted", "is_so"),
    [
        pytest.param("a    b\n", "a b", True, id="columns"),
        pytest.param("web-7f-x 2/2\n", "web-… 2/2", True, id="within a line"),
        pytest.param("web-7f-x 1/2\n", "web-… 2/2", False, id="another figure"),
        pytest.param("a\nb\nc\n", "…\nc", True, id="lines before"),
        pytest.param("a\nb\nc\n", "a\n…", True, id="lines after"),
        pytest.param("a\n", "a\n…", True, id="no lines after"),
        pytest.param("a\nb\n", "a", False, id="a line more"),
        pytest.param("a\nb\n", "a…", False, id="a line is not text of a line"),
        pytest.param("a.b\n", "a+b", False, id="no pattern"),
    ],
)
def test_what_is_printed_is_compared(printed: str, wanted: str, is_so: bool) -> None:
    assert matches(printed, wanted) is is_so
