"""AdmissionReviews in and out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from runestone_operator.admission.review import (
    Answer,
    MalformedError,
    build_patch,
    parse_review,
    render_review,
)

REVIEW: dict[str, Any] = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "u-1",
        "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "object": {"metadata": {}},
    },
}


def test_a_request() -> None:
    request = parse_review(json.dumps(REVIEW).encode())
    assert (request.uid, request.operation, request.kind) == ("u-1", "CREATE", "Pod")
    assert (request.namespace, request.new, request.old) == ("shop", {"metadata": {}}, None)


def without(field: str) -> dict[str, Any]:
    request = {name: value for name, value in REVIEW["request"].items() if name != field}
    return REVIEW | {"request": request}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 100_000, id="nesting"),
        pytest.param(b"null", id="null"),
        pytest.param(json.dumps(REVIEW | {"request": []}).encode(), id="a list"),
        pytest.param(json.dumps(REVIEW | {"apiVersion": "v1beta1"}).encode(), id="version"),
        pytest.param(json.dumps(without("uid")).encode(), id="no uid"),
        pytest.param(json.dumps(without("kind")).encode(), id="no kind"),
        pytest.param(
            json.dumps(REVIEW | {"request": REVIEW["request"] | {"object": "x"}}).encode(),
            id="no object",
        ),
    ],
)
def test_what_is_no_review(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_review(body)


def response(answer: Answer) -> dict[str, Any]:
    review = json.loads(render_review("u-1", answer))
    assert review["apiVersion"] == "admission.k8s.io/v1"
    assert review["kind"] == "AdmissionReview"
    found: dict[str, Any] = review["response"]
    assert found.pop("uid") == "u-1"
    return found


def test_answers() -> None:
    assert response(Answer("unchanged")) == {"allowed": True}
    refused = response(Answer("refused", reason="because"))
    assert refused["allowed"] is False
    assert refused["status"]["message"] == "because"
    patched = response(Answer("injected", patch=[{"op": "add"}]))
    assert patched["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(patched["patch"])) == [{"op": "add"}]


def test_warnings_fit_into_a_header() -> None:
    assert response(Answer("x", warnings=("a\r\nSet-Cookie: b", "c" * 1000)))["warnings"] == [
        "a  Set-Cookie: b",
        "c" * 256,
    ]


def test_a_patch_names_what_differs() -> None:
    before = {"metadata": {"name": "a"}, "spec": {"containers": [1], "os": 2}, "status": {}}
    after = {"metadata": {"name": "a", "labels": {}}, "spec": {"containers": [1, 2], "os": 2}}
    assert build_patch(before, after) == [
        {"op": "add", "path": "/metadata/labels", "value": {}},
        {"op": "add", "path": "/spec/containers", "value": [1, 2]},
    ]
    assert build_patch(before, before) == []
