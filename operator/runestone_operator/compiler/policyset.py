"""All policies of a namespace, of which exactly one is the default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runestone_contract import config as wire
from runestone_operator.api.status import ResourceStatus, RoutingPolicyStatus
from runestone_operator.compiler.catalogue import Catalogue
from runestone_operator.compiler.inputs import Inputs, Unparsed
from runestone_operator.compiler.policies import (
    ALL_POOLS_RULE,
    CompiledPolicy,
    all_pools_policy,
    compile_policy,
    renewed,
)
from runestone_operator.compiler.resources import age, in_force, living, name_of, unreadable
from runestone_operator.compiler.verdicts import (
    KEPT,
    Kind,
    Problem,
    Reason,
    ResourceRef,
    Verdict,
    accepted,
    conflicted,
    references,
    refused,
)


@dataclass(frozen=True, slots=True)
class PolicySet:
    namespace: str
    records: tuple[wire.Policy, ...]
    compiled: Mapping[str, CompiledPolicy]  # by name
    broken: Mapping[str, Unparsed]
    kept: Mapping[str, wire.Policy]  # of the broken ones
    conflicts: Mapping[str, Problem]

    @classmethod
    def of(cls, inputs: Inputs, catalogue: Catalogue) -> "PolicySet":
        namespace = inputs.namespace
        resources = {policy.meta.name: policy for policy in living(inputs.policies)}
        broken = unreadable(inputs, Kind.ROUTING_POLICY)
        last_good = {
            name: good
            for name in (*resources, *broken)
            if (record := in_force(inputs, wire.Policy, f"policy {namespace}/{name}"))
            and (good := renewed(record, catalogue))
        }
        api_keys = frozenset(key.meta.name for key in living(inputs.keys))
        api_keys |= unreadable(inputs, Kind.API_KEY).keys()
        compiled = {
            name: compile_policy(policy, catalogue, api_keys, last_good.get(name))
            for name, policy in resources.items()
        }
        kept = {name: last_good[name] for name in broken if name in last_good}
        asking = [policy.meta for policy in resources.values() if policy.spec.default]
        asking += [meta for name in kept if kept[name].default and (meta := broken[name].meta)]
        defaults = [meta.name for meta in sorted(asking, key=age)]
        records = {name: policy.record for name, policy in compiled.items()} | kept
        return cls(
            namespace=namespace,
            records=_with_default(records, defaults[0] if defaults else None, catalogue),
            compiled=compiled,
            broken=broken,
            kept=kept,
            # One that cannot be read asks no more once it has lost: all known of it is its record.
            conflicts={
                name: _second_default(defaults[0]) for name in defaults[1:] if name in compiled
            },
        )

    def verdicts(self) -> Iterator[Verdict]:
        for name, policy in self.compiled.items():
            yield accepted(self._ref(name), policy.notes)
            yield references(self._ref(name), policy.problems, policy.remark)
        for name, unparsed in self.broken.items():
            remark = KEPT if name in self.kept else "the policy is left out"
            yield from refused(self._ref(name), unparsed.errors, remark)
        for name, problem in self.conflicts.items():
            yield conflicted(self._ref(name), [problem])

    def statuses(self) -> Iterator[tuple[ResourceRef, ResourceStatus]]:
        for record in self.records:
            name = name_of(record.id)
            if name in self.compiled or name in self.kept:
                written = [rule for rule in record.rules if rule.name != ALL_POOLS_RULE]
                yield self._ref(name), RoutingPolicyStatus(rules=len(written))

    def outdated(self) -> Iterator[ResourceRef]:
        """Those of which the version in force is an earlier one."""
        yield from map(self._ref, self.kept)
        for name, policy in self.compiled.items():
            if policy.remark == KEPT:
                yield self._ref(name)

    def _ref(self, name: str) -> ResourceRef:
        return ResourceRef(Kind.ROUTING_POLICY, self.namespace, name)


def _with_default(
    records: Mapping[str, wire.Policy], default: str | None, catalogue: Catalogue
) -> tuple[wire.Policy, ...]:
    """Exactly one of them is the default: the one named, or else one made for that."""
    marked = tuple(
        record.model_copy(update={"default": name == default}) for name, record in records.items()
    )
    return marked if default is not None else (*marked, all_pools_policy(catalogue))


def _second_default(holder: str) -> Problem:
    message = f'RoutingPolicy "{holder}", which is older, is the default: this one is not'
    return Problem(Reason.DUPLICATE_DEFAULT, message)
