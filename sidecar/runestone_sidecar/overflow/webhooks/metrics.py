"""Metrics of webhooks. Labels are closed sets: nothing of a URL, a receiver or a job."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge


class Outcome(StrEnum):
    """Of one attempt."""

    DELIVERED = "delivered"  # 2xx
    GONE = "gone"  # 410: nobody wants it there, ever
    REFUSED = "refused"  # any other status, redirects too
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "unresolved"
    FORBIDDEN = "forbidden_address"
    TLS = "tls_failed"
    BROKEN = "bad_response"
    NOT_ALLOWED = "not_allowed"  # by the ApiKey as it is now
    UNSIGNED = "no_secret"  # the ApiKey is gone, or its Secret
    FAULT = "fault"  # of our own


class WebhookMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.queued = Counter(
            "runestone_webhooks_queued",
            "Webhooks of jobs that ended, put into the queue here.",
            registry=registry,
        )
        self.attempts = Counter(
            "runestone_webhooks_attempts",
            "Attempts to deliver a webhook from here, by what came of it.",
            ("outcome",),
            registry=registry,
        )
        for outcome in Outcome:
            self.attempts.labels(outcome.value)
        self.given_up = Counter(
            "runestone_webhooks_given_up",
            "Webhooks that were not delivered: gone (410), too late (a day), or unreadable.",
            ("reason",),
            registry=registry,
        )
        self.running = Gauge(
            "runestone_webhooks_running", "Webhooks being delivered here.", registry=registry
        )
        self.waiting = Gauge(
            "runestone_webhooks_waiting",
            "Webhooks of the namespace that are not delivered yet, as last looked at.",
            registry=registry,
        )
