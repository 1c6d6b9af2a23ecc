from __future__ import annotations

import pytest

from runestone_operator.collect import cache as cache_module
from runestone_operator.collect.cache import Cache, Change
from runestone_operator.kinds import CONFIG_MAP, KEY, POD
from runestone_testing.bodies import config_map, namespace, view
from runestone_testing.resources import key, pod, secret


def test_only_what_matters_is_a_change() -> None:
    cache = Cache()
    first = view(key("shop"), version=1)
    assert cache.put(first) == Change(None, first)

    noted = key("shop") | {"status": {}}
    assert cache.put(view(noted, version=2)) is None

    other = view(key("shop", tenant="other"), version=3, generation=2)
    assert cache.put(other) == Change(first, other)
    assert cache.resources(KEY, "shop") == [other]


def test_the_newest_version_stays_whoever_told_of_it() -> None:
    cache = Cache()
    newer = view(config_map("shop", "a", file="new"), version=7)
    cache.put(newer)

    assert cache.put(view(config_map("shop", "a", file="old"), version=5)) is None
    assert cache.put(view(config_map("shop", "a", file="same age"), version=7)) is None
    assert cache.config_map("shop", "a") == newer


def test_a_late_answer_does_not_bring_back_what_is_deleted() -> None:
    cache = Cache()
    gone = view(key("shop"), version=3)
    cache.put(gone)

    assert cache.remove(KEY, "shop", "client", 5) == Change(gone, None)
    assert cache.put(view(key("shop"), version=4)) is None
    assert not cache.has_resources("shop")

    again = view(key("shop"), version=6, uid="another")
    assert cache.put(again) == Change(None, again)


def test_what_was_made_after_a_deletion_is_not_deleted_by_it() -> None:
    cache = Cache()
    cache.put(view(key("shop"), version=9))

    assert cache.remove(KEY, "shop", "client", 5) is None
    assert cache.has_resources("shop")


def test_deletions_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "REMEMBERED_DELETIONS", 3)
    cache = Cache()
    for number in range(5):
        cache.remove(CONFIG_MAP, "shop", f"name-{number}", 10)

    assert cache.put(view(config_map("shop", "name-0"), version=1)) is not None
    assert cache.put(view(config_map("shop", "name-4"), version=1)) is None


def test_things_are_found_by_kind_and_place() -> None:
    cache = Cache()
    for document in (key("shop"), key("bank"), secret("shop"), namespace("shop", team="a")):
        cache.put(view(document))

    assert cache.resource_namespaces() == {"shop", "bank"}
    assert {found.namespace for found in cache.everywhere(KEY)} == {"shop", "bank"}
    assert cache.resource(KEY, "shop", "other") is None
    shop, openai = cache.namespace("shop"), cache.secret("shop", "openai")
    assert shop is not None and shop.labels == {"team": "a"}
    assert openai is not None and openai.facts["api-key"].size > 0
    assert cache.versions(KEY) == {("shop", "client"): 1, ("bank", "client"): 1}
    assert cache.counts()[KEY] == 2


@pytest.mark.parametrize(
    ("status", "meta", "counts"),
    [
        pytest.param({"phase": "Running", "podIP": "10.0.0.1"}, {}, True, id="running"),
        pytest.param({"phase": "Running"}, {}, False, id="no address"),
        pytest.param({"phase": "Pending", "podIP": "10.0.0.1"}, {}, False, id="pending"),
        pytest.param({"phase": "Succeeded", "podIP": "10.0.0.1"}, {}, False, id="over"),
        pytest.param(
            {"phase": "Running", "podIP": "10.0.0.1"},
            {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            False,
            id="ending",
        ),
    ],
)
def test_pods_that_can_be_asked(
    status: dict[str, str], meta: dict[str, str], *, counts: bool
) -> None:
    cache = Cache()
    document = pod("shop", "a") | {"status": status}
    document["metadata"] |= meta
    cache.put(view(document))

    assert bool(cache.running_pods("shop")) is counts
    assert cache.versions(POD) == {("shop", "a"): 1}
