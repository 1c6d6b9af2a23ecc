"""What the validating webhook says of resources: the words of `runestone validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runestone_operator.admission.resources import ALLOWED, validate
from runestone_operator.admission.review import Request
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.pending import pending_note

ROOT = Path(__file__).parents[3]
GOOD = [
    document
    for folder in ("tests/crds/good", "examples")
    for path in sorted((ROOT / folder).glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if document["kind"] != "Secret"
]
BAD = sorted((ROOT / "tests/crds/bad").glob("*.yaml"))


def request(
    new: dict[str, Any] | None, old: dict[str, Any] | None = None, operation: str = "CREATE"
) -> Request:
    kind = (new or old or {}).get("kind", "")
    return Request("u", operation, kind, "shop", "", new, old)


def bad() -> dict[str, Any]:
    return {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "ApiKey",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"tenant": "shop", "limits": {"requestsPerMinute": 0}},
    }


@pytest.mark.parametrize("document", GOOD, ids=lambda document: document["metadata"]["name"])
def test_what_is_valid_is_let_in(document: dict[str, Any]) -> None:
    answer = validate(request(document))
    assert (answer.outcome, answer.reason) == ("allowed", None)
    note = pending_note(parse(document))  # type: ignore[arg-type]
    assert [note] * bool(note) == [one.removeprefix("runestone: ") for one in answer.warnings]


def test_what_is_not_is_refused_and_the_mistake_named() -> None:
    answer = validate(request(bad()))
    assert answer.reason == "spec.limits.requestsPerMinute: must be at least 1"
    assert answer.outcome == "refused"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_in_the_words_of_runestone_validate(path: Path) -> None:
    documents = [one for one in yaml.safe_load_all(path.read_text()) if "spec" in one]
    for document in documents:
        parsed = parse(document)
        if isinstance(parsed, Rejected):
            answer = validate(request(document))
            assert answer.reason == "; ".join(map(str, parsed.errors))


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(request(None, bad(), "DELETE"), id="deletion"),
        pytest.param(
            request(bad() | {"metadata": {"name": "shop", "labels": {"a": "b"}}}, bad(), "UPDATE"),
            id="a label on what was let in",
        ),
        pytest.param(
            request(bad() | {"metadata": {"name": "shop", "deletionTimestamp": "now"}}),
            id="on its way out",
        ),
        pytest.param(Request("u", "UPDATE", "ApiKey", "shop", "status", bad(), None), id="status"),
        pytest.param(Request("u", "CREATE", "Secret", "shop", "", bad(), None), id="another kind"),
    ],
)
def test_what_is_none_of_its_business(asked: Request) -> None:
    assert validate(asked) == ALLOWED


def test_a_change_is_looked_at() -> None:
    before = bad()
    after = bad()
    before["spec"]["limits"] = {"requestsPerMinute": 5}
    assert validate(request(after, before, "UPDATE")).reason is not None
