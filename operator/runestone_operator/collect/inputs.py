"""From what is known of the cluster to what the compiler is given for one namespace."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from runestone_contract.config import KeyHash
from runestone_operator.api.load import Rejected
from runestone_operator.api.providerpool import SharedWith
from runestone_operator.api.resource import ApiKey, ProviderPool, RoutingPolicy
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.history import KeyHistory, retired_hashes
from runestone_operator.collect.published import Lines
from runestone_operator.collect.views import ResourceView, View
from runestone_operator.compiler.inputs import Inputs, SecretFacts, key_secret, wanted_secrets
from runestone_operator.kinds import KEY, POLICY, POOL, RESOURCES

R = TypeVar("R", ProviderPool, ApiKey, RoutingPolicy)


def collect_inputs(
    cache: Cache,
    namespace: str,
    previous: Lines,
    *,
    now_s: float,
    coming: Mapping[str, KeyHash] | None = None,
) -> Inputs:
    """`coming`, by ApiKey, are keys that sidecars are to know before their Secret holds them."""
    keys = _parsed(cache.resources(KEY, namespace), ApiKey)
    pools = _parsed(cache.resources(POOL, namespace), ProviderPool)
    foreign = [pool for pool in shared_pools(cache) if pool.meta.namespace != namespace]
    view = cache.namespace(namespace)
    return Inputs(
        namespace=namespace,
        namespace_labels=view.labels if view else {},
        pools=[*pools, *foreign],
        keys=keys,
        policies=_parsed(cache.resources(POLICY, namespace), RoutingPolicy),
        secrets=_secrets(cache, namespace, foreign),
        unparsed=list(_unparsed(cache, namespace)),
        previous=previous,
        displaced_keys=frozenset(key.meta.name for key in keys if is_displaced(key, cache)),
        beside=dict(_beside(cache, keys, now_s, coming or {})),
    )


def history_of(key: ApiKey, cache: Cache) -> KeyHistory | None:
    """None where the operator has made no key, or not for this ApiKey."""
    if key.spec.secret_ref is not None:
        return None
    there = cache.secret(key.meta.namespace, key_secret(key).name)
    return there.history if there and there.owner_uid == key.meta.uid else None


def _beside(
    cache: Cache, keys: Iterable[ApiKey], now_s: float, coming: Mapping[str, KeyHash]
) -> Iterator[tuple[str, tuple[KeyHash, ...]]]:
    for key in keys:
        history, name = history_of(key, cache), key.meta.name
        hashes = list(retired_hashes(history, now_s)) if history else []
        if name in coming:
            hashes.insert(0, coming[name])
        if hashes:
            yield name, tuple(hashes)


def shared_pools(cache: Cache) -> Iterator[ProviderPool]:
    for view in cache.everywhere(POOL):
        pool = pool_of(view)
        if pool is not None and is_shared(pool):
            yield pool


def is_shared(pool: ProviderPool) -> bool:
    return pool.spec.sharing.namespaces is not SharedWith.SAME


def pool_of(view: View | None) -> ProviderPool | None:
    resource = view.resource if isinstance(view, ResourceView) else None
    return resource if isinstance(resource, ProviderPool) else None


def is_displaced(key: ApiKey, cache: Cache) -> bool:
    """Whether the Secret that would hold the generated key is there, and not the ApiKey's own."""
    if key.spec.secret_ref is not None:
        return False
    there = cache.secret(key.meta.namespace, key_secret(key).name)
    return there is not None and there.owner_uid != key.meta.uid


def _parsed(views: Iterable[ResourceView], kind: type[R]) -> list[R]:
    return [view.resource for view in views if isinstance(view.resource, kind)]


def _unparsed(cache: Cache, namespace: str) -> Iterator[Rejected]:
    for kind in RESOURCES:
        for view in cache.resources(kind, namespace):
            if isinstance(view.resource, Rejected):
                yield view.resource


def _secrets(
    cache: Cache, namespace: str, foreign: Iterable[ProviderPool]
) -> dict[tuple[str, str], SecretFacts]:
    """All of the namespace, and of the others what their shared pools need."""
    secrets = {(namespace, view.name): view.facts for view in cache.secrets(namespace)}
    for place in wanted_secrets(foreign, ()):
        view = cache.secret(*place)
        if view is not None:
            secrets[place] = view.facts
    return secrets
