"""One ProviderPool -> its record, the values it needs, and what is wrong with its references.

A provider whose credentials are all missing stays, marked unavailable: whoever asks why a request
went elsewhere finds the answer in the configuration.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from runestone_contract import config as wire
from runestone_operator.api import provider as api
from runestone_operator.api.connection import CircuitBreaker, HealthCheck, Tls
from runestone_operator.api.resource import ProviderPool
from runestone_operator.compiler.credentials import (
    AUTHORITY,
    CREDENTIAL,
    entry_name,
    find_credential,
    find_value,
    source_of,
    sources_by_entry,
)
from runestone_operator.compiler.inputs import Secrets, SecretSource
from runestone_operator.compiler.prices import known_model
from runestone_operator.compiler.verdicts import Problem

_VENDORS_API: Final = "Responses"
_CREDENTIALS_MISSING: Final = "CredentialsMissing"
_AUTHORITY_MISSING: Final = "CertificateAuthorityMissing"


@dataclass(frozen=True, slots=True)
class CompiledPool:
    record: wire.Pool
    entries: tuple[tuple[str, SecretSource], ...] = ()  # of the managed Secret
    problems: tuple[Problem, ...] = ()
    unpriced: tuple[str, ...] = ()  # models, by name
    credential_hashes: frozenset[str] = frozenset()

    def models(self, provider: str | None = None) -> frozenset[str]:
        """What the pool serves, or one provider of it."""
        return frozenset(
            model.name
            for candidate in self.record.providers
            if provider in {None, candidate.name}
            for model in candidate.models
        )

    def has_provider(self, name: str) -> bool:
        return any(provider.name == name for provider in self.record.providers)


@dataclass(slots=True)
class _Findings:
    """What turns up on the way through the providers of one pool."""

    namespace: str
    secrets: Secrets
    entries: list[tuple[str, SecretSource]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)

    def credentials(self, provider: api.Provider) -> tuple[str, ...]:
        names: list[str] = []
        for credential in provider.credentials:
            source = source_of(self.namespace, credential.secret_ref)
            found = find_credential(self.secrets, source, f'provider "{provider.name}"')
            if isinstance(found, Problem):
                self.problems.append(found)
                continue
            self.hashes.add(found.sha256)
            names.append(self._entry(CREDENTIAL, source))
        return tuple(names)

    def authority(self, provider: api.Provider, tls: Tls) -> str | None:
        if tls.ca_secret_ref is None:
            return None
        source = source_of(self.namespace, tls.ca_secret_ref)
        found = find_value(self.secrets, source, f'provider "{provider.name}", tls')
        if isinstance(found, Problem):
            self.problems.append(found)
            return None
        return self._entry(AUTHORITY, source)

    def _entry(self, prefix: str, source: SecretSource) -> str:
        name = entry_name(prefix, source)
        self.entries.append((name, source))
        return name


def compile_pool(pool: ProviderPool, secrets: Secrets) -> CompiledPool:
    findings = _Findings(pool.meta.namespace, secrets)
    providers = tuple(_provider(provider, findings) for provider in pool.spec.providers)
    return CompiledPool(
        record=wire.Pool(
            id=f"{pool.meta.namespace}/{pool.meta.name}",
            strategy=pool.spec.strategy.value,
            providers=providers,
        ),
        entries=tuple(sorted(set(findings.entries))),
        problems=tuple(findings.problems),
        unpriced=_unpriced(providers),
        credential_hashes=frozenset(findings.hashes),
    )


def _provider(provider: api.Provider, findings: _Findings) -> wire.Provider:
    tls = provider.tls or Tls()
    credentials = findings.credentials(provider)
    authority = findings.authority(provider, tls)
    unavailable = None
    if provider.credentials and not credentials:
        unavailable = _CREDENTIALS_MISSING
    elif tls.ca_secret_ref and authority is None:
        unavailable = _AUTHORITY_MISSING
    return wire.Provider(
        name=provider.name,
        dialect=provider.type.value,
        base_url=provider.endpoint,
        credentials=credentials,
        unavailable=unavailable,
        priority=provider.priority,
        weight=provider.weight,
        headers=tuple(sorted(provider.headers.items())),
        models=tuple(_model(model, at_vendor=provider.is_at_vendor) for model in provider.models),
        timeouts=wire.Timeouts(
            connect_ms=provider.timeouts.connect_ms,
            first_byte_ms=provider.timeouts.first_byte_ms,
            first_byte_unstreamed_ms=provider.timeouts.first_byte_unstreamed_ms,
            idle_ms=provider.timeouts.idle_ms,
            total_ms=provider.timeouts.total_ms,
        ),
        retry=wire.Retry(
            max_attempts=provider.retry.max_attempts,
            initial_backoff_ms=provider.retry.initial_backoff_ms,
            max_backoff_ms=provider.retry.max_backoff.ms,
        ),
        circuit_breaker=_circuit_breaker(provider.circuit_breaker or CircuitBreaker()),
        health_check=_health_check(provider.health_check or HealthCheck()),
        connections=wire.Connections(
            max=provider.connections.max, max_idle=provider.connections.idle_limit
        ),
        tls=wire.Tls(ca=authority, verify=not tls.insecure_skip_verify),
    )


def _circuit_breaker(breaker: CircuitBreaker) -> wire.CircuitBreaker:
    return wire.CircuitBreaker(
        failure_threshold=breaker.failure_threshold,
        window_ms=breaker.window.ms,
        open_for_ms=breaker.open_for.ms,
        half_open_requests=breaker.half_open_requests,
    )


def _health_check(check: HealthCheck) -> wire.HealthCheck:
    return wire.HealthCheck(mode=check.mode.value, interval_ms=check.interval_ms)


def _model(model: api.Model, *, at_vendor: bool) -> wire.Model:
    known = known_model(upstream=model.name_at_provider, name=model.name)
    capabilities: tuple[str, ...] = ()  # nothing is known: it is kept from no request
    window, most_output, prices = model.context_window, model.max_output_tokens, None
    if known:
        capabilities, prices = known.capabilities, known.prices
        if not at_vendor:  # others serve these models too, few of them by this API
            capabilities = tuple(each for each in capabilities if each != _VENDORS_API)
        window = known.context_window if window is None else window
        if most_output is None and known.max_output_tokens is not None:
            most_output = min(window, known.max_output_tokens)
    if model.capabilities is not None:
        capabilities = tuple(capability.value for capability in model.capabilities)
    return wire.Model(
        name=model.name,
        upstream=model.name_at_provider,
        capabilities=tuple(sorted(capabilities)),
        context_window=window,
        max_output_tokens=most_output,
        prices=prices if model.cost is None else _prices(model.cost),
    )


def _prices(cost: api.ModelCost) -> wire.Prices:
    cached = cost.cached_input_per_million
    return wire.Prices(
        input=cost.input_per_million.micro_usd,
        output=cost.output_per_million.micro_usd,
        cached_input=None if cached is None else cached.micro_usd,
    )


def _unpriced(providers: tuple[wire.Provider, ...]) -> tuple[str, ...]:
    names = {
        model.name for provider in providers for model in provider.models if model.prices is None
    }
    return tuple(sorted(names))


def keep_pool(record: wire.Pool, namespace: str, secrets: Secrets) -> CompiledPool:
    """A record of the bundle in force, for a pool whose resource cannot be read any more.

    It names entries of the managed Secret, found again by trying every Secret of the namespace.
    Entries without a source stay named: their Secret may come back.
    """
    sources = sources_by_entry(secrets, namespace, (CREDENTIAL, AUTHORITY))
    providers = tuple(_kept_provider(provider, set(sources)) for provider in record.providers)
    named = {name for provider in providers for name in _entries_of(provider)}
    values = [sources[name] for name in named if name in sources and name.startswith(CREDENTIAL)]
    return CompiledPool(
        record=record.model_copy(update={"providers": providers}),
        entries=tuple((name, sources[name]) for name in sorted(named & sources.keys())),
        unpriced=_unpriced(providers),
        credential_hashes=frozenset(
            secrets[value.namespace, value.name][value.key].sha256 for value in values
        ),
    )


def _kept_provider(provider: wire.Provider, entries: set[str]) -> wire.Provider:
    unavailable = provider.unavailable if not provider.credentials else None
    if provider.credentials and entries.isdisjoint(provider.credentials):
        unavailable = _CREDENTIALS_MISSING
    elif provider.tls.ca and provider.tls.ca not in entries:
        unavailable = _AUTHORITY_MISSING
    elif provider.unavailable == _AUTHORITY_MISSING and provider.tls.ca is None:
        unavailable = _AUTHORITY_MISSING  # which one it was to be is not on record
    return provider.model_copy(update={"unavailable": unavailable})


def _entries_of(provider: wire.Provider) -> Iterator[str]:
    yield from provider.credentials
    if provider.tls.ca:
        yield provider.tls.ca
