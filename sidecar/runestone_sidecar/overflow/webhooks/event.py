"""A webhook: what its body says, and the form in which it waits, sealed, for its delivery.

The body is made once, when the job has ended, and kept: every attempt sends the same bytes under
the same id, and the result may be forgotten meanwhile.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from runestone_sidecar.overflow.envelope import VERSION, split_line, with_line
from runestone_sidecar.overflow.record import JobRecord
from runestone_sidecar.overflow.seal import Sealer
from runestone_sidecar.pipeline.job_object import job_object
from runestone_sidecar.pipeline.jobs import JobResponse
from runestone_sidecar.telemetry.trace_context import NO_TRACE, TraceContext

KIND: Final = "webhook"


@dataclass(frozen=True, slots=True)
class Webhook:
    id: str
    key_id: str
    job_id: str
    request_id: str
    url: str
    ended_ms: int
    body: bytes
    trace: TraceContext = NO_TRACE  # told of where it is submitted and run

    def encode(self) -> bytes:
        head = {
            "v": VERSION,
            "key": self.key_id,
            "job": self.job_id,
            "request_id": self.request_id,
            "url": self.url,
            "ended_ms": self.ended_ms,
        }
        return with_line(head, self.body)


def decode_webhook(id_: str, data: bytes) -> Webhook:
    """Raises Unreadable, for that of a later version too."""
    head, body = split_line(data)
    return Webhook(
        id=id_,
        key_id=head["key"],
        job_id=head["job"],
        request_id=head["request_id"],
        url=head["url"],
        ended_ms=head["ended_ms"],
        body=body,
    )


def webhook_id(sealer: Sealer, record: JobRecord) -> str:
    """The same whoever asks; another for a job that is tried anew, or that an idempotency key gave
    the same id."""
    mark = sealer.mark(b"webhook", record.brought.message_id.encode())
    return f"msg_{mark[:40]}"


def body_of(record: JobRecord, response: JobResponse | None, limit_bytes: int) -> bytes:
    """`data` is the job as GET /v1/jobs/{id} shows it, but for a body that is too large."""
    if response is not None and len(response.body) > limit_bytes:
        response = JobResponse(response.status, response.request_id, b"null")
    job = record.seen(response)
    ended = datetime.fromtimestamp(record.finished_ms / 1000, UTC)
    event = {
        "type": f"job.{job.status}",
        "timestamp": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": job_object(job),
    }
    return orjson.dumps(event)
