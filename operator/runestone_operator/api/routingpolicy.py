"""RoutingPolicy: where requests go, and how their answers are kept."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.model import ApiModel, Keeps, MapList
from runestone_operator.api.names import ModelName
from runestone_operator.api.pipeline import PipelineStages
from runestone_operator.api.routingrule import Policy, RoutingRule
from runestone_operator.api.rules import Rule, rule
from runestone_operator.api.scalars import PositiveDuration, Quantity

Aliases = Annotated[
    dict[ModelName, ModelName],
    Field(max_length=256),
    Keeps(
        (
            Rule(
                "!self.exists(alias, self[alias] in self)",
                "an alias must name a model, not an alias",
                lambda aliases: aliases.keys().isdisjoint(aliases.values()),
            ),
        )
    ),
]


class CacheScope(StrEnum):
    API_KEY = "ApiKey"
    TENANT = "Tenant"
    NAMESPACE = "Namespace"


class Cache(ApiModel):
    """Complete answers kept for identical requests."""

    enabled: bool = True
    """Whether answers are kept; false turns the cache off and keeps its settings."""
    ttl: PositiveDuration = PositiveDuration("5m")
    """How long an answer is kept."""
    max_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Most answers kept by one sidecar."""
    max_bytes: Quantity = Quantity("100Mi")
    """Most memory for answers in one sidecar."""
    scope: CacheScope = CacheScope.API_KEY
    """Who shares answers: nobody (ApiKey), the keys of a tenant, or all keys of the namespace."""
    encrypt: bool = False
    """Keep answers encrypted (AES-256-GCM)."""


class PolicyOverflow(ApiModel):
    """Bounds on requests over their limit: on those that wait, and on the jobs that others
    become."""

    max_attempts: Annotated[int, Field(ge=1, le=5)] = 5
    """Attempts at a job before it fails."""
    max_queued: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Jobs of one key waiting at once, and requests of one key at one sidecar; beyond it a request
    is refused."""
    max_age: PositiveDuration = PositiveDuration("1h")
    """Time after which a job still waiting for its first attempt expires, and a request is
    refused. How long it then runs does not count."""
    result_ttl: PositiveDuration = Field(default=PositiveDuration("15m"), alias="resultTTL")
    """How long a result waits to be fetched."""


class RoutingPolicySpec(ApiModel):
    """Where requests go. A request that no rule matches goes to all pools that the namespace may
    use, by name."""

    default: bool = False
    """Whether this is the policy of every key in the namespace that names none. Of two defaults
    the older wins, and the newer is Conflicted."""
    policy: Policy = Policy.DEFAULT
    """Default: targets as written. Cost: the cheapest capable provider for the estimated
    tokens."""
    rules: Annotated[tuple[RoutingRule, ...], Field(max_length=128), MapList("name")] = ()
    """Rules in order: the first that matches decides."""
    aliases: Aliases = Field(default_factory=dict)
    """Further names of models: the alias that clients may send, and the model it stands for."""
    cache: Cache | None = None
    """Cache of complete answers; when left out, none."""
    pipeline: PipelineStages = ()
    """Middleware that a request passes, in order; when left out, the built-in pipeline that suits
    the request."""
    overflow: PolicyOverflow | None = None
    """Bounds on requests and jobs over their limit; when left out, those below."""

    @rule(
        "!has(self.rules) || self.rules.size() == 0 || self.rules.filter(r, !has(r.match)"
        " || (!has(r.match.models) && !has(r.match.apiKeys) && !has(r.match.tenants)"
        " && !has(r.match.headers) && !has(r.match.capabilities)))"
        ".all(r, r.name == self.rules[self.rules.size() - 1].name)",
        "only the last rule may match everything: those after it would never be reached",
        at="rules",
    )
    def rules_are_reached(self) -> bool:
        return not any(earlier.matches_everything for earlier in self.rules[:-1])

    def policy_of(self, routing_rule: RoutingRule) -> Policy:
        """A rule's own policy; weights split traffic as written, so they imply Default."""
        if routing_rule.policy is not None:
            return routing_rule.policy
        return Policy.DEFAULT if routing_rule.is_weighted else self.policy
