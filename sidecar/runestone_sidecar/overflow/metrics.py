"""Metrics of jobs. Labels are closed sets. What NATS must be asked for, the worker asks in its turn
and once for all keys; these show what it saw last."""

import math
import time
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.overflow.record import ENDS, JobRecord, now_ms
from runestone_sidecar.telemetry.register import Register

EXHAUSTED: Final = "attempts_exhausted"
_OTHER: Final = "other"
_REASONS: Final = {  # by what the last attempt's client would have been answered
    429: "rate_limited",
    500: "internal_error",
    502: "upstream_error",
    503: "no_provider",
    504: "upstream_timeout",
}
OFF: Final = "off"  # this sidecar is to run none
AWAY: Final = "away"  # NATS, or the key that jobs are sealed with
SERVING: Final = "serving"
LEAVING: Final = "leaving"
STATES: Final = (OFF, AWAY, SERVING, LEAVING)

PUBLISH_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
QUEUE_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
TRIES: Final = (1.0, 2.0, 3.0, 5.0, 10.0)


@dataclass(slots=True)
class _Lease:
    """By time.monotonic."""

    began_s: float
    kept_s: float


class OverflowMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        made = Register(registry)
        self._leases: dict[str, _Lease] = {}  # by job
        self._looked_s: float | None = None  # for jobs, by time.monotonic; None: none are run
        self.submitted = made.counter(
            "runestone_jobs_submitted", "Requests that became jobs here and were answered 202."
        )
        self.publish = made.histogram(
            "runestone_jobs_publish_seconds",
            "Until the queue had stored a request that became a job here.",
            PUBLISH_S,
        )
        self.ended = made.counter(
            "runestone_jobs_ended", "Jobs that came to their end here, by state.", state=ENDS
        )
        self.retried = made.counter(
            "runestone_jobs_retried", "Jobs that had ended, queued anew by way of this sidecar."
        )
        self.purged = made.counter(
            "runestone_jobs_purged", "Jobs that were forgotten by way of this sidecar."
        )
        self.attempts = made.counter("runestone_jobs_attempts", "Attempts at jobs that began here.")
        self.tries = made.histogram(
            "runestone_jobs_attempts_at_end",
            "Attempts that the jobs took which came to their end here.",
            TRIES,
        )
        self.queue = made.histogram(
            "runestone_jobs_queue_seconds",
            "Until the first attempt at a job, of those that began here.",
            QUEUE_S,
        )
        self.redeliveries = made.counter(
            "runestone_jobs_redeliveries",
            "Jobs that came to this sidecar after another attempt, or before their key had room.",
        )
        self.taken_over = made.counter(
            "runestone_jobs_taken_over",
            "Jobs begun here that a sidecar had in hand which is dead or stands still.",
        )
        self.dead_letters = made.counter(
            "runestone_jobs_dead_letters",
            "Jobs given up after their last attempt, by what came of that.",
            reason=(EXHAUSTED, *_REASONS.values(), _OTHER),
        )
        self.fenced = made.counter(
            "runestone_jobs_fenced",
            "Calls whose job was somebody else's by then, or cancelled: their answer was dropped.",
        )
        self.running = made.gauge("runestone_jobs_running", "Jobs running here.")
        made.gauge(
            "runestone_jobs_lease_age_seconds",
            "Since the last sign of life for a job running here was sent, of the one longest ago;"
            " beyond RUNESTONE_JOBS_SILENCE_SECONDS another sidecar takes it.",
            self._lease_age_s,
        )
        made.gauge(
            "runestone_jobs_attempt_age_seconds",
            "Since the attempt that runs here for longest began.",
            self._attempt_age_s,
        )
        made.gauge(
            "runestone_jobs_look_age_seconds",
            "Since this sidecar last looked for jobs, or began one; 0 while it runs none.",
            lambda: 0.0 if self._looked_s is None else time.monotonic() - self._looked_s,
        )
        self.open = made.gauge(
            "runestone_jobs_open", "1 while this sidecar can take jobs and tell of them."
        )
        self.durable = made.gauge(
            "runestone_jobs_durable",
            "1 while NATS syncs what it acknowledges, 0 while it does not; none: it is not known.",
        )
        self._worker = made.gauge(
            "runestone_jobs_worker_state",
            "1 for what the part that runs jobs does.",
            state=STATES,
        )
        self.depth = made.gauge(
            "runestone_jobs_queued",
            "Jobs of the namespace that have not ended, as last looked at; none: it cannot be.",
        )
        self.age = made.gauge(
            "runestone_jobs_oldest_seconds",
            "Age of the oldest of these, as last looked at.",
        )
        self.show_nothing()

    def show(self, state: dict[str, Any], oldest_s: float) -> None:
        self._note_look()
        self.depth.set(state["messages"])
        self.age.set(oldest_s)

    def show_nothing(self) -> None:
        """What was seen last would go on looking true."""
        self.depth.set(math.nan)
        self.age.set(math.nan)

    def worker_is(self, state: str) -> None:
        self._looked_s = time.monotonic() if state == SERVING else None
        for each in STATES:
            self._worker.labels(each).set(each == state)

    def begun(self, record: JobRecord) -> None:
        now_s = time.monotonic()
        self._leases[record.id] = _Lease(now_s, now_s)
        self._note_look()
        self.attempts.inc()
        if record.tries == 1:
            self.queue.observe(max(0, now_ms() - record.since_ms) / 1000)

    def kept(self, job_id: str) -> None:
        """A sign of life was sent for it."""
        if job_id in self._leases:
            self._leases[job_id].kept_s = time.monotonic()

    def left(self, job_id: str) -> None:
        """Whatever came of the attempt."""
        self._leases.pop(job_id, None)

    def has_ended(self, record: JobRecord) -> None:
        self.ended.labels(record.state).inc()
        if record.tries:
            self.tries.observe(record.tries)

    def _note_look(self) -> None:
        if self._looked_s is not None:
            self._looked_s = time.monotonic()

    def _lease_age_s(self) -> float:
        now_s = time.monotonic()
        return now_s - min([lease.kept_s for lease in self._leases.values()], default=now_s)

    def _attempt_age_s(self) -> float:
        now_s = time.monotonic()
        return now_s - min([lease.began_s for lease in self._leases.values()], default=now_s)


def reason_of(error: GatewayError) -> str:
    return _REASONS.get(error.status, _OTHER)
