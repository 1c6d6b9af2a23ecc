from __future__ import annotations

from typing import Any

import pytest

from runestone_operator.collect.affected import Affected, affected
from runestone_operator.collect.cache import Cache
from runestone_testing.bodies import config_map, namespace, view
from runestone_testing.resources import key, pod, policy, pool, secret

SHARED: dict[str, Any] = {"sharing": {"namespaces": "All"}}


@pytest.fixture
def cache() -> Cache:
    """shop shares a pool that uses Secret openai; bank and shop have resources; idle has none."""
    cache = Cache()
    for document in (
        namespace("shop"),
        namespace("bank"),
        namespace("idle"),
        pool("shop", "shared", **SHARED),
        key("bank"),
    ):
        cache.put(view(document))
    return cache


@pytest.mark.parametrize(
    ("document", "compiled", "delivered"),
    [
        pytest.param(key("bank", "new"), {"bank"}, set(), id="key"),
        pytest.param(policy("bank"), {"bank"}, set(), id="policy"),
        pytest.param(pool("bank"), {"bank"}, set(), id="pool of its own"),
        pytest.param(pool("shop", "b", **SHARED), {"bank", "shop"}, set(), id="shared pool"),
        pytest.param(pool("shop", "shared"), {"bank", "shop"}, set(), id="no longer shared"),
        pytest.param(secret("bank"), {"bank"}, set(), id="secret"),
        pytest.param(secret("shop"), {"bank", "shop"}, set(), id="secret of a shared pool"),
        pytest.param(secret("shop", "other"), {"shop"}, set(), id="other secret of the sharer"),
        pytest.param(secret("idle"), set(), set(), id="secret of nobody"),
        pytest.param(namespace("bank", team="a"), {"bank"}, set(), id="labels"),
        pytest.param(config_map("bank", "runestone-config"), {"bank"}, set(), id="our own"),
        pytest.param(pod("bank", "a"), set(), {"bank"}, id="pod"),
        pytest.param(pod("idle", "a"), {"idle"}, set(), id="pod where nothing is left"),
    ],
)
def test_a_change_concerns_these(
    cache: Cache, document: dict[str, Any], compiled: set[str], delivered: set[str]
) -> None:
    change = cache.put(view(document, version=5))
    assert change is not None
    assert affected(change, cache) == Affected(frozenset(compiled), frozenset(delivered))


def test_a_new_status_alone_is_only_to_be_reported_on(cache: Cache) -> None:
    document = key("bank")
    change = cache.put(view(document | {"status": {"keyPrefix": "sk-rs-0000"}}, version=5))
    assert change is not None
    assert affected(change, cache) == Affected(report=frozenset({"bank"}))

    both = view(key("bank", enabled=False) | {"status": {}}, version=6)
    change = cache.put(both)
    assert change is not None
    assert affected(change, cache) == Affected(compile=frozenset({"bank"}))


def test_a_deleted_shared_pool_concerns_those_who_used_it(cache: Cache) -> None:
    kind = next(kind for kind in cache.counts() if kind.name == "ProviderPool")
    change = cache.remove(kind, "shop", "shared", 9)
    assert change is not None
    assert affected(change, cache).compile == {"shop", "bank"}
