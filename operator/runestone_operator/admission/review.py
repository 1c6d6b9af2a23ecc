"""An AdmissionReview as the API server sends it (admission.k8s.io/v1), and its answers."""

import base64
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

API_VERSION: Final = "admission.k8s.io/v1"
WARNING_LIMIT: Final = 256  # longer ones the API server may cut off
MESSAGE_LIMIT: Final = 4096

Document = Mapping[str, Any]


class MalformedError(Exception):
    """It is no AdmissionReview, so there is no one to answer to."""


@dataclass(frozen=True, slots=True)
class Request:
    uid: str
    operation: str
    kind: str
    namespace: str
    subresource: str
    new: Document | None
    old: Document | None


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome` is what the metrics count it as."""

    outcome: str
    reason: str | None = None  # of a refusal
    patch: Sequence[Document] = ()
    warnings: tuple[str, ...] = ()


def parse_review(body: bytes) -> Request:
    """Raises MalformedError."""
    try:
        review = json.loads(body)
        request = review["request"]
        if review["apiVersion"] != API_VERSION or not isinstance(request["uid"], str):
            raise MalformedError
        return Request(
            uid=request["uid"],
            operation=str(request["operation"]),
            kind=str(request["kind"]["kind"]),
            namespace=str(request.get("namespace") or ""),
            subresource=str(request.get("subResource") or ""),
            new=_object(request.get("object")),
            old=_object(request.get("oldObject")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MalformedError from None


def _object(value: object) -> Document | None:
    if value is None or isinstance(value, dict):
        return value
    raise MalformedError


def render_review(uid: str, answer: Answer) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": answer.reason is None}
    if answer.reason is not None:
        message = answer.reason[:MESSAGE_LIMIT]
        response["status"] = {"code": 422, "reason": "Invalid", "message": message}
    if answer.patch:
        patch = json.dumps(list(answer.patch)).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    if answer.warnings:
        response["warnings"] = [_one_line(warning) for warning in answer.warnings]
    review = {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    return json.dumps(review).encode()


def _one_line(text: str) -> str:
    """A warning becomes a header."""
    plain = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return plain[:WARNING_LIMIT]


def build_patch(before: Document, after: Document) -> list[Document]:
    """Of whole fields of `metadata` and `spec`: nothing else of a pod is ours to change."""
    return [
        {"op": "add", "path": f"/{part}/{name}", "value": value}
        for part in ("metadata", "spec")
        for name, value in after[part].items()
        if name not in before[part] or before[part][name] != value
    ]
