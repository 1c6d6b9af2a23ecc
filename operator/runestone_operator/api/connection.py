"""How a sidecar treats the connection to one provider: patience, retries, bounds, trust."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.model import ApiModel
from runestone_operator.api.refs import SecretKeyRef
from runestone_operator.api.rules import rule
from runestone_operator.api.scalars import PositiveDuration, duration_order

_CONNECT_MS, _FIRST_BYTE_MS, _IDLE_MS = 5_000, 300_000, 120_000
_INITIAL_BACKOFF_MS = 250
_MAX_IDLE = 50
_PROBE_INTERVAL_MS = 30_000


def _within_total(wire_name: str) -> tuple[str, str]:
    return (
        duration_order(f"self.{wire_name}", "<=", "self.total"),
        f"{wire_name} must not be longer than total (600s unless set)",
    )


class Timeouts(ApiModel):
    """Deadlines of a request to the provider, phase by phase."""

    connect: PositiveDuration | None = None
    """For the connection, with TLS; when left out 5s, or `total` if that is shorter."""
    first_byte: PositiveDuration | None = None
    """From the request sent to the first byte of the answer; when left out 300s, or `total` if that
    is shorter, and for streams alone. Where it is set it holds without streaming too, and there it
    is the whole time in which an answer is made: left out, `total` alone bounds that."""
    idle: PositiveDuration | None = None
    """Between two pieces of an answer; when left out 120s, or `total` if that is shorter."""
    total: PositiveDuration = PositiveDuration("600s")
    """For everything, from connecting to the last byte."""

    @rule(*_within_total("connect"), at="connect")
    def connect_within_total(self) -> bool:
        return self.connect is None or self.connect.ms <= self.total.ms

    @rule(*_within_total("firstByte"), at="firstByte")
    def first_byte_within_total(self) -> bool:
        return self.first_byte is None or self.first_byte.ms <= self.total.ms

    @rule(*_within_total("idle"), at="idle")
    def idle_within_total(self) -> bool:
        return self.idle is None or self.idle.ms <= self.total.ms

    @property
    def connect_ms(self) -> int:
        return self._phase_ms(self.connect, _CONNECT_MS)

    @property
    def first_byte_ms(self) -> int:
        return self._phase_ms(self.first_byte, _FIRST_BYTE_MS)

    @property
    def first_byte_unstreamed_ms(self) -> int | None:
        """None: as `first_byte_ms`. A limit that nobody asked for would be met by long answers."""
        return self.total.ms if self.first_byte is None else None

    @property
    def idle_ms(self) -> int:
        return self._phase_ms(self.idle, _IDLE_MS)

    @property
    def total_ms(self) -> int:
        return self.total.ms

    def _phase_ms(self, phase: PositiveDuration | None, default_ms: int) -> int:
        return min(default_ms, self.total.ms) if phase is None else phase.ms


class Retry(ApiModel):
    """Attempts at one provider, with full jitter between them. A provider's Retry-After is kept."""

    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Attempts in all; 1 for no retry."""
    initial_backoff: PositiveDuration | None = None
    """Longest pause before the second attempt, doubled for each further one; when left out 250ms,
    or `maxBackoff` if that is shorter."""
    max_backoff: PositiveDuration = PositiveDuration("5s")
    """Longest pause of all, whatever the number of attempts."""

    @rule(
        duration_order("self.initialBackoff", "<=", "self.maxBackoff"),
        "initialBackoff must not be longer than maxBackoff (5s unless set)",
        at="initialBackoff",
    )
    def backoff_grows(self) -> bool:
        return self.initial_backoff is None or self.initial_backoff.ms <= self.max_backoff.ms

    @property
    def initial_backoff_ms(self) -> int:
        if self.initial_backoff is None:
            return min(_INITIAL_BACKOFF_MS, self.max_backoff.ms)
        return self.initial_backoff.ms


class CircuitBreaker(ApiModel):
    """Leaves a provider alone after repeated failures, then tries it with care."""

    failure_threshold: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failures that open the breaker: so many within `window`, fewer requests answered meanwhile,
    and not all of one and the same request where another is answered. A provider that answers
    nobody opens it whoever asks. Refusals of a request, of a key or for a rate limit are no
    failures."""
    window: PositiveDuration = PositiveDuration("30s")
    """Time in which failures are counted together."""
    open_for: PositiveDuration = PositiveDuration("30s")
    """How long an open breaker keeps requests away."""
    half_open_requests: Annotated[int, Field(ge=1, le=100)] = 1
    """Requests let through at a time to find out whether the provider is well again."""


class HealthCheckMode(StrEnum):
    PASSIVE = "Passive"
    ACTIVE = "Active"


class HealthCheck(ApiModel):
    """How to learn that a provider is well again."""

    mode: HealthCheckMode = HealthCheckMode.PASSIVE
    """Passive: by the requests that the breaker lets through. Active: by asking for the model
    list as well."""
    interval: PositiveDuration | None = None
    """Pause between two probes under `mode: Active`, at least 1s; when left out 30s."""

    @rule(
        "!has(self.interval) || self.mode == 'Active'",
        "interval is for mode: Active only",
        at="interval",
    )
    def interval_is_for_active(self) -> bool:
        return self.interval is None or self.mode is HealthCheckMode.ACTIVE

    @rule(
        duration_order("self.interval", ">=", "'1s'"),
        "interval must be at least 1s",
        at="interval",
    )
    def interval_is_gentle(self) -> bool:
        return self.interval is None or self.interval.ms >= 1000

    @property
    def interval_ms(self) -> int:
        return _PROBE_INTERVAL_MS if self.interval is None else self.interval.ms


class Connections(ApiModel):
    """Bounds on the connections that one sidecar holds to the provider."""

    max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Connections open at once; further requests wait for one."""
    max_idle: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Connections kept open for reuse; when left out 50, or `max` if that is less."""

    @rule(
        "!has(self.maxIdle) || self.maxIdle <= self.max",
        "maxIdle must not exceed max (200 unless set)",
        at="maxIdle",
    )
    def idle_within_max(self) -> bool:
        return self.max_idle is None or self.max_idle <= self.max

    @property
    def idle_limit(self) -> int:
        return min(_MAX_IDLE, self.max) if self.max_idle is None else self.max_idle


class Tls(ApiModel):
    """TLS towards an https baseURL."""

    ca_secret_ref: SecretKeyRef | None = None
    """PEM bundle of the authorities to trust, instead of the system's."""
    insecure_skip_verify: bool = False
    """Accept any certificate. For trials only: whoever is on the path reads the provider key."""

    @rule(
        "!self.insecureSkipVerify || !has(self.caSecretRef)",
        "caSecretRef has no effect with insecureSkipVerify: true",
        at="caSecretRef",
    )
    def verifies_or_not(self) -> bool:
        return not (self.insecure_skip_verify and self.ca_secret_ref)
