"""ApiKey: one client identity, what it may use, and how much.

Every field may change later, the tenant too: the namespace is what isolates, a tenant only groups
keys inside it, and forbidding the change would make people delete a key in use to mend a name.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.model import ApiModel, SetList
from runestone_operator.api.names import Glob, ObjectName, Tenant, Text
from runestone_operator.api.refs import PolicyRef, SecretKeyRef
from runestone_operator.api.rules import rule
from runestone_operator.api.scalars import (
    DecimalUsd,
    Duration,
    GivenTime,
    PositiveDuration,
    duration_order,
)
from runestone_operator.api.urls import WebhookUrlGlob

Count = Annotated[int, Field(ge=1, le=1_000_000_000_000)]


class Role(StrEnum):
    CLIENT = "Client"
    ADMIN = "Admin"


class BudgetPeriod(StrEnum):
    HOUR = "Hour"
    DAY = "Day"
    MONTH = "Month"


class OverflowMode(StrEnum):
    ON_REQUEST = "OnRequest"
    ALWAYS = "Always"
    WAIT = "Wait"
    NEVER = "Never"


class Budget(ApiModel):
    """Money that the key may spend in a period."""

    usd: DecimalUsd
    """US dollars, as a decimal string."""
    period: BudgetPeriod
    """In no stretch of time that long is more spent; a month is 30 days. Nothing starts afresh on
    the hour, at midnight or on the first: what was spent is free again a period later."""


class Limits(ApiModel):
    """Limits of the key. Each holds across all replicas together, not for each pod, and in every
    minute or hour, whenever it begins."""

    requests_per_minute: Count | None = None
    """Requests in a minute."""
    requests_per_hour: Count | None = None
    """Requests in an hour."""
    tokens_per_minute: Count | None = None
    """Input and output tokens in a minute."""
    concurrent_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests running at once."""
    budget: Budget | None = None
    """Money spent in a period, at the prices of the pools."""

    @rule(
        "!has(self.requestsPerMinute) || !has(self.requestsPerHour)"
        " || self.requestsPerMinute <= self.requestsPerHour",
        "requestsPerMinute must not exceed requestsPerHour",
        at="requestsPerMinute",
    )
    def minute_within_hour(self) -> bool:
        if self.requests_per_minute is None or self.requests_per_hour is None:
            return True
        return self.requests_per_minute <= self.requests_per_hour


class Rotation(ApiModel):
    """When a new key is generated, and how long the old one still works. The annotation
    runestone.dev/rotate, with any new value, asks for a new key now."""

    interval: PositiveDuration | None = None
    """Time after which a new key is generated, at least 1m; when left out, only by annotation."""
    overlap: Duration = Duration("24h")
    """How long the old key works beside the new one, of several the last eight; with 0s a rotation
    ends all earlier keys."""

    @rule(
        duration_order("self.overlap", "<", "self.interval"),
        "overlap (24h unless set) must be shorter than interval",
        at="overlap",
    )
    def overlap_within_interval(self) -> bool:
        return self.interval is None or self.overlap.ms < self.interval.ms

    @rule(
        duration_order("self.interval", ">=", "'1m'"),
        "interval must be at least 1m",
        at="interval",
    )
    def interval_is_sane(self) -> bool:
        return self.interval is None or self.interval.ms >= 60_000


class Webhooks(ApiModel):
    """Where what became of overflow jobs may be posted."""

    allowed_urls: Annotated[
        tuple[WebhookUrlGlob, ...], Field(min_length=1, max_length=32), SetList()
    ] = Field(alias="allowedURLs")
    """URLs that a client may ask for in Runestone-Webhook-URL: scheme, host and port as they stand
    here, and the whole path. *. stands for one or more leading host labels, * in the path for any
    text, slashes too; a query is allowed where the path ends with *. Private addresses are refused
    whatever is listed, unless the installation allows them."""
    secret_ref: SecretKeyRef
    """Secret that posts are signed with (Standard Webhooks): whsec_ and 24 to 64 bytes in base64;
    two of them, with a blank between, while one is replaced by the other."""


class KeyOverflow(ApiModel):
    """What happens to a request over the limit."""

    mode: OverflowMode = OverflowMode.ON_REQUEST
    """OnRequest: 429, or 202 and a job for a client that sent `Prefer: respond-async`. Always: 202
    and a job, and 429 for a stream. Wait: held by its sidecar until there is room, first come first
    served, within maxQueued and maxAge of the routing policy. Never: 429."""
    webhooks: Webhooks | None = None
    """Where what became of a job may be posted; when left out, clients poll for it."""

    @rule(
        "self.mode != 'Never' || !has(self.webhooks)",
        "webhooks have no effect with mode: Never",
        at="webhooks",
    )
    def never_has_no_results(self) -> bool:
        return self.mode is not OverflowMode.NEVER or self.webhooks is None


class Signing(ApiModel):
    """Signed requests: proof that the body is the client's own."""

    required: bool = False
    """Refuse requests without a valid signature; otherwise only a wrong one is refused."""
    secret_ref: SecretKeyRef | None = None
    """Secret shared with the client."""
    tolerance: PositiveDuration = PositiveDuration("5m")
    """How far the time in the signature may be from now."""

    @rule(
        "!self.required || has(self.secretRef)",
        "secretRef is needed with required: true",
        at="secretRef",
    )
    def required_needs_secret(self) -> bool:
        return not self.required or self.secret_ref is not None


class ApiKeySpec(ApiModel):
    """One client identity: who it is, what it may use, and how much."""

    tenant: Tenant
    """Whom the key belongs to: rules, usage and audit go by it."""
    display_name: Text | None = None
    """Name for people to read."""
    enabled: bool = True
    """Whether the key is let in."""
    expires_at: GivenTime | None = None
    """When the key ceases to be let in."""
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=2), SetList()] = (
        Role.CLIENT,
    )
    """Client: the model endpoints. Admin: those of administration."""
    allowed_models: Annotated[tuple[Glob, ...], Field(max_length=256), SetList()] = ()
    """Models that the key may use, as names with * and ?; when left out, all."""
    routing_policy_ref: PolicyRef | None = None
    """RoutingPolicy for this key; when left out, the namespace's default."""
    service_accounts: Annotated[tuple[ObjectName, ...], Field(max_length=64), SetList()] = ()
    """Pods running as one of these service accounts need send no key at all."""
    secret_ref: SecretKeyRef | None = None
    """A key of your own: `sk-` and at least 24 characters in all. Replaced in its Secret, the old
    one ceases to work at once, unless the Secret holds it beside, under `<key>.previous`. When left
    out, a key is generated into the Secret <name>-api-key."""
    limits: Limits | None = None
    """How much the key may use; when left out, as much as the providers give."""
    rotation: Rotation | None = None
    """Rotation of a generated key; when left out, by the annotation runestone.dev/rotate only."""
    overflow: KeyOverflow | None = None
    """What happens to a request over the limit; when left out, OnRequest."""
    signing: Signing | None = None
    """Signed requests; when left out, signatures are not looked at."""

    @rule(
        "!has(self.secretRef) || !has(self.rotation)",
        "rotation is for generated keys: a key of your own (secretRef) is replaced in its Secret",
        at="rotation",
    )
    def brought_key_is_not_rotated(self) -> bool:
        return self.secret_ref is None or self.rotation is None
