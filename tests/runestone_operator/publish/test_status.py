from __future__ import annotations

from typing import Any

import pytest

from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import ProviderPoolStatus
from runestone_operator.collect.views import ResourceView
from runestone_operator.publish.events import NOTE_LIMIT, build_event, notice_of
from runestone_operator.publish.status import (
    Finding,
    build_status,
    is_bad_news,
    kept_finding,
    transitions,
)
from runestone_testing.bodies import view
from runestone_testing.resources import pool

THEN, NOW = Timestamp("2026-01-01T00:00:00Z"), Timestamp("2026-01-02T00:00:00Z")
ACCEPTED = Finding("Accepted", True, "Accepted", "fine")
RESOLVED = Finding("ResolvedRefs", True, "ResolvedRefs", "found")
MISSING = Finding("ResolvedRefs", False, "SecretNotFound", "missing")
CONFLICT = Finding("Conflicted", True, "DuplicateKey", "twice")


def built(
    before: dict[str, Any], *findings: Finding, now: Timestamp = NOW, generation: int = 1
) -> dict[str, Any]:
    return build_status(
        before,
        facts=ProviderPoolStatus(providers=2),
        findings=findings,
        generation=generation,
        now=now,
    )


def test_a_status_reads_as_it_is_written() -> None:
    assert built({}, RESOLVED, ACCEPTED) == {
        "observedGeneration": 1,
        "providers": 2,
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": NOW,
                "reason": "Accepted",
                "message": "fine",
            },
            {
                "type": "ResolvedRefs",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": NOW,
                "reason": "ResolvedRefs",
                "message": "found",
            },
        ],
    }


def test_the_same_again_is_equal() -> None:
    before = built({}, ACCEPTED, RESOLVED, now=THEN)
    assert built(before, ACCEPTED, RESOLVED, now=NOW) == before


def test_time_moves_on_a_flip_alone() -> None:
    before = built({}, ACCEPTED, RESOLVED, now=THEN)

    same = built(before, ACCEPTED, Finding("ResolvedRefs", True, "ResolvedRefs", "else"))
    flipped = built(before, ACCEPTED, MISSING)

    assert [item["lastTransitionTime"] for item in same["conditions"]] == [THEN, THEN]
    assert [item["lastTransitionTime"] for item in flipped["conditions"]] == [THEN, NOW]


def test_what_is_over_goes() -> None:
    before = built({}, ACCEPTED, CONFLICT)
    after = built(before, ACCEPTED)
    assert [item["type"] for item in after["conditions"]] == ["Accepted"]


def test_generation_is_that_of_the_findings() -> None:
    after = built(built({}, ACCEPTED), ACCEPTED, generation=4)
    assert after["observedGeneration"] == 4
    assert after["conditions"][0]["observedGeneration"] == 4


def told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    return [(condition.type, str(condition.status)) for condition in transitions(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        pytest.param((), (ACCEPTED, RESOLVED), [], id="good from the start"),
        pytest.param((), (ACCEPTED, MISSING), [("ResolvedRefs", "False")], id="bad at once"),
        pytest.param((MISSING,), (RESOLVED,), [("ResolvedRefs", "True")], id="mended"),
        pytest.param((RESOLVED,), (MISSING,), [("ResolvedRefs", "False")], id="broken"),
        pytest.param((MISSING,), (MISSING,), [], id="still broken"),
        pytest.param((ACCEPTED,), (ACCEPTED, CONFLICT), [("Conflicted", "True")], id="conflict"),
    ],
)
def test_transitions(
    before: tuple[Finding, ...], after: tuple[Finding, ...], news: list[tuple[str, str]]
) -> None:
    was = built({}, *before) if before else {}
    assert told(was, built(was, *after)) == news


def test_bad_news_is_what_one_does_not_want() -> None:
    status = built({}, ACCEPTED, MISSING, CONFLICT)
    bad = {item.type: is_bad_news(item) for item in transitions({}, status)}
    assert bad == {"ResolvedRefs": True, "Conflicted": True}


def test_a_finding_can_be_said_again() -> None:
    status = built({}, ACCEPTED, MISSING)
    assert kept_finding(status, "ResolvedRefs") == MISSING
    assert kept_finding(status, "Programmed") is None


def test_an_event_is_named_by_its_transition() -> None:
    shown = view(pool("shop"), uid="u")
    assert isinstance(shown, ResourceView)
    (bad,) = transitions({}, built({}, MISSING, now=THEN))
    (later,) = transitions({}, built({}, MISSING, now=NOW))

    event = build_event(shown, notice_of(bad))

    assert event == build_event(shown, notice_of(bad))
    assert event["metadata"]["name"] != build_event(shown, notice_of(later))["metadata"]["name"]
    assert event["metadata"]["name"].startswith("pool.")
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert (event["type"], event["reason"]) == ("Warning", "SecretNotFound")
    assert event["note"] == "ResolvedRefs=False: missing"
    assert event["regarding"]["uid"] == "u"


def test_a_note_is_bounded() -> None:
    shown = view(pool("shop"))
    assert isinstance(shown, ResourceView)
    long = Finding("Accepted", False, "InvalidSpec", "x" * 5000)
    (condition,) = transitions({}, built({}, long))
    assert len(build_event(shown, notice_of(condition))["note"]) == NOTE_LIMIT
