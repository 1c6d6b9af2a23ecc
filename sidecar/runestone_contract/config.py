"""The wire form of one namespace's compiled configuration.

Frozen models; unknown fields are ignored, so that a newer operator can serve an older sidecar.
A default here is part of the contract (it is not written out) and never changes within a major.
Units are in the names: _ms, _s, and pico-dollars per token (equal to micro-dollars per million).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Prices(Wire):
    """Pico-dollars (1e-12 USD) per token."""

    input: int
    output: int
    cached_input: int | None = None  # None: as input


class Model(Wire):
    name: str  # as clients ask for it
    upstream: str  # as the provider calls it
    capabilities: tuple[str, ...] = ()
    context_window: int | None = None
    max_output_tokens: int | None = None
    prices: Prices | None = None


class Timeouts(Wire):
    connect_ms: int = 5_000
    first_byte_ms: int = 60_000
    first_byte_unstreamed_ms: int | None = None  # where no stream is asked for; None: the same
    idle_ms: int = 60_000
    total_ms: int = 600_000


class Retry(Wire):
    max_attempts: int = 2  # on one provider, the first included
    initial_backoff_ms: int = 200
    max_backoff_ms: int = 5_000


class CircuitBreaker(Wire):
    failure_threshold: int = 5  # failures within the window that open it
    window_ms: int = 30_000
    open_for_ms: int = 30_000
    half_open_requests: int = 1  # let through at a time to find out


class HealthCheck(Wire):
    mode: str = "Passive"  # "Active": the provider's model list is asked for as well
    interval_ms: int = 30_000


class Connections(Wire):
    max: int = 200
    max_idle: int = 50


class Tls(Wire):
    ca: str | None = None  # entry of the credentials directory that holds PEM certificates
    verify: bool = True


class Provider(Wire):
    name: str
    dialect: str  # "OpenAI" | "Anthropic"; a sidecar leaves out a provider it cannot speak to
    base_url: str
    credentials: tuple[str, ...] = ()  # entries of the credentials directory, in order
    unavailable: str | None = None  # why it is out (CamelCase), e.g. its Secret is missing
    priority: int = 0  # lower first
    weight: int = 100
    headers: tuple[tuple[str, str], ...] = ()
    models: tuple[Model, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    health_check: HealthCheck = HealthCheck()
    connections: Connections = Connections()
    tls: Tls = Tls()


class Pool(Wire):
    kind: Literal["pool"] = "pool"
    id: str  # "namespace/name"
    strategy: str = "Priority"
    providers: tuple[Provider, ...] = ()


class KeyHash(Wire):
    sha256: str
    not_after_s: int | None = None  # Unix seconds; set on a key that was rotated out


class Budget(Wire):
    picodollars: int
    period: str  # "Hour" | "Day" | "Month" (30 days); one that is not known is taken for a Month


class Limits(Wire):
    """Of one Key, over all replicas together, in any stretch of time that long; None: no limit."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    budget: Budget | None = None


class Webhooks(Wire):
    """Where what became of a Key's jobs may be posted."""

    allowed_urls: tuple[str, ...] = ()  # with `*`, as the ApiKey's field says
    secret: str | None = None  # entry of the credentials directory to sign with; None: unusable


class KeyOverflow(Wire):
    """What happens to a request that finds a limit of its Key reached."""

    mode: str = "OnRequest"  # "Always" | "Wait" | "Never"; one that is not known: refused
    webhooks: Webhooks | None = None


class Key(Wire):
    kind: Literal["key"] = "key"
    id: str
    tenant: str
    hashes: tuple[KeyHash, ...] = ()
    enabled: bool = True
    expires_at_s: int | None = None
    roles: tuple[str, ...] = ("Client",)
    allowed_models: tuple[str, ...] = ()  # globs; none: every model
    policy: str | None = None  # policy id, maybe of none here; None: the namespace's default
    service_accounts: tuple[str, ...] = ()  # names, of this namespace; in one Key at most
    limits: Limits = Limits()
    overflow: KeyOverflow = KeyOverflow()


class Match(Wire):
    """Every part that is given must match; inside a part, one of the alternatives.

    Headers and capabilities are the exception: of those, all that are listed.
    """

    models: tuple[str, ...] = ()  # globs
    api_keys: tuple[str, ...] = ()  # names of Keys, without the namespace; unknown: no match
    tenants: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case
    capabilities: tuple[str, ...] = ()


class Target(Wire):
    pool: str  # pool id
    provider: str | None = None
    model: str | None = None  # sent instead of the model asked for
    weight: int | None = None  # given on any target of a rule: traffic is split by weight


class Rule(Wire):
    """A request that matches goes here and nowhere else; no target and no fallback: to nobody."""

    name: str
    match: Match = Match()
    targets: tuple[Target, ...] = ()
    fallbacks: tuple[Target, ...] = ()
    policy: str | None = None  # "Default" | "Cost"; None: as the policy says
    sticky_by: str = "Request"
    timeout_ms: int | None = None


class PolicyOverflow(Wire):
    """How many requests of a Key may wait at once, for how long each, and what jobs have beside."""

    max_queued: int = 1_000
    max_age_ms: int = 3_600_000
    max_attempts: int = 5
    result_ttl_ms: int = 900_000


class Policy(Wire):
    kind: Literal["policy"] = "policy"
    id: str
    default: bool = False  # exactly one policy of a bundle: every bundle has a way to route
    policy: str = "Default"
    rules: tuple[Rule, ...] = ()
    aliases: dict[str, str] = {}
    overflow: PolicyOverflow = PolicyOverflow()
    partial: bool = False  # a reference did not resolve and was left out: nothing to go back to


Record = Annotated[Pool | Key | Policy, Field(discriminator="kind")]


class Config(Wire):
    """One namespace, whole. Records are unique by (kind, id)."""

    namespace: str
    pools: tuple[Pool, ...] = ()
    keys: tuple[Key, ...] = ()
    policies: tuple[Policy, ...] = ()

    def records(self) -> tuple[Pool | Key | Policy, ...]:
        return (*self.pools, *self.keys, *self.policies)
