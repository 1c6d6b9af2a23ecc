"""`/validate`: what no CEL rule can say about a resource, in the words of `runestone validate`.

References are for conditions to tell: what is missing now may come a moment later.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runestone_operator.admission.review import Answer, Request
from runestone_operator.api.load import KINDS, Rejected, parse
from runestone_operator.api.pending import pending_note

ALLOWED = Answer("allowed")


def validate(request: Request) -> Answer:
    document = request.new
    if request.kind not in KINDS or request.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    if document is None or request.subresource or _is_ending(document):
        return ALLOWED
    if request.old is not None and request.old.get("spec") == document.get("spec"):
        return ALLOWED  # it was valid to whoever took it in, and may be labelled or let go
    parsed = parse(document, namespace=request.namespace)
    if isinstance(parsed, Rejected):
        return Answer("refused", reason="; ".join(map(str, parsed.errors)))
    note = pending_note(parsed)
    return replace(ALLOWED, warnings=(f"runestone: {note}",)) if note else ALLOWED


def _is_ending(document: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in document["metadata"]
