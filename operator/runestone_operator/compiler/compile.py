"""One namespace's resources -> its configuration, what that needs, and what to say about them.

Total and pure: whatever the resources say, there is a configuration, and every resource that is
not in it as its author meant has a verdict that says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runestone_contract import config as wire
from runestone_contract.bundle import Bundle, BundleTooLargeError, encode, identity_of
from runestone_operator.api.status import ResourceStatus
from runestone_operator.compiler.catalogue import Catalogue
from runestone_operator.compiler.inputs import Inputs, SecretSource
from runestone_operator.compiler.keys import CompiledKey, Surroundings, compile_keys
from runestone_operator.compiler.policyset import PolicySet
from runestone_operator.compiler.poolset import PoolSet
from runestone_operator.compiler.resources import living, name_of, unreadable
from runestone_operator.compiler.verdicts import Kind, ResourceRef, Verdict, refused


@dataclass(frozen=True, slots=True)
class Compiled:
    config: wire.Config
    bundle: Bundle | None  # None: see too_large
    too_large: str | None  # why there is no bundle: nothing is to be published
    credentials: Mapping[str, SecretSource]  # entry of the managed Secret -> where its value is
    verdicts: tuple[Verdict, ...]  # on the namespace's own resources
    statuses: Mapping[ResourceRef, ResourceStatus]  # facts about them, without conditions
    kept: frozenset[ResourceRef]  # of which an earlier version is in force, and not what they say


def compile_namespace(inputs: Inputs) -> Compiled:
    pools = PoolSet.of(inputs)
    policies = PolicySet.of(inputs, pools.catalogue)
    keys = list(compile_keys(living(inputs.keys), _surroundings(inputs, pools, policies)))
    config = wire.Config(
        namespace=inputs.namespace,
        pools=_used(pools.catalogue, policies.records),
        keys=tuple(sorted((key.record for key in keys if key.record), key=identity_of)),
        policies=tuple(sorted(policies.records, key=identity_of)),
    )
    bundle, too_large = _encode(config)
    used = (pools.catalogue.pools[pool.id] for pool in config.pools)
    entries = {entry for pool in used for entry in pool.entries}
    entries |= {entry for key in keys for entry in key.entries}
    said = [*pools.verdicts(), *policies.verdicts(), *_key_verdicts(inputs, keys)]
    facts = dict([*pools.statuses(), *policies.statuses()])
    facts |= {key.resource: key.status() for key in keys}
    return Compiled(
        config=config,
        bundle=bundle,
        too_large=too_large,
        credentials=dict(sorted(entries)),
        verdicts=tuple(sorted(said, key=lambda verdict: (*_place(verdict.resource), verdict.type))),
        statuses={resource: facts[resource] for resource in sorted(facts, key=_place)},
        kept=frozenset([*pools.outdated(), *policies.outdated()]),
    )


def _place(resource: ResourceRef) -> tuple[str, str]:
    return (resource.kind, resource.name)


def _key_verdicts(inputs: Inputs, keys: Iterable[CompiledKey]) -> list[Verdict]:
    said = [verdict for key in keys for verdict in key.verdicts()]
    for name, unparsed in unreadable(inputs, Kind.API_KEY).items():
        resource = ResourceRef(Kind.API_KEY, inputs.namespace, name)
        said += refused(resource, unparsed.errors, "the key is not let in")
    return said


def _encode(config: wire.Config) -> tuple[Bundle | None, str | None]:
    try:
        return encode(config), None
    except BundleTooLargeError as error:
        return None, error.reason


def _used(catalogue: Catalogue, policies: Iterable[wire.Policy]) -> tuple[wire.Pool, ...]:
    """The namespace's own pools, and of the shared ones those that a request can come to."""
    reached = {
        target.pool
        for policy in policies
        for rule in policy.rules
        for target in (*rule.targets, *rule.fallbacks)
    }
    own = f"{catalogue.namespace}/"
    return tuple(
        pool.record
        for id_, pool in sorted(catalogue.pools.items())
        if id_.startswith(own) or id_ in reached
    )


def _surroundings(inputs: Inputs, pools: PoolSet, policies: PolicySet) -> Surroundings:
    offered = pools.catalogue.pools.values()
    return Surroundings(
        secrets=inputs.secrets,
        displaced=inputs.displaced_keys,
        policies=frozenset(name_of(record.id) for record in policies.records),
        unusable_policies=frozenset(policies.broken) - policies.kept.keys(),
        credential_hashes=frozenset[str]().union(*(pool.credential_hashes for pool in offered)),
        models=pools.catalogue.models,
        beside=inputs.beside,
    )
