"""All pools that a namespace may use: compiled, kept from the version in force, or left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runestone_contract import config as wire
from runestone_operator.api.pending import pending_note
from runestone_operator.api.resource import ProviderPool
from runestone_operator.api.status import ProviderPoolStatus, ResourceStatus
from runestone_operator.compiler.catalogue import Catalogue, build_catalogue, is_offered
from runestone_operator.compiler.inputs import Inputs, Unparsed
from runestone_operator.compiler.pools import CompiledPool, compile_pool, keep_pool
from runestone_operator.compiler.resources import in_force, living, unreadable
from runestone_operator.compiler.verdicts import (
    KEPT,
    Kind,
    ResourceRef,
    Verdict,
    accepted,
    listed,
    references,
    refused,
)


@dataclass(frozen=True, slots=True)
class PoolSet:
    catalogue: Catalogue
    resources: Mapping[str, ProviderPool]  # the namespace's own, by name
    broken: Mapping[str, Unparsed]
    kept: Mapping[str, CompiledPool]  # of the broken ones

    @classmethod
    def of(cls, inputs: Inputs) -> "PoolSet":
        namespace, labels = inputs.namespace, inputs.namespace_labels
        offered = [pool for pool in inputs.pools if is_offered(pool, namespace, labels)]
        there = living(offered)
        broken = unreadable(inputs, Kind.PROVIDER_POOL)
        kept = {
            name: keep_pool(record, namespace, inputs.secrets)
            for name in broken
            if (record := in_force(inputs, wire.Pool, f"pool {namespace}/{name}"))
        }
        compiled = [compile_pool(pool, inputs.secrets) for pool in there]
        unusable = frozenset(broken) - kept.keys()
        return cls(
            catalogue=build_catalogue(namespace, [*compiled, *kept.values()], unusable),
            resources={p.meta.name: p for p in there if p.meta.namespace == namespace},
            broken=broken,
            kept=kept,
        )

    def verdicts(self) -> Iterator[Verdict]:
        for name, own in self.resources.items():
            pool, resource = self._own(name)
            unpriced = f"no price known for: {listed(pool.unpriced)}" if pool.unpriced else ""
            yield accepted(resource, [pending_note(own), unpriced])
            yield references(resource, pool.problems)
        for name, unparsed in self.broken.items():
            remark = KEPT if name in self.kept else "the pool is left out"
            yield from refused(self._ref(name), unparsed.errors, remark)

    def statuses(self) -> Iterator[tuple[ResourceRef, ResourceStatus]]:
        for name in (*self.resources, *self.kept):
            pool, resource = self._own(name)
            ready = [provider for provider in pool.record.providers if not provider.unavailable]
            yield (
                resource,
                ProviderPoolStatus(
                    providers=len(pool.record.providers),
                    ready_providers=len(ready),
                    models=len(pool.models()),
                ),
            )

    def outdated(self) -> Iterator[ResourceRef]:
        """Those of which the version in force is an earlier one."""
        yield from map(self._ref, self.kept)

    def _own(self, name: str) -> tuple[CompiledPool, ResourceRef]:
        return self.catalogue.pools[f"{self.catalogue.namespace}/{name}"], self._ref(name)

    def _ref(self, name: str) -> ResourceRef:
        return ResourceRef(Kind.PROVIDER_POOL, self.catalogue.namespace, name)
