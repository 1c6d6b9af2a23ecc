"""The configuration as requests use it: immutable, indexed, nothing left to look up or to render.

A request reads one Snapshot at its start and keeps it. What changes while it serves (counters,
connections, latencies) lives in stores keyed by the ids that stand here.
"""

import fnmatch
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runestone_contract.config import (
    CircuitBreaker,
    HealthCheck,
    Limits,
    Match,
    PolicyOverflow,
    Prices,
    Retry,
    Webhooks,
)
from runestone_contract.names import HEADER_MODEL, HEADER_PROVIDER
from runestone_sidecar.upstream.dialects.base import Dialect, ModelTarget
from runestone_sidecar.upstream.origin import Deadlines, Origin


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    id: str  # "namespace/pool/provider"
    name: str
    dialect: Dialect | None  # None: this sidecar cannot speak it
    unavailable: str | None  # why it is out (CamelCase)
    priority: int
    weight: int
    origin: Origin
    base_path: bytes
    heads: tuple[bytes, ...]  # rendered header blocks, one for each credential, in their order
    credentials: tuple[str, ...]  # what each of these is known by: a hash of its value
    deadlines: Deadlines  # of calls that ask for a stream
    deadlines_unstreamed: Deadlines
    retry: Retry
    breaker: CircuitBreaker
    health_check: HealthCheck
    secrets: tuple[bytes, ...] = field(default=(), repr=False)  # what no client may see of it


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One provider's offer of one model: what a request is routed to."""

    provider: Provider
    model: str  # the name clients use
    target: ModelTarget
    capabilities: frozenset[str]
    context_window: int | None
    prices: Prices | None
    lines: bytes  # of a reply's head, naming what it is from

    def cost(self, input_tokens: int, output_tokens: int) -> int | None:
        """Pico-dollars; None where no price is known."""
        if self.prices is None:
            return None
        return self.prices.input * input_tokens + self.prices.output * output_tokens


def lines_naming(provider_id: str, upstream: str) -> bytes:
    """A provider's name for a model may be anything; a header's value may not."""
    provider, model = (
        "".join(char if " " <= char <= "~" else "?" for char in name)
        for name in (provider_id, upstream)
    )
    return f"{HEADER_PROVIDER}: {provider}\r\n{HEADER_MODEL}: {model}\r\n".encode()


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    id: str
    strategy: str
    providers: tuple[Provider, ...]
    offers: Mapping[str, tuple[Offer, ...]]  # model -> offers in priority order


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One of a rule's places to go to; a pool that is not in the bundle is no place."""

    pool: Pool
    provider: str | None
    model: str | None  # sent instead of the one asked for
    weight: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    name: str
    match: Match | None  # None: every request
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...]
    by_cost: bool
    by_weight: bool
    sticky_by: str
    timeout_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    id: str
    default: bool
    aliases: Mapping[str, str]
    rules: tuple[Rule, ...]
    overflow: PolicyOverflow


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """Who a request acts for: one ApiKey."""

    id: str
    name: str
    tenant: str
    enabled: bool
    expires_at_s: int | None
    allowed_models: tuple[str, ...]
    policy: str | None
    hashes: Mapping[str, int | None]  # SHA-256 of each key, and when a rotated one ends
    service_accounts: tuple[str, ...]
    limits: Limits | None  # None: none at all
    overflow: str = "OnRequest"  # see KeyOverflow.mode
    webhooks: Webhooks | None = None
    is_admin: bool = False

    def allows(self, model: str) -> bool:
        return not self.allowed_models or matches(self.allowed_models, model)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    digest: str  # of the bundle
    credentials: str  # of the credentials directory
    namespace: str
    pools: Mapping[str, Pool] = field(default_factory=dict)
    keys: Mapping[str, Principal] = field(default_factory=dict)  # by SHA-256 of the key
    service_accounts: Mapping[str, Principal] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    default_policy: Policy | None = None
    has_tenants: bool = False  # keys of more than one
    overflow_key: str | None = field(default=None, repr=False)  # what jobs are sealed with
    webhook_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # by entry

    def policy_of(self, principal: Principal) -> Policy | None:
        if principal.policy is None:
            return self.default_policy
        return self.policies.get(principal.policy)

    def webhook_secret_of(self, principal: Principal) -> str | None:
        """None where it has none, or its Secret is missing."""
        entry = principal.webhooks.secret if principal.webhooks else None
        return self.webhook_secrets.get(entry) if entry else None

    def providers(self) -> list[Provider]:
        return [provider for pool in self.pools.values() for provider in pool.providers]

    def principal_ids(self) -> set[str]:
        return {found.id for by in (self.keys, self.service_accounts) for found in by.values()}

    def models(self) -> set[str]:
        return {model for pool in self.pools.values() for model in pool.offers}


@functools.lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))


def matches(globs: tuple[str, ...], name: str) -> bool:
    """`*` and `?` as in a shell, whole name, case counts."""
    return _pattern(globs).match(name) is not None
