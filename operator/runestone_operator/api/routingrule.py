"""One rule of a RoutingPolicy: which requests, and where they go."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.headers import MatchHeaders
from runestone_operator.api.model import ApiModel, SetList
from runestone_operator.api.names import Glob, ItemName, ModelName, ResourceName, Tenant
from runestone_operator.api.provider import Capabilities
from runestone_operator.api.rules import rule
from runestone_operator.api.scalars import PoolRef, PositiveDuration


class Policy(StrEnum):
    DEFAULT = "Default"
    COST = "Cost"


class StickyBy(StrEnum):
    REQUEST = "Request"
    API_KEY = "ApiKey"
    USER = "User"


class Match(ApiModel):
    """Which requests a rule is for: all that is given must hold, of each list any entry."""

    models: Annotated[tuple[Glob, ...], Field(min_length=1, max_length=64), SetList()] | None = None
    """Models asked for, as names with * and ?, before and after aliases."""
    api_keys: (
        Annotated[tuple[ResourceName, ...], Field(min_length=1, max_length=64), SetList()] | None
    ) = None
    """Names of ApiKeys in this namespace."""
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=64), SetList()] | None = (
        None
    )
    """Tenants of the key."""
    headers: MatchHeaders | None = None
    """Request headers, by lower-case name, and the exact values that they must have."""
    capabilities: Capabilities | None = None
    """What the request needs or prefers, such as Vision for one with images; all of them."""

    @property
    def is_empty(self) -> bool:
        parts = (self.models, self.api_keys, self.tenants, self.headers, self.capabilities)
        return all(part is None for part in parts)


class Target(ApiModel):
    """A pool to go to."""

    pool: PoolRef
    """ProviderPool of this namespace (name), or one shared by another (namespace/name)."""
    provider: ItemName | None = None
    """Only this provider of the pool."""
    model: ModelName | None = None
    """Model to ask for, in place of the one in the request."""
    weight: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Share of the requests, in proportion to the other weights. On all targets, to split traffic
    between them; on none, to try them in order."""


class Fallback(ApiModel):
    """A pool for when every target has failed."""

    pool: PoolRef
    """ProviderPool of this namespace (name), or one shared by another (namespace/name)."""
    model: ModelName | None = None
    """Model to ask for, in place of the one in the request."""


class RoutingRule(ApiModel):
    """Which requests, and where they go."""

    name: ItemName
    """Name of the rule, as seen in decisions and metrics."""
    match: Match | None = None
    """Which requests the rule is for; when left out, all."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=16)]
    """Where requests go: in order, or split by weight."""
    sticky_by: StickyBy | None = None
    """What stays on one target when traffic is split by weight: nothing (Request, the default),
    an ApiKey, or the user that a request names."""
    fallbacks: Annotated[tuple[Fallback, ...], Field(max_length=8)] = ()
    """Where a request goes, in order, when every target has failed."""
    policy: Policy | None = None
    """Policy within this rule; when left out, the policy of the whole, or Default where targets
    have weights."""
    timeout: PositiveDuration | None = None
    """Deadline of a request over all attempts; when left out, each provider's own."""

    @rule(
        "self.targets.all(t, has(t.weight)) || !self.targets.exists(t, has(t.weight))",
        "weight must be given on all targets or on none",
        at="targets",
    )
    def weight_on_all_or_none(self) -> bool:
        return len({target.weight is None for target in self.targets}) == 1

    @rule(
        "self.targets.size() == 0 || !self.targets.all(t, has(t.weight) && t.weight == 0)",
        "at least one target needs a weight above zero",
        at="targets",
    )
    def some_weight(self) -> bool:
        return any(target.weight != 0 for target in self.targets)

    @rule(
        "!has(self.stickyBy) || (self.targets.size() > 1 && self.targets.exists(t, has(t.weight)))",
        "stickyBy needs two or more targets with weights",
        at="stickyBy",
    )
    def sticky_needs_a_split(self) -> bool:
        return self.sticky_by is None or (len(self.targets) > 1 and self.is_weighted)

    @rule(
        "!has(self.policy) || self.policy != 'Cost' || !self.targets.exists(t, has(t.weight))",
        "policy: Cost and weights exclude each other: either the price decides or the split",
        at="policy",
    )
    def cost_or_weights(self) -> bool:
        return self.policy is not Policy.COST or not self.is_weighted

    @rule(
        "self.targets.all(t, self.targets.exists_one(u, u.pool == t.pool"
        " && (has(u.provider) ? u.provider : '') == (has(t.provider) ? t.provider : '')"
        " && (has(u.model) ? u.model : '') == (has(t.model) ? t.model : '')))",
        "the same target is listed twice",
        at="targets",
    )
    def targets_differ(self) -> bool:
        targets = [(t.pool, t.provider, t.model) for t in self.targets]
        return len(set(targets)) == len(targets)

    @rule(
        "!has(self.fallbacks) || !self.fallbacks.exists(f, self.targets.exists(t,"
        " t.pool == f.pool && !has(t.provider)"
        " && (has(t.model) ? t.model : '') == (has(f.model) ? f.model : '')))",
        "a fallback must not repeat a target: it would fail alike",
        at="fallbacks",
    )
    def fallbacks_are_elsewhere(self) -> bool:
        tried = {(t.pool, t.model) for t in self.targets if t.provider is None}
        return tried.isdisjoint((f.pool, f.model) for f in self.fallbacks)

    @property
    def is_weighted(self) -> bool:
        return any(target.weight is not None for target in self.targets)

    @property
    def matches_everything(self) -> bool:
        return self.match is None or self.match.is_empty
