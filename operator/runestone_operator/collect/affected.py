"""Which namespaces a change concerns. Too many costs a compile that changes nothing; too few, a
namespace that stays behind."""

from dataclasses import dataclass, replace

from runestone_operator.collect.cache import Cache, Change
from runestone_operator.collect.inputs import is_shared, pool_of, shared_pools
from runestone_operator.collect.views import ResourceView, View
from runestone_operator.compiler.inputs import wanted_secrets
from runestone_operator.kinds import NAMESPACE, POD, POOL, SECRET


@dataclass(frozen=True, slots=True)
class Affected:
    compile: frozenset[str] = frozenset()
    deliver: frozenset[str] = frozenset()
    report: frozenset[str] = frozenset()


def affected(change: Change, cache: Cache) -> Affected:
    view = change.sides[0]
    if view.kind is POD and cache.has_resources(view.namespace):
        return Affected(deliver=frozenset({view.namespace}))
    if _is_status_alone(change):
        return Affected(report=frozenset({view.namespace}))
    return Affected(compile=frozenset(_to_compile(view, change, cache)))


def _is_status_alone(change: Change) -> bool:
    """Mostly our own doing, told by the watch before the API server had answered us."""
    before, after = change.before, change.after
    if not isinstance(before, ResourceView) or not isinstance(after, ResourceView):
        return False
    return replace(after, status=before.status) == before


def _to_compile(view: View, change: Change, cache: Cache) -> set[str]:
    if view.kind is NAMESPACE:
        return {view.name}
    concerned = {view.namespace}
    if view.kind is POOL and any(_is_shared(side) for side in change.sides):
        concerned |= cache.resource_namespaces()
    if view.kind is SECRET:
        if not cache.has_resources(view.namespace):
            return set()
        if (view.namespace, view.name) in wanted_secrets(shared_pools(cache), ()):
            concerned |= cache.resource_namespaces()
    return concerned


def _is_shared(view: View) -> bool:
    pool = pool_of(view)
    return pool is not None and is_shared(pool)
