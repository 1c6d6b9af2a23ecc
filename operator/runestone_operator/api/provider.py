"""One provider of a pool: where it is, what it serves, and how to treat it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.connection import (
    CircuitBreaker,
    Connections,
    HealthCheck,
    Retry,
    Timeouts,
    Tls,
)
from runestone_operator.api.headers import ProviderHeaders
from runestone_operator.api.model import ApiModel, MapList, SetList
from runestone_operator.api.names import ItemName, ModelName
from runestone_operator.api.refs import SecretKeyRef
from runestone_operator.api.rules import rule
from runestone_operator.api.scalars import DecimalUsd, usd_order
from runestone_operator.api.urls import BaseUrl


class ProviderType(StrEnum):
    """A wire dialect, not a vendor: every OpenAI-speaking vendor is OpenAI with its own baseURL."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


VENDOR_URLS = {
    ProviderType.OPENAI: "https://api.openai.com/v1",
    ProviderType.ANTHROPIC: "https://api.anthropic.com",
}


class Capability(StrEnum):
    """What a model can do. A request goes only where all it needs is there."""

    CHAT = "Chat"
    COMPLETIONS = "Completions"
    EMBEDDINGS = "Embeddings"
    RESPONSES = "Responses"
    STREAMING = "Streaming"
    TOOLS = "Tools"
    PARALLEL_TOOLS = "ParallelTools"
    VISION = "Vision"
    AUDIO = "Audio"
    JSON_SCHEMA = "JSONSchema"
    REASONING = "Reasoning"
    LOGPROBS = "Logprobs"


Capabilities = Annotated[tuple[Capability, ...], Field(min_length=1, max_length=16), SetList()]
Tokens = Annotated[int, Field(ge=1, le=100_000_000)]


class ModelCost(ApiModel):
    """Price of a model. Given at all, it replaces the shipped price of that model as a whole."""

    input_per_million: DecimalUsd
    """US dollars for a million input tokens."""
    cached_input_per_million: DecimalUsd | None = None
    """US dollars for a million input tokens that the provider read from its cache; as
    `inputPerMillion` when left out."""
    output_per_million: DecimalUsd = DecimalUsd("0")
    """US dollars for a million output tokens; zero for a model that answers with none, such as
    one for embeddings."""

    @rule(
        usd_order("self.cachedInputPerMillion", "<=", "self.inputPerMillion"),
        "cachedInputPerMillion must not exceed inputPerMillion",
        at="cachedInputPerMillion",
    )
    def cached_is_no_dearer(self) -> bool:
        return self.cached_input.micro_usd <= self.input_per_million.micro_usd

    @property
    def cached_input(self) -> DecimalUsd:
        cached = self.cached_input_per_million
        return self.input_per_million if cached is None else cached


class Model(ApiModel):
    """One model that a provider serves. Known models need nothing but their name."""

    name: ModelName
    """Name that clients, rules and keys use."""
    upstream_name: ModelName | None = None
    """Name that the provider knows it by; `name` when left out."""
    capabilities: Capabilities | None = None
    """What the model can do; when left out, as in the shipped table. A model that is not in it is
    taken to be able to do all that is asked of it."""
    context_window: Tokens | None = None
    """Tokens that fit into input and output together; when left out, as in the shipped table."""
    max_output_tokens: Tokens | None = None
    """Most tokens of one answer; when left out, as in the shipped table."""
    cost: ModelCost | None = None
    """Price; when left out, as in the shipped table. A model without one comes last by cost."""

    @rule(
        "!has(self.maxOutputTokens) || !has(self.contextWindow)"
        " || self.maxOutputTokens <= self.contextWindow",
        "maxOutputTokens must not exceed contextWindow",
        at="maxOutputTokens",
    )
    def output_fits_window(self) -> bool:
        if self.max_output_tokens is None or self.context_window is None:
            return True
        return self.max_output_tokens <= self.context_window

    @property
    def name_at_provider(self) -> str:
        return self.upstream_name or self.name


class Credential(ApiModel):
    """A key for the provider, held in a Secret."""

    secret_ref: SecretKeyRef
    """Where the key is."""


class Provider(ApiModel):
    """One provider: a wire dialect at an address, with its models and credentials."""

    name: ItemName
    """Name of the provider within the pool, as seen in headers, metrics and routing rules."""
    type: ProviderType
    """Wire dialect. Every vendor that speaks OpenAI's API is OpenAI with its own `baseURL`."""
    base_url: BaseUrl | None = Field(default=None, alias="baseURL")
    """Address that the API's paths are appended to; when left out, the vendor's own:
    https://api.openai.com/v1 or https://api.anthropic.com."""
    credentials: Annotated[tuple[Credential, ...], Field(max_length=8)] = ()
    """Keys in the order of use: a 401 on the first falls to the next, so list two while a key is
    being rotated. None for a self-hosted endpoint that asks for no key."""
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rank under `strategy: Priority`: the lowest is tried first."""
    weight: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Share of the traffic under `strategy: Weighted`, in proportion to the other weights; zero
    for a provider that only stands in when the others fail."""
    headers: ProviderHeaders = Field(default_factory=dict)
    """Headers added to every request to the provider, by lower-case name. Not for keys: those
    belong into `credentials`."""
    models: Annotated[tuple[Model, ...], Field(min_length=1, max_length=256), MapList("name")]
    """Models that this provider serves."""
    timeouts: Timeouts = Timeouts()
    """How long to wait, in each phase of a request."""
    retry: Retry = Retry()
    """Attempts at this provider before the next one is tried."""
    circuit_breaker: CircuitBreaker | None = None
    """When to leave a failing provider alone; when left out, a breaker with the defaults below."""
    health_check: HealthCheck | None = None
    """How to learn that the provider is well again; when left out, Passive."""
    connections: Connections = Connections()
    """Bounds on the connections that one sidecar holds to the provider."""
    tls: Tls | None = None
    """TLS towards an https baseURL; when left out, verified against the system's authorities."""

    @rule(
        "has(self.baseURL) || (has(self.credentials) && self.credentials.size() > 0)",
        "credentials are needed for the vendor's own API (a self-hosted endpoint sets baseURL)",
        at="credentials",
    )
    def vendor_needs_credentials(self) -> bool:
        return self.base_url is not None or bool(self.credentials)

    @rule(
        "!has(self.credentials) || self.credentials.all(c, self.credentials.exists_one(d,"
        " d.secretRef.name == c.secretRef.name && d.secretRef.key == c.secretRef.key))",
        "the same credential is listed twice",
        at="credentials",
    )
    def credentials_differ(self) -> bool:
        refs = [(c.secret_ref.name, c.secret_ref.key) for c in self.credentials]
        return len(set(refs)) == len(refs)

    @rule(
        "!has(self.tls) || !has(self.baseURL) || !self.baseURL.startsWith('http://')",
        "tls has no effect on an http:// baseURL",
        at="tls",
    )
    def tls_needs_https(self) -> bool:
        return self.tls is None or not (self.base_url or "").startswith("http://")

    @rule(
        "self.type != 'Anthropic'"
        " || self.models.all(m, !has(m.capabilities) || !('Embeddings' in m.capabilities))",
        "the Anthropic dialect has no embeddings: no model of this provider can have them",
        at="models",
    )
    def dialect_has_embeddings(self) -> bool:
        return self.type is not ProviderType.ANTHROPIC or not any(
            Capability.EMBEDDINGS in (model.capabilities or ()) for model in self.models
        )

    @property
    def endpoint(self) -> str:
        """The base URL in force, without a trailing slash."""
        return (self.base_url or VENDOR_URLS[self.type]).rstrip("/")

    @property
    def is_at_vendor(self) -> bool:
        """Whether it is the vendor itself, not somebody who speaks its format."""
        return self.endpoint == VENDOR_URLS[self.type]
