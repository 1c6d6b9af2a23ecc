"""A job's record: where it stands. Nothing in it tells who asked, for what, or what came of it.

The record is the truth, the queue only brings the work: whoever moves a job on does so by its
record's revision, and of two that try, one has lost the job.
"""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import orjson

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.overflow.names import Brought
from runestone_sidecar.pipeline.jobs import Job, JobResponse

QUEUED: Final = "queued"
RUNNING: Final = "running"
RETRYING: Final = "retrying"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"

ENDS: Final = (SUCCEEDED, FAILED, CANCELLED, EXPIRED)
WAITING: Final = (QUEUED, RETRYING)

MAX_AGE_REACHED: Final = "max_age_reached"
UNREADABLE: Final = "unreadable"
DUE: Final = "due"  # a webhook, once the job has ended
QUEUED_WEBHOOK: Final = "queued"

# After the last word on a job that has not ended; every change begins it anew.
ACTIVE_TTL_S: Final = 24 * 3600


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class JobRecord:
    id: str
    proof: str  # of the request: the same idempotency key must mean the same
    created_ms: int
    deadline_ms: int  # until when its first attempt begins
    max_attempts: int
    result_ttl_s: int
    state: str = QUEUED
    attempt: int = 0
    worker: str = ""  # who runs it, or has ended it
    seq: int = 0  # of the message that brought it: one that was sent twice runs once
    parts: int = 0  # of the result of that attempt
    error: str = ""
    finished_ms: int = 0
    # Of one that had ended and was then to be tried anew:
    run: int = 0  # how often
    spent: int = 0  # attempts before
    queued_ms: int = 0  # when, the last time
    webhook: str = ""  # DUE, or QUEUED_WEBHOOK; its URL is sealed with the request

    @classmethod
    def new(
        cls, job_id: str, proof: str, bounds: PolicyOverflow, *, has_webhook: bool = False
    ) -> Self:
        created_ms = now_ms()
        return cls(
            id=job_id,
            proof=proof,
            created_ms=created_ms,
            deadline_ms=created_ms + bounds.max_age_ms,
            max_attempts=bounds.max_attempts,
            result_ttl_s=max(1, bounds.result_ttl_ms // 1000),
            webhook=DUE if has_webhook else "",
        )

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        fields: dict[str, Any] = orjson.loads(data)
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in fields.items() if name in known})

    @property
    def has_ended(self) -> bool:
        return self.state in ENDS

    @property
    def ttl_s(self) -> int:
        if self.has_ended:  # whoever finds its webhook due must find the record
            return self.result_ttl_s + (ACTIVE_TTL_S if self.webhook == DUE else 0)
        left_s = max(0, self.deadline_ms - now_ms()) // 1000
        return left_s + ACTIVE_TTL_S + self.result_ttl_s

    @property
    def tries(self) -> int:
        """Attempts that count. Their numbers go on: a late result must find its own taken."""
        return self.attempt - self.spent

    @property
    def brought(self) -> Brought:
        """By what the message must say that brings it."""
        return Brought(self.id, self.created_ms, self.run)

    @property
    def since_ms(self) -> int:
        """When it was queued, the last time."""
        return self.queued_ms or self.created_ms

    @property
    def can_run_anew(self) -> bool:
        """It ended so that its request was kept."""
        return self.state in {FAILED, EXPIRED} and self.error != UNREADABLE

    def is_late(self) -> bool:
        """Its turn did not come in time."""
        return self.state == QUEUED and now_ms() >= self.deadline_ms

    def anew(self, seq: int = 0) -> "JobRecord":
        """Queued once more, with all its attempts and as much time as the first time."""
        queued_ms = now_ms()
        return replace(
            self,
            state=QUEUED,
            run=self.run + 1,
            spent=self.attempt,
            queued_ms=queued_ms,
            deadline_ms=queued_ms + self.deadline_ms - self.since_ms,
            worker="",
            seq=seq,
            parts=0,
            error="",
            finished_ms=0,
            webhook=DUE if self.webhook else "",
        )

    def ended(self, state: str, *, error: str = "", parts: int = 0) -> "JobRecord":
        return replace(self, state=state, error=error, parts=parts, finished_ms=now_ms())

    def seen(self, response: JobResponse | None = None) -> Job:
        """As it is told to its owner: that it is late is so before anybody has written it down."""
        shown = self.ended(EXPIRED, error=MAX_AGE_REACHED) if self.is_late() else self
        return Job(
            id=self.id,
            status=shown.state,
            created_s=self.created_ms // 1000,
            finished_s=shown.finished_ms // 1000 if shown.has_ended else None,
            attempts=self.tries,
            retries=self.run,
            error=shown.error or None,
            response=response,
        )
