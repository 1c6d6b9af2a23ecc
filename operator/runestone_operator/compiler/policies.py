"""RoutingPolicies -> their records, and what is wrong with where they send requests.

A policy of which something had to be left out is replaced by the version in force, as long as that
was whole and still leads somewhere: a typing error must not move traffic.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runestone_contract import config as wire
from runestone_operator.api.pending import pending_note
from runestone_operator.api.resource import RoutingPolicy
from runestone_operator.api.routingpolicy import PolicyOverflow
from runestone_operator.api.routingrule import Fallback, Match, RoutingRule, Target
from runestone_operator.compiler.catalogue import Catalogue
from runestone_operator.compiler.globs import unmatched
from runestone_operator.compiler.verdicts import KEPT, LEFT_OUT, Problem, Reason, listed

# Names that no resource can have, so that these can always be told from what people wrote.
ALL_POOLS_RULE: Final = "(all-pools)"
ALL_POOLS_POLICY: Final = "-"


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    record: wire.Policy
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    remark: str = ""


def compile_policy(
    policy: RoutingPolicy,
    catalogue: Catalogue,
    api_keys: frozenset[str],
    last_good: wire.Policy | None,
) -> CompiledPolicy:
    """`api_keys` are the names of those that exist; whether the policy is default is not said."""
    builder = _Builder(catalogue, api_keys, frozenset(policy.spec.aliases))
    rules = [builder.rule(number, rule, policy) for number, rule in enumerate(policy.spec.rules)]
    if not any(rule.matches_everything for rule in policy.spec.rules):
        rules.append(all_pools_rule(catalogue))
    builder.check_aliases(policy.spec.aliases)
    record = wire.Policy(
        id=f"{policy.meta.namespace}/{policy.meta.name}",
        policy=policy.spec.policy.value,
        rules=tuple(rules),
        aliases=dict(sorted(policy.spec.aliases.items())),
        overflow=_overflow(policy.spec.overflow) if policy.spec.overflow else wire.PolicyOverflow(),
        partial=builder.left_out,
    )
    remark = LEFT_OUT if builder.left_out else ""
    if builder.left_out and last_good is not None:
        record, remark = last_good, KEPT
    notes = (pending_note(policy), *builder.notes)
    return CompiledPolicy(record, tuple(builder.problems), notes, remark)


def _overflow(overflow: PolicyOverflow) -> wire.PolicyOverflow:
    return wire.PolicyOverflow(
        max_queued=overflow.max_queued,
        max_age_ms=overflow.max_age.ms,
        max_attempts=overflow.max_attempts,
        result_ttl_ms=overflow.result_ttl.ms,
    )


def all_pools_rule(catalogue: Catalogue) -> wire.Rule:
    return wire.Rule(name=ALL_POOLS_RULE, targets=catalogue.everything())


def all_pools_policy(catalogue: Catalogue) -> wire.Policy:
    """The policy of a namespace that has declared none as its default."""
    return wire.Policy(
        id=f"{catalogue.namespace}/{ALL_POOLS_POLICY}",
        default=True,
        rules=(all_pools_rule(catalogue),),
    )


def renewed(record: wire.Policy, catalogue: Catalogue) -> wire.Policy | None:
    """A record in force, for use once more; None where it was partial or leads nowhere now."""
    rules = tuple(
        all_pools_rule(catalogue) if rule.name == ALL_POOLS_RULE else rule for rule in record.rules
    )
    targets = [target for rule in rules for target in (*rule.targets, *rule.fallbacks)]
    if record.partial or any(catalogue.find(target) for target in targets):
        return None
    return record.model_copy(update={"rules": rules})


@dataclass(slots=True)
class _Builder:
    catalogue: Catalogue
    api_keys: frozenset[str]
    aliases: frozenset[str]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: bool = False

    def rule(self, number: int, rule: RoutingRule, policy: RoutingPolicy) -> wire.Rule:
        where = f'rules[{number}] "{rule.name}"'
        targets = tuple(self._destinations(where, "targets", rule.targets))
        fallbacks = tuple(self._destinations(where, "fallbacks", rule.fallbacks))
        if not targets:  # what stands in for them is all there is
            targets, fallbacks = fallbacks, ()
        if not any(target.weight for target in targets):
            # Only those without a share are left: they stand in, one after the other.
            targets = tuple(target.model_copy(update={"weight": None}) for target in targets)
        own = policy.spec.policy_of(rule)
        return wire.Rule(
            name=rule.name,
            match=self._match(where, rule.match or Match()),
            targets=targets,
            fallbacks=fallbacks,
            policy=None if own is policy.spec.policy else own.value,
            sticky_by=rule.sticky_by.value if rule.sticky_by else "Request",
            timeout_ms=rule.timeout.ms if rule.timeout else None,
        )

    def _match(self, where: str, match: Match) -> wire.Match:
        names = self.catalogue.models | self.aliases
        if missed := unmatched(match.models or (), names):
            self.notes.append(f"{where}: no pool serves a model that matches {listed(missed)}")
        if unknown := [name for name in match.api_keys or () if name not in self.api_keys]:
            message = f"{where}: match.apiKeys names no ApiKey of this namespace: {listed(unknown)}"
            self.problems.append(Problem(Reason.API_KEY_NOT_FOUND, message))
        return wire.Match(
            models=match.models or (),
            api_keys=match.api_keys or (),
            tenants=match.tenants or (),
            headers=tuple(sorted((match.headers or {}).items())),
            capabilities=tuple(capability.value for capability in match.capabilities or ()),
        )

    def _destinations(
        self, where: str, part: str, written: Sequence[Target | Fallback]
    ) -> Iterator[wire.Target]:
        for number, target in enumerate(written):
            made = self._destination(target)
            if isinstance(made, wire.Target):
                yield made
                continue
            self.left_out = True
            message = f"{where}, {part}[{number}]: {made.message}"
            self.problems.append(Problem(made.reason, message))

    def _destination(self, target: Target | Fallback) -> wire.Target | Problem:
        pool = self.catalogue.resolve(target.pool)
        if isinstance(pool, Problem):
            return pool
        made = wire.Target(pool=pool.record.id, model=target.model)
        if isinstance(target, Target):
            made = made.model_copy(update={"provider": target.provider, "weight": target.weight})
        return self.catalogue.find(made) or made

    def check_aliases(self, aliases: Mapping[str, str]) -> None:
        for alias, model in sorted(aliases.items()):
            if model not in self.catalogue.models:
                message = f'alias "{alias}": no pool serves a model "{model}"'
                self.problems.append(Problem(Reason.UNKNOWN_MODEL, message))
            if alias in self.catalogue.models:
                self.notes.append(f'alias "{alias}" hides the model of that name')
