"""ApiKeys -> their records: who is let in, and as whom.

Fails closed. A key or a service account belongs to the oldest ApiKey that names it, whatever that
one's state: a newer one never inherits it, and rights are never added up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from runestone_contract import config as wire
from runestone_operator.api.apikey import Budget, KeyOverflow, Limits
from runestone_operator.api.pending import pending_note
from runestone_operator.api.resource import ApiKey
from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import ApiKeyStatus
from runestone_operator.compiler.beside import allowed_beside, hashes_beside
from runestone_operator.compiler.credentials import find_value, source_of
from runestone_operator.compiler.globs import unmatched
from runestone_operator.compiler.inputs import Secrets, SecretSource, ValueFact, key_secret
from runestone_operator.compiler.resources import age
from runestone_operator.compiler.verdicts import (
    Kind,
    Problem,
    Reason,
    ResourceRef,
    Verdict,
    accepted,
    conflicted,
    listed,
    references,
)
from runestone_operator.compiler.webhooks import CompiledWebhooks, compile_webhooks, webhook_notes

_PICO_PER_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the namespace an ApiKey is judged by."""

    secrets: Secrets
    displaced: frozenset[str]  # names of ApiKeys: see Inputs
    policies: frozenset[str]  # names of those in the configuration
    unusable_policies: frozenset[str]  # names of those that exist, but cannot be read
    credential_hashes: frozenset[str]  # of providers
    beside: Mapping[str, tuple[wire.KeyHash, ...]]  # see Inputs
    models: frozenset[str]  # an alias is not among them: it gives no right that its model lacks


@dataclass(frozen=True, slots=True)
class CompiledKey:
    key: ApiKey
    record: wire.Key | None
    fact: ValueFact | None
    problems: tuple[Problem, ...]
    conflicts: tuple[Problem, ...]
    notes: tuple[str, ...]
    entries: tuple[tuple[str, SecretSource], ...] = ()  # of the managed Secret

    @property
    def resource(self) -> ResourceRef:
        return ResourceRef(Kind.API_KEY, self.key.meta.namespace, self.key.meta.name)

    def verdicts(self) -> Iterator[Verdict]:
        yield accepted(self.resource, self.notes)
        yield references(self.resource, self.problems)
        if self.conflicts:
            yield conflicted(self.resource, self.conflicts)

    def status(self) -> ApiKeyStatus:
        return ApiKeyStatus(
            key_prefix=self.fact.prefix if self.fact else None,
            secret_name=key_secret(self.key).name,
            previous_key_expires_at=_last_expiry(self.record.hashes) if self.record else None,
        )


def compile_keys(keys: Iterable[ApiKey], around: Surroundings) -> Iterator[CompiledKey]:
    """In the order of their age."""
    claims = _Claims()
    for key in sorted(keys, key=lambda key: age(key.meta)):
        yield _compile(key, around, claims)


@dataclass(slots=True)
class _Claims:
    hashes: dict[str, str] = field(default_factory=dict)  # -> name of the ApiKey
    accounts: dict[str, str] = field(default_factory=dict)


def _compile(key: ApiKey, around: Surroundings, claims: _Claims) -> CompiledKey:
    fact = _client_key(key, around)
    problems = [fact] if isinstance(fact, Problem) else []
    policy, policy_problem = _policy(key, around)
    problems += policy_problem
    webhooks = compile_webhooks(key, around.secrets)
    problems += [*filter(None, (webhooks.problem, _signing_problem(key, around)))]
    accounts, conflicts = _claim_accounts(key, claims)
    record = None
    if isinstance(fact, ValueFact):
        holder = claims.hashes.setdefault(fact.sha256, key.meta.name)
        if holder != key.meta.name:
            message = (
                f'ApiKey "{holder}", which is older, has the same key: this one lets nobody in'
            )
            conflicts.insert(0, Problem(Reason.DUPLICATE_KEY, message))
        else:
            beside, wrong = _beside(key, fact, around, claims)
            problems += wrong
            record = _record(key, fact, beside, policy, accounts, webhooks)
    return CompiledKey(
        key=key,
        record=record,
        fact=fact if isinstance(fact, ValueFact) else None,
        problems=tuple(problems),
        conflicts=tuple(conflicts),
        notes=tuple(_notes(key, around)),
        entries=(webhooks.entry,) if record and webhooks.entry else (),
    )


def _client_key(key: ApiKey, around: Surroundings) -> ValueFact | Problem:
    source = key_secret(key)
    if key.meta.name in around.displaced:
        return Problem(
            Reason.SECRET_NOT_OWNED,
            f'the client key: Secret "{source.name}" is there and does not belong to this ApiKey:'
            " it is left alone, and no key is generated",
        )
    found = find_value(around.secrets, source, "the client key")
    if isinstance(found, Problem):
        return found
    if not found.client_key:
        return Problem(
            Reason.INVALID_KEY_FORMAT,
            f'the client key: key "{source.key}" of Secret "{source.name}" does not hold one:'
            " sk- and letters, digits, - and _, at least 24 characters in all",
        )
    if found.sha256 in around.credential_hashes:
        return Problem(
            Reason.KEY_IS_CREDENTIAL,
            "the client key is a provider's credential, which no client may hold:"
            " the key is not let in",
        )
    return found


def _beside(
    key: ApiKey, fact: ValueFact, around: Surroundings, claims: _Claims
) -> tuple[list[wire.KeyHash], list[Problem]]:
    asked = list(hashes_beside(key, around.beside, around.secrets))
    problems = [item for item in asked if isinstance(item, Problem)]
    wanted = [item for item in asked if isinstance(item, wire.KeyHash)]
    hashes: list[wire.KeyHash] = []
    for item in allowed_beside(wanted, fact.sha256, around.credential_hashes):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        holder = claims.hashes.setdefault(item.sha256, key.meta.name)
        if holder == key.meta.name:
            hashes.append(item)
            continue
        message = f'ApiKey "{holder}", which is older, has a previous key of this one: it stays its'
        problems.append(Problem(Reason.DUPLICATE_KEY, message))
    return hashes, problems


def _last_expiry(hashes: Iterable[wire.KeyHash]) -> Timestamp | None:
    ends_s = [each.not_after_s for each in hashes if each.not_after_s is not None]
    return Timestamp.of_epoch_s(max(ends_s)) if ends_s else None


def _policy(key: ApiKey, around: Surroundings) -> tuple[str | None, list[Problem]]:
    ref = key.spec.routing_policy_ref
    if ref is None:
        return None, []
    id_ = f"{key.meta.namespace}/{ref.name}"
    if ref.name in around.policies:
        return id_, []
    what = "is not accepted" if ref.name in around.unusable_policies else "is not found"
    message = f'RoutingPolicy "{ref.name}" {what}: requests with this key are answered 503'
    return id_, [Problem(Reason.POLICY_NOT_FOUND, message)]


def _signing_problem(key: ApiKey, around: Surroundings) -> Problem | None:
    ref = key.spec.signing.secret_ref if key.spec.signing else None
    if ref is None:
        return None
    source = source_of(key.meta.namespace, ref)
    found = find_value(around.secrets, source, "signing.secretRef")
    return found if isinstance(found, Problem) else None


def _claim_accounts(key: ApiKey, claims: _Claims) -> tuple[tuple[str, ...], list[Problem]]:
    own: list[str] = []
    conflicts: list[Problem] = []
    for account in key.spec.service_accounts:
        holder = claims.accounts.setdefault(account, key.meta.name)
        if holder == key.meta.name:
            own.append(account)
            continue
        message = f'service account "{account}" belongs to ApiKey "{holder}", which is older'
        conflicts.append(Problem(Reason.DUPLICATE_SERVICE_ACCOUNT, message))
    return tuple(own), conflicts


def _record(
    key: ApiKey,
    fact: ValueFact,
    beside: Iterable[wire.KeyHash],
    policy: str | None,
    accounts: tuple[str, ...],
    webhooks: CompiledWebhooks,
) -> wire.Key:
    spec = key.spec
    return wire.Key(
        id=f"{key.meta.namespace}/{key.meta.name}",
        tenant=spec.tenant,
        hashes=(wire.KeyHash(sha256=fact.sha256), *beside),
        enabled=spec.enabled,
        expires_at_s=spec.expires_at.epoch_ms // 1000 if spec.expires_at else None,
        roles=tuple(role.value for role in spec.roles),
        allowed_models=spec.allowed_models,
        policy=policy,
        service_accounts=accounts,
        limits=_limits(spec.limits) if spec.limits else wire.Limits(),
        overflow=_overflow(spec.overflow, webhooks) if spec.overflow else wire.KeyOverflow(),
    )


def _limits(limits: Limits) -> wire.Limits:
    return wire.Limits(
        requests_per_minute=limits.requests_per_minute,
        requests_per_hour=limits.requests_per_hour,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests,
        budget=_budget(limits.budget) if limits.budget else None,
    )


def _budget(budget: Budget) -> wire.Budget:
    return wire.Budget(
        picodollars=budget.usd.micro_usd * _PICO_PER_MICRO, period=budget.period.value
    )


def _overflow(overflow: KeyOverflow, webhooks: CompiledWebhooks) -> wire.KeyOverflow:
    return wire.KeyOverflow(mode=overflow.mode.value, webhooks=webhooks.record)


def _notes(key: ApiKey, around: Surroundings) -> Iterator[str]:
    if pending := pending_note(key):
        yield pending
    if missed := unmatched(key.spec.allowed_models, around.models):
        yield f"allowedModels: no pool serves a model that matches {listed(missed)}"
    yield from webhook_notes(key)
