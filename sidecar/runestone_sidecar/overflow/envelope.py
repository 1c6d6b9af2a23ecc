"""The wire form of a job's request and of its result: one line of JSON, and the body as it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.pipeline.jobs import WEBHOOK_HEADER, JobResponse, Submission
from runestone_sidecar.telemetry.trace_context import (
    NO_TRACE,
    PARENT,
    STATE,
    TraceContext,
    read_trace,
)

VERSION: Final = 1
# What proves who asks is not kept: the job runs by the key's id.
SECRET_HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "cookie", "proxy-authorization", "idempotency-key"}
    | {WEBHOOK_HEADER.lower()}  # it has its own place
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request on its way: all that another sidecar needs to run it."""

    key_id: str
    tenant: str
    path: str
    request_id: str
    headers: tuple[tuple[str, str], ...]  # names in lower case
    body: bytes
    webhook_url: str | None = None

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)

    @property
    def trace(self) -> TraceContext:
        """Of who submitted it, for all that is done for it."""
        parent, state = self.header(PARENT), self.header(STATE)
        if parent is None:
            return NO_TRACE
        return read_trace(parent.encode("latin-1"), state.encode("latin-1") if state else None)

    def lines(self, names: frozenset[bytes]) -> bytes:
        """As header lines, those that a provider of the same API gets."""
        return b"".join(
            f"{name}: {value}\r\n".encode("latin-1")
            for name, value in self.headers
            if name.encode("latin-1") in names
        )


def envelope_of(submission: Submission) -> Envelope:
    return Envelope(
        key_id=submission.principal.id,
        tenant=submission.principal.tenant,
        path=submission.path,
        request_id=submission.request_id,
        headers=tuple(
            (name, value) for name, value in submission.headers if name not in SECRET_HEADERS
        ),
        body=submission.body,
        webhook_url=submission.webhook_url,
    )


def encode_request(envelope: Envelope) -> bytes:
    head: dict[str, Any] = {
        "v": VERSION,
        "key": envelope.key_id,
        "tenant": envelope.tenant,
        "path": envelope.path,
        "request_id": envelope.request_id,
        "headers": envelope.headers,
    }
    if envelope.webhook_url is not None:
        head["webhook"] = envelope.webhook_url
    return with_line(head, envelope.body)


def decode_request(data: bytes) -> Envelope:
    """Raises Unreadable, for that of a later version too."""
    head, body = split_line(data)
    return Envelope(
        key_id=head["key"],
        tenant=head["tenant"],
        path=head["path"],
        request_id=head["request_id"],
        headers=tuple((name, value) for name, value in head["headers"]),
        body=body,
        webhook_url=head.get("webhook"),
    )


def encode_result(response: JobResponse) -> bytes:
    head = {"v": VERSION, "status": response.status, "request_id": response.request_id}
    return with_line(head, response.body)


def decode_result(data: bytes) -> JobResponse:
    """Raises Unreadable."""
    head, body = split_line(data)
    return JobResponse(head["status"], head["request_id"], body)


def with_line(head: Mapping[str, Any], body: bytes) -> bytes:
    return orjson.dumps(head) + b"\n" + body


def split_line(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Raises Unreadable."""
    line, _, body = data.partition(b"\n")
    head: dict[str, Any] = orjson.loads(line)
    if head["v"] != VERSION:
        raise Unreadable
    return head, body
