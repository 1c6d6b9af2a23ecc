"""Metrics of jobs. Labels are states and nothing of a client's."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class OverflowMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.submitted = Counter(
            "runestone_jobs_submitted",
            "Requests that became jobs here and were answered 202.",
            registry=registry,
        )
        self.ended = Counter(
            "runestone_jobs_ended",
            "Jobs that came to their end here, by state.",
            ("state",),
            registry=registry,
        )
        self.attempts = Counter(
            "runestone_jobs_attempts", "Attempts at jobs that began here.", registry=registry
        )
        self.redeliveries = Counter(
            "runestone_jobs_redeliveries",
            "Jobs that came to this sidecar after another attempt, or before their key had room.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "runestone_jobs_dead_letters",
            "Jobs given up after their last attempt.",
            registry=registry,
        )
        self.fenced = Counter(
            "runestone_jobs_fenced",
            "Calls whose job was somebody else's by then, or cancelled: their answer was dropped.",
            registry=registry,
        )
        self.running = Gauge("runestone_jobs_running", "Jobs running here.", registry=registry)
        self.depth = Gauge(
            "runestone_jobs_queued",
            "Jobs of the namespace that have not ended, as last looked at.",
            registry=registry,
        )
        self.age = Gauge(
            "runestone_jobs_oldest_seconds",
            "Age of the oldest of these, as last looked at.",
            registry=registry,
        )
