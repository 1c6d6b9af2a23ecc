"""Contract records -> the objects of a Snapshot. Pure, and total on valid records."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from runestone_contract import config as wire
from runestone_contract.canonical import digest
from runestone_sidecar.config.snapshot import (
    Offer,
    Policy,
    Pool,
    Principal,
    Provider,
    Rule,
    Snapshot,
    Target,
    lines_naming,
)
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import Dialect, ModelTarget
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.origin import Deadlines, Origin, TlsOptions, base_path

DIALECTS: Final[Mapping[str, Dialect]] = {"OpenAI": OpenAI(), "Anthropic": Anthropic()}

NO_CREDENTIAL: Final = "-"  # what the absence of one is known by
MIN_SECRET_CHARS: Final = 8  # a shorter one is a placeholder, and would be found in any text
NOWHERE: Final = Origin("http", "invalid", 80)  # of a provider that is never called

_fit_for_header: Final = re.compile(r"[\x20-\x7e]+").fullmatch

FIXED_HEADERS: Final = (
    b"accept: application/json, text/event-stream\r\n"
    b"accept-encoding: identity\r\n"  # replies pass through unread: nothing here decompresses
    b"content-type: application/json\r\n"
    b"user-agent: runestone\r\n"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials directory at one moment."""

    digest: str
    values: Mapping[str, str] = field(repr=False)


def build_principal(key: wire.Key) -> Principal:
    return Principal(
        id=key.id,
        name=key.id.rpartition("/")[2],
        tenant=key.tenant,
        enabled=key.enabled,
        expires_at_s=key.expires_at_s,
        allowed_models=key.allowed_models,
        policy=key.policy,
        hashes={entry.sha256: entry.not_after_s for entry in key.hashes},
        service_accounts=key.service_accounts,
        limits=key.limits if key.limits != wire.Limits() else None,
        overflow=key.overflow.mode,
        webhooks=key.overflow.webhooks,
        is_admin="Admin" in key.roles,
    )


def build_pool(pool: wire.Pool, credentials: Credentials) -> Pool:
    built = tuple(
        (build_provider(pool.id, provider, credentials), provider) for provider in pool.providers
    )
    offers: dict[str, list[Offer]] = {}
    for provider, source in sorted(built, key=lambda pair: pair[0].priority):
        for model in source.models:
            offers.setdefault(model.name, []).append(_build_offer(provider, model))
    return Pool(
        id=pool.id,
        strategy=pool.strategy,
        providers=tuple(provider for provider, _ in built),
        offers={model: tuple(found) for model, found in offers.items()},
    )


def _build_offer(provider: Provider, model: wire.Model) -> Offer:
    return Offer(
        provider=provider,
        model=model.name,
        target=ModelTarget(upstream=model.upstream, max_output_tokens=model.max_output_tokens),
        capabilities=frozenset(model.capabilities),
        context_window=model.context_window,
        prices=model.prices,
        lines=lines_naming(provider.id, model.upstream),
    )


def build_provider(pool_id: str, source: wire.Provider, credentials: Credentials) -> Provider:
    dialect = DIALECTS.get(source.dialect)
    values = [
        value
        for name in source.credentials
        if (value := credentials.values.get(name)) and _fit_for_header(value)
    ]
    try:
        origin, path = _build_origin(source, credentials), base_path(source.base_url)
        unavailable = _why_unavailable(source, dialect, values, credentials)
    except ValueError:
        origin, path, unavailable = NOWHERE, b"", "BaseURLInvalid"
    return Provider(
        id=f"{pool_id}/{source.name}",
        name=source.name,
        dialect=dialect,
        unavailable=unavailable,
        priority=source.priority,
        weight=source.weight,
        origin=origin,
        base_path=path,
        heads=_build_heads(source, dialect, values) if dialect else (),
        credentials=tuple(digest(value.encode())[:16] for value in values) or (NO_CREDENTIAL,),
        secrets=tuple(value.encode() for value in values if len(value) >= MIN_SECRET_CHARS),
        deadlines=_build_deadlines(source.timeouts, None),
        deadlines_unstreamed=_build_deadlines(
            source.timeouts, source.timeouts.first_byte_unstreamed_ms
        ),
        retry=source.retry,
        breaker=source.circuit_breaker,
        health_check=source.health_check,
    )


def _build_deadlines(timeouts: wire.Timeouts, first_byte_ms: int | None) -> Deadlines:
    return Deadlines(
        connect_s=timeouts.connect_ms / 1000,
        first_byte_s=(timeouts.first_byte_ms if first_byte_ms is None else first_byte_ms) / 1000,
        idle_s=timeouts.idle_ms / 1000,
        total_s=timeouts.total_ms / 1000,
    )


def _why_unavailable(
    source: wire.Provider, dialect: Dialect | None, values: list[str], credentials: Credentials
) -> str | None:
    if source.unavailable is not None:
        return source.unavailable
    if dialect is None:
        return "DialectUnknown"
    if source.credentials and not values:
        return "CredentialsMissing"
    if source.tls.ca and source.tls.ca not in credentials.values:
        return "CertificateAuthorityMissing"
    return None


def _build_origin(source: wire.Provider, credentials: Credentials) -> Origin:
    pem = credentials.values.get(source.tls.ca) if source.tls.ca else None
    return Origin.from_base_url(
        source.base_url,
        tls=TlsOptions(ca_pem=pem.encode() if pem else None, verify=source.tls.verify),
        max_connections=source.connections.max,
        max_idle=source.connections.max_idle,
    )


def _build_heads(source: wire.Provider, dialect: Dialect, values: list[str]) -> tuple[bytes, ...]:
    extra = b"".join(
        f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in source.headers
    )
    keys: list[str | None] = [*values] if values else [None]
    return tuple(
        FIXED_HEADERS
        + b"".join(b"%b: %b\r\n" % header for header in dialect.auth_headers(key))
        + extra
        for key in keys
    )


def build_policy(policy: wire.Policy, pools: Mapping[str, Pool]) -> Policy:
    return Policy(
        id=policy.id,
        default=policy.default,
        aliases=policy.aliases,
        rules=tuple(_build_rule(rule, policy.policy, pools) for rule in policy.rules),
        overflow=policy.overflow,
    )


def _build_rule(rule: wire.Rule, policy: str, pools: Mapping[str, Pool]) -> Rule:
    return Rule(
        name=rule.name,
        match=rule.match if rule.match != wire.Match() else None,
        targets=_build_targets(rule.targets, pools),
        fallbacks=_build_targets(rule.fallbacks, pools),
        by_cost=(rule.policy or policy) == "Cost",
        by_weight=any(target.weight is not None for target in rule.targets),
        sticky_by=rule.sticky_by,
        timeout_s=None if rule.timeout_ms is None else rule.timeout_ms / 1000,
    )


def _build_targets(targets: Iterable[wire.Target], pools: Mapping[str, Pool]) -> tuple[Target, ...]:
    return tuple(
        Target(
            pool=pools[target.pool],
            provider=target.provider,
            model=target.model,
            weight=target.weight,
        )
        for target in targets
        if target.pool in pools
    )


def assemble(  # noqa: PLR0913  (the parts of a Snapshot, each by name)
    *,
    digest: str,
    credentials: str,
    namespace: str,
    pools: Iterable[Pool],
    policies: Iterable[wire.Policy],
    keys: Mapping[str, Principal],
    service_accounts: Mapping[str, Principal],
    overflow_key: str | None = None,
    webhook_secrets: Mapping[str, str] | None = None,
) -> Snapshot:
    pools_by_id = {pool.id: pool for pool in pools}
    by_id = {policy.id: build_policy(policy, pools_by_id) for policy in policies}
    return Snapshot(
        digest=digest,
        credentials=credentials,
        namespace=namespace,
        pools=pools_by_id,
        keys=keys,
        service_accounts=service_accounts,
        policies=by_id,
        has_tenants=len({key.tenant for key in (*keys.values(), *service_accounts.values())}) > 1,
        overflow_key=overflow_key,
        webhook_secrets=webhook_secrets or {},
        default_policy=next((policy for policy in by_id.values() if policy.default), None),
    )
