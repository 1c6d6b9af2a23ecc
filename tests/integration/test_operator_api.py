"""The operator's door to the API server, and the resync, on a real one and under its own role."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from runestone_contract.bundle import Bundle, encode
from runestone_contract.config import Config, Key
from runestone_operator.api.load import parse
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.cache import Cache, Change
from runestone_operator.collect.published import Published
from runestone_operator.collect.views import build_view
from runestone_operator.errors import (
    ConflictError,
    NamespaceGoneError,
    NotFoundError,
    RefusedError,
    SettingsError,
    UnreachableError,
)
from runestone_operator.kinds import CONFIG_MAP, KEY, NAMESPACE, POD, POOL, SECRET, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.publish import kube as kube_module
from runestone_operator.publish.client_key import create_client_key, needs_key
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.nats_user import NatsUsers
from runestone_operator.publish.publisher import Publisher
from runestone_operator.reconcile.publishing import Publishing
from runestone_operator.reconcile.rotation import Rotation
from runestone_operator.reconcile.state import World
from runestone_operator.watch import resync as resync_module
from runestone_operator.watch.canary import Canary, Patience, sing
from runestone_operator.watch.resync import Resync
from runestone_operator.watch.streams import SELECTORS
from runestone_testing.bodies import body
from runestone_testing.kube import OPERATOR
from runestone_testing.operators import SYSTEM, Cluster
from runestone_testing.resources import key, pod, pool, secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.kube


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    token = cluster.api.token_for(OPERATOR)
    made = await Kube.connect(str(cluster.api.kubeconfig(token=token)), Metrics())
    yield made
    await made.close()


def config_map(namespace: str, name: str = "runestone-config", **data: str) -> dict[str, object]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


async def test_apply_makes_changes_and_repeats_without_effect(kube: Kube, namespace: str) -> None:
    made = await kube.apply(CONFIG_MAP, config_map(namespace, a="1"))
    same = await kube.apply(CONFIG_MAP, config_map(namespace, a="1"))
    changed = await kube.apply(CONFIG_MAP, config_map(namespace, b="2"))

    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert changed["data"] == {"b": "2"}


async def test_apply_takes_back_what_is_its_own_and_drop_what_is_not(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    await kube.apply(CONFIG_MAP, config_map(namespace, a="1"))
    cluster.patch("ConfigMap", namespace, "runestone-config", {"data": {"a": "x", "b": "y"}})

    applied = await kube.apply(CONFIG_MAP, config_map(namespace, a="1"))
    assert applied["data"] == {"a": "1", "b": "y"}

    dropped = await kube.drop_data(CONFIG_MAP, namespace, "runestone-config", ["b"])
    assert dropped["data"] == {"a": "1"}


async def test_create_never_replaces(kube: Kube, namespace: str) -> None:
    made = await kube.create(SECRET, secret(namespace))
    with pytest.raises(ConflictError):
        await kube.create(SECRET, secret(namespace, api_key="other"))
    assert (await kube.read(SECRET, namespace, "openai"))["data"] == made["data"]


async def test_annotate_and_delete(kube: Kube, cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod(namespace, "a"))
    annotated = await kube.annotate(POD, namespace, "a", {"runestone.dev/config": "5f2c"})
    assert annotated["metadata"]["annotations"]["runestone.dev/config"] == "5f2c"

    await kube.apply(CONFIG_MAP, config_map(namespace))
    await kube.delete(CONFIG_MAP, namespace, "runestone-config")
    with pytest.raises(NotFoundError):
        await kube.delete(CONFIG_MAP, namespace, "runestone-config")


async def test_errors_say_what_was_asked_and_not_what_was_sent(kube: Kube, namespace: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await kube.apply(CONFIG_MAP, config_map(namespace, "someone-elses", a="canary"))
    assert str(refused.value) == (
        f"apply ConfigMap {namespace}/configmaps/someone-elses: Forbidden (403)"
    )

    bad = secret(namespace, "bad") | {"data": {"api-key": "not base64: canary"}}
    with pytest.raises(RefusedError) as invalid:
        await kube.create(SECRET, bad)
    assert (invalid.value.status, invalid.value.reason) == (400, "BadRequest")
    assert "canary" not in f"{invalid.value!r} {invalid.value.__cause__!r}"


async def test_a_namespace_that_ends_or_is_gone_is_told_apart(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    with pytest.raises(NotFoundError):
        await kube.apply(CONFIG_MAP, config_map("never-was"))
    cluster.delete("Namespace", None, namespace)
    with pytest.raises(NamespaceGoneError):
        await kube.apply(CONFIG_MAP, config_map(namespace))


async def test_lists_come_page_by_page_without_content(
    kube: Kube, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "PAGE", 2)
    for number in range(5):
        cluster.apply(secret(namespace, f"secret-{number}", api_key="canary"))

    pages = [page async for page in kube.list_metadata(SECRET, namespace=namespace)]

    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    assert all(
        set(item) <= {"kind", "apiVersion", "metadata"} for page in pages for item in page["items"]
    )
    (selected,) = [
        page
        async for page in kube.list_metadata(
            SECRET, namespace=namespace, selectors=[("fieldSelector", "metadata.name=secret-3")]
        )
    ]
    assert [item["metadata"]["name"] for item in selected["items"]] == ["secret-3"]


async def test_a_kind_is_served_when_its_crd_is_installed(kube: Kube) -> None:
    assert await kube.serves(POOL)
    assert not await kube.serves(Kind("Thing", "things", "runestone.dev", "v1alpha1"))
    with pytest.raises(NotFoundError):
        await kube.serves(Kind("Thing", "things", "nowhere.dev", "v1"))


async def test_no_answer_is_an_error_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    config = json.loads(cluster.api.kubeconfig().read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(json.dumps(config))
    kube = await Kube.connect(str(tmp_path / "config"), Metrics())
    with pytest.raises(UnreachableError) as unreachable:
        await kube.read(NAMESPACE, None, "default")
    assert unreachable.value.status is None
    await kube.close()


async def test_outside_of_a_cluster_a_kubeconfig_is_needed() -> None:
    with pytest.raises(SettingsError, match="KUBECONFIG"):
        await Kube.connect(None, Metrics())


def keys_of(count: int) -> Config:
    """Long enough that some thousands of them need more than one ConfigMap."""
    keys = (Key(id=f"shop/{'k' * 60}-{number}", tenant="t" * 60) for number in range(count))
    return Config(namespace="shop", keys=tuple(keys))


async def test_a_smaller_bundle_leaves_no_shard_behind(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    cache = Cache()
    nats_users = NatsUsers(kube, cache, lambda: None)
    publisher = Publisher(kube, cache, Published(cache), nats_users)
    large, small = encode(keys_of(8000)), encode(keys_of(10))
    assert len(large.shards) > 1

    # Beside the shards the index, and the Secret, which holds the key of jobs.
    assert await publisher.publish(namespace, large, {}) == len(large.shards) + 2
    assert cluster.files(namespace) == text_of(large)
    assert await publisher.publish(namespace, large, {}) == 0

    await publisher.publish(namespace, small, {})
    assert cluster.files(namespace) == text_of(small)


def text_of(bundle: Bundle) -> dict[str, str]:
    return {name: data.decode() for name, data in bundle.files().items()}


async def test_a_key_that_is_there_is_taken_as_it_is(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    """As where another operator was faster, and the watch has not told it yet."""
    made = parse(body(cluster.apply(key(namespace))))
    assert isinstance(made, ApiKey)
    cache = Cache()
    await create_client_key(kube, cache, made, 0)
    before = cluster.secret_values(namespace, "client-api-key")

    later = Cache()
    assert needs_key(made, later)
    await create_client_key(kube, later, made, 0)

    assert cluster.secret_values(namespace, "client-api-key") == before
    assert later.secret(namespace, "client-api-key") == cache.secret(namespace, "client-api-key")
    assert not needs_key(made, later)


async def test_a_namespace_that_ends_in_the_middle_is_let_go(
    kube: Kube, cluster: Cluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(kube, Cache(), Metrics())
    for kind, document in (
        (NAMESPACE, cluster.get("Namespace", None, namespace) or {}),
        (POOL, cluster.apply(pool(namespace))),
    ):
        world.cache.put(build_view(kind, document))
    cluster.delete("Namespace", None, namespace)
    publishing = Publishing(
        world,
        Rotation(world),
        deliver=lambda _: None,
        report=lambda _: None,
        account=lambda _: None,
    )

    await publishing.run(namespace)

    assert namespace not in world.states
    assert caplog.records == []


@pytest.fixture
def changes() -> list[Change]:
    return []


@pytest.fixture
def resync(
    kube: Kube, changes: list[Change], monkeypatch: pytest.MonkeyPatch
) -> tuple[Resync, Cache]:
    monkeypatch.setattr(resync_module, "SETTLE_S", 0.01)
    cache = Cache()
    made = Resync(kube, cache, changes.append, selectors=SELECTORS, metrics=Metrics())
    return made, cache


def known(cache: Cache, cluster: Cluster, kind: Kind, namespace: str) -> None:
    """As if the watch had told of what there is now."""
    for item in cluster.list(kind.name, namespace):
        document = {"apiVersion": kind.api_version, "kind": kind.name} | item
        cache.put(build_view(kind, document))


async def test_resync_finds_what_a_watch_has_missed(
    resync: tuple[Resync, Cache], changes: list[Change], cluster: Cluster, namespace: str
) -> None:
    compare, cache = resync[0].compare, resync[1]
    for name in ("gone", "changed", "same"):
        cluster.apply(key(namespace, name))
    known(cache, cluster, KEY, namespace)
    cluster.delete("ApiKey", namespace, "gone")
    cluster.apply(key(namespace, "changed", tenant="other"))
    cluster.apply(key(namespace, "new"))

    await compare(KEY)

    told = {
        (change.sides[0].name, change.before is not None, change.after is not None)
        for change in changes
        if change.sides[0].namespace == namespace
    }
    assert told == {("gone", True, False), ("changed", True, True), ("new", False, True)}
    assert {view.name for view in cache.resources(KEY, namespace)} == {"changed", "same", "new"}

    changes.clear()
    await compare(KEY)
    assert changes == []


async def test_resync_looks_at_what_the_watch_selects(
    resync: tuple[Resync, Cache], cluster: Cluster, namespace: str
) -> None:
    compare, cache = resync[0].compare, resync[1]
    release = secret(namespace, "release") | {"type": "helm.sh/release.v1"}
    for document in (
        secret(namespace),
        release,
        pod(namespace, "a"),
        pod(namespace, "b", inject="false"),
    ):
        cluster.apply(document)

    for kind in (SECRET, POD):
        await compare(kind)

    assert [view.name for view in cache.secrets(namespace)] == ["openai"]
    assert {place for place in cache.versions(POD) if place[0] == namespace} == {(namespace, "a")}


async def test_resync_takes_a_deletion_back_for_what_is_newer_than_the_list(
    resync: tuple[Resync, Cache], changes: list[Change], cluster: Cluster, namespace: str
) -> None:
    compare, cache = resync[0].compare, resync[1]
    document = cluster.apply(pool(namespace))
    document["metadata"] |= {"name": "newer", "resourceVersion": "999999999"}
    cache.put(build_view(POOL, document))

    await compare(POOL)

    assert cache.resource(POOL, namespace, "newer") is not None


async def test_the_canary_is_sung_under_the_operators_role(kube: Kube, cluster: Cluster) -> None:
    canary = Canary(SYSTEM, Patience(period_s=0.05, silence_s=60, outage_s=60))
    task = asyncio.create_task(sing(canary, kube, Metrics()))
    seen: set[str] = set()
    while len(seen) < 3:
        await asyncio.sleep(0.02)
        found = cluster.get("ConfigMap", SYSTEM, "runestone-operator-canary")
        if found is not None:
            seen.add(found["metadata"]["resourceVersion"])
    task.cancel()
    assert canary.complaint() is None
