"""The pools that a namespace may use, and what a reference to one of them means there.

A pool that does not exist and one that is not shared with the namespace look the same from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runestone_contract import config as wire
from runestone_operator.api.providerpool import SharedWith
from runestone_operator.api.resource import ProviderPool
from runestone_operator.api.scalars import PoolRef
from runestone_operator.compiler.pools import CompiledPool
from runestone_operator.compiler.verdicts import Problem, Reason, listed


def is_offered(pool: ProviderPool, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether requests of the namespace may go to the pool."""
    sharing = pool.spec.sharing
    if pool.meta.namespace == namespace or sharing.namespaces is SharedWith.ALL:
        return True
    return sharing.selector is not None and sharing.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Catalogue:
    namespace: str
    pools: Mapping[str, CompiledPool]  # by id: the namespace's own first, then by name
    unusable: frozenset[str]  # names of own pools that cannot be read and have no last good version
    models: frozenset[str]  # that any of them serves

    def resolve(self, ref: PoolRef) -> CompiledPool | Problem:
        if ref.namespace in {None, self.namespace} and ref.name in self.unusable:
            # Never a shared pool of that name instead: requests would go where nobody sent them.
            return Problem(Reason.POOL_NOT_FOUND, f'ProviderPool "{ref}" is not accepted')
        if ref.namespace is not None:
            return self.pools.get(ref) or _not_found(ref)
        own = self.pools.get(f"{self.namespace}/{ref}")
        shared = [id_ for id_ in self.pools if id_.partition("/")[2] == ref]
        if own is not None or not shared:
            return own or _not_found(ref)
        if len(shared) > 1:
            return Problem(
                Reason.AMBIGUOUS_POOL,
                f'ProviderPool "{ref}" is shared by several namespaces, say which: '
                + listed(shared),
            )
        return self.pools[shared[0]]

    def find(self, target: wire.Target) -> Problem | None:
        """What is wrong with a target whose pool is given by id."""
        pool = self.pools.get(target.pool)
        if pool is None:
            return _not_found(target.pool)
        if target.provider is not None and not pool.has_provider(target.provider):
            message = f'ProviderPool "{target.pool}" has no provider "{target.provider}"'
            return Problem(Reason.PROVIDER_NOT_FOUND, message)
        if target.model is None or target.model in pool.models(target.provider):
            return None
        of_it = f', provider "{target.provider}",' if target.provider else ""
        message = f'ProviderPool "{target.pool}"{of_it} serves no model "{target.model}"'
        return Problem(Reason.MODEL_NOT_FOUND, message)

    def everything(self) -> tuple[wire.Target, ...]:
        return tuple(wire.Target(pool=id_) for id_ in self.pools)


def _not_found(ref: str) -> Problem:
    message = f'ProviderPool "{ref}" is not found, or not shared with this namespace'
    return Problem(Reason.POOL_NOT_FOUND, message)


def build_catalogue(
    namespace: str, pools: Iterable[CompiledPool], unusable: frozenset[str]
) -> Catalogue:
    def place(pool: CompiledPool) -> tuple[bool, str, str]:
        owner, _, name = pool.record.id.partition("/")
        return (owner != namespace, name, owner)

    ordered = sorted(pools, key=place)
    models = frozenset[str]().union(*(pool.models() for pool in ordered))
    return Catalogue(namespace, {pool.record.id: pool for pool in ordered}, unusable, models)
