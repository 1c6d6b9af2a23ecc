"""The accounts that the operator keeps in a real nats-server, one for each namespace."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import nats.errors
import pytest

from runestone_contract.names import CREDENTIALS_SECRET, NATS_CREDENTIALS, NATS_SECRET
from runestone_operator.nats.creds import read_user
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_testing.nats_accounts import Guest, TrustingNats, sidecar_guest
from runestone_testing.operators import (
    KINDS,
    SYSTEM,
    Cluster,
    OperatorProcess,
    eventually,
    fill,
    settled,
)
from runestone_testing.resources import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kube

SEED, AUTH = "runestone-nats-operator", "runestone-nats-auth"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustingNats]:
    made = TrustingNats(tmp_path_factory.mktemp("nats"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def operator_env(server: TrustingNats) -> dict[str, str]:
    return {
        "LOG_LEVEL": "debug",
        "RUNESTONE_NATS_ACCOUNTS_URL": server.url,
        "RUNESTONE_NATS_RESOLVER_DIR": str(server.accounts),
        "RUNESTONE_RESYNC_SECONDS": "5",
    }


@pytest.fixture
def served(cluster: Cluster, server: TrustingNats, operator: OperatorProcess) -> OperatorProcess:
    """The operator beside a server that starts as its pod does: once there is a Secret to mount."""
    config = eventually("auth.conf", lambda: cluster.secret_values(SYSTEM, AUTH).get("auth.conf"))
    if not server.is_running:
        server.auth.write_bytes(config)
        server.start()
    eventually("connected", lambda: operator.metric("runestone_operator_nats_up") == 1)
    return operator


def trust_of(cluster: Cluster) -> Trust:
    (seed,) = cluster.secret_values(SYSTEM, SEED).values()
    return Trust(KeyPair.parse(Role.OPERATOR, seed.decode()))


def account_of(cluster: Cluster, namespace: str) -> str:
    found = cluster.get("Namespace", None, namespace)
    assert found is not None
    return trust_of(cluster).account(Home(namespace, found["metadata"]["uid"])).public


def published(cluster: Cluster, namespace: str) -> bytes | None:
    """What sidecars mount."""
    return cluster.secret_values(namespace, CREDENTIALS_SECRET).get(NATS_CREDENTIALS)


def credentials_of(cluster: Cluster, namespace: str) -> bytes:
    fill(cluster, namespace)
    settled(cluster, namespace)
    found = published(cluster, namespace)
    assert found is not None
    return found


def other_credentials(cluster: Cluster, namespace: str, old: bytes) -> bytes:
    return eventually(
        "other credentials",
        lambda: new if (new := published(cluster, namespace)) not in (None, old) else None,
    )


async def is_let_in(server: TrustingNats, credentials: bytes) -> bool:
    try:
        async with sidecar_guest(server.url, credentials) as client:
            await client.rtt()
            return True
    except (nats.errors.Error, OSError):
        return False


async def until(what: bool, server: TrustingNats, credentials: bytes) -> None:
    async with asyncio.timeout(60):
        while await is_let_in(server, credentials) is not what:
            await asyncio.sleep(0.05)


def queue_of(namespace: str) -> str:
    return f"runestone-jobs-v1-{namespace}"


async def store_job(client: Guest, namespace: str) -> None:
    subject = f"runestone.{namespace}.jobs.work.someone"
    config = {"name": queue_of(namespace), "subjects": [subject], "storage": "file"}
    made = await client.ask(f"$JS.API.STREAM.CREATE.{queue_of(namespace)}", config)
    assert "error" not in made, made
    await client.request(subject, b"job", timeout=5)


async def jobs(server: TrustingNats, credentials: bytes, namespace: str) -> int | None:
    async with sidecar_guest(server.url, credentials) as client:
        info = await client.ask(f"$JS.API.STREAM.INFO.{queue_of(namespace)}")
        return info["state"]["messages"] if "state" in info else None


async def test_each_namespace_has_an_account_of_its_own(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    other = cluster.create_namespace(f"{namespace}-2")
    ours, theirs = credentials_of(cluster, namespace), credentials_of(cluster, other)
    await until(True, server, ours)
    await until(True, server, theirs)
    async with sidecar_guest(server.url, ours) as one, sidecar_guest(server.url, theirs) as two:
        await store_job(one, namespace)
        await store_job(two, other)
    assert account_of(cluster, namespace) != account_of(cluster, other)
    stored = {folder.name for folder in (server.store / "jetstream").iterdir()}
    assert {account_of(cluster, each) for each in (namespace, other)} <= stored
    eventually(
        "it says so",
        lambda: served.metric('runestone_operator_nats_accounts{state="current"}') >= 2,
    )


async def test_no_seed_is_told(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    credentials = credentials_of(cluster, namespace)
    await until(True, server, credentials)
    trust, user = trust_of(cluster), read_user(credentials)
    assert user is not None
    keys = (trust.operator, trust.system, trust.system_user(), user)

    told = [served.log.read_text(), served.read("/metrics") or "", server.auth.read_text()]
    for kind in KINDS:
        for item in cluster.list(kind):
            # Secrets too: beside the operator's own none holds more than its user's seed.
            visible: dict[str, Any] = dict(item)
            if kind == "Secret" and item["metadata"]["namespace"] in (SYSTEM, namespace):
                visible.pop("data", None)
            told.append(json.dumps(visible))
    text = "\n".join(told)
    assert namespace in text
    assert [key.role.name for key in keys if key.seed in text] == []
    assert list(cluster.secret_values(SYSTEM, SEED).values()) == [trust.operator.seed.encode()]


async def test_deleted_credentials_are_made_anew_and_the_old_are_out(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    old = credentials_of(cluster, namespace)
    await until(True, server, old)
    async with sidecar_guest(server.url, old) as client:
        await store_job(client, namespace)

        cluster.delete("Secret", namespace, NATS_SECRET)

        new = other_credentials(cluster, namespace, old)
        async with asyncio.timeout(60):
            while client.is_connected:  # the server has closed it
                await asyncio.sleep(0.05)
    await until(True, server, new)
    assert not await is_let_in(server, old)
    assert await jobs(server, new, namespace) == 1
    settled(cluster, namespace)
    cluster.quiet_versions(namespace)


async def test_credentials_that_another_hand_has_changed_are_replaced(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    other = cluster.create_namespace(f"{namespace}-2")
    old, theirs = credentials_of(cluster, namespace), credentials_of(cluster, other)

    forged = secret(namespace, NATS_SECRET, **{NATS_CREDENTIALS: theirs.decode()})
    cluster.patch("Secret", namespace, NATS_SECRET, {"data": forged["data"]})

    async with asyncio.timeout(60):
        while published(cluster, namespace) in (old, theirs):
            await asyncio.sleep(0.05)
    new = published(cluster, namespace)
    assert new is not None
    await until(True, server, new)
    assert not await is_let_in(server, old)
    assert await is_let_in(server, theirs)


async def test_credentials_that_a_team_has_brought_are_used_as_they_are(
    cluster: Cluster, namespace: str, served: OperatorProcess
) -> None:
    brought = "-----BEGIN NATS USER JWT-----\nof.another.nats\n------END NATS USER JWT------"
    document = secret(namespace, NATS_SECRET, **{NATS_CREDENTIALS: f"{brought}\n"})
    cluster.apply(document)

    assert credentials_of(cluster, namespace) == brought.encode()
    cluster.quiet_versions(namespace)
    found = cluster.get("Secret", namespace, NATS_SECRET) or {}
    assert found["data"] == document["data"]


async def test_with_the_last_resource_the_account_goes_and_all_that_it_stored(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    old = credentials_of(cluster, namespace)
    await until(True, server, old)
    async with sidecar_guest(server.url, old) as client:
        await store_job(client, namespace)
    folder = server.store / "jetstream" / account_of(cluster, namespace)
    assert folder.is_dir()

    for kind, name in (
        ("ApiKey", "client"),
        ("Secret", "client-api-key"),  # nobody collects it here
        ("ProviderPool", "pool"),
        ("RoutingPolicy", "policy"),
    ):
        cluster.delete(kind, namespace, name)

    eventually("no Secret", lambda: cluster.get("Secret", namespace, NATS_SECRET) is None)
    await until(False, server, old)
    eventually("nothing is stored", lambda: not folder.exists())

    new = credentials_of(cluster, namespace)
    await until(True, server, new)
    assert await jobs(server, new, namespace) is None
    assert not await is_let_in(server, old)


async def test_a_namespace_of_the_same_name_sees_nothing_of_the_one_that_was(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    old = credentials_of(cluster, namespace)
    await until(True, server, old)
    async with sidecar_guest(server.url, old) as client:
        await store_job(client, namespace)
    account = account_of(cluster, namespace)

    end_namespace(cluster, namespace)

    await until(False, server, old)
    eventually("its account is gone", lambda: not (server.accounts / f"{account}.jwt").exists())
    eventually("and its jobs", lambda: not (server.store / "jetstream" / account).exists())
    cluster.create_namespace(namespace)
    new = credentials_of(cluster, namespace)
    await until(True, server, new)
    assert await jobs(server, new, namespace) is None
    assert not await is_let_in(server, old)


def end_namespace(cluster: Cluster, namespace: str) -> None:
    """As the controller does that is not there: what is in it goes, and then the namespace."""
    cluster.delete("Namespace", None, namespace)
    for kind in ("ProviderPool", "ApiKey", "RoutingPolicy", "ConfigMap", "Secret"):
        for item in cluster.list(kind, namespace):
            cluster.delete(kind, namespace, item["metadata"]["name"])
    path = cluster.path("Namespace", None, namespace)
    body = cluster.get("Namespace", None, namespace) or {}
    cluster.client.put(
        f"{path}/finalize",
        json={"apiVersion": "v1", "kind": "Namespace"} | body | {"spec": {"finalizers": []}},
    ).raise_for_status()
    eventually("the namespace is gone", lambda: cluster.get("Namespace", None, namespace) is None)


async def test_a_server_that_has_lost_its_store_is_told_again(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    credentials = credentials_of(cluster, namespace)
    await until(True, server, credentials)

    server.stop()
    server.wipe()
    shutil.rmtree(server.accounts)
    server.start()

    await until(True, server, credentials)
    async with sidecar_guest(server.url, credentials) as client:
        await store_job(client, namespace)
    assert published(cluster, namespace) == credentials


async def test_without_its_server_all_else_goes_on(
    cluster: Cluster, namespace: str, server: TrustingNats, served: OperatorProcess
) -> None:
    server.stop()
    eventually("away", lambda: served.metric("runestone_operator_nats_up") == 0)

    credentials = credentials_of(cluster, namespace)
    behind = 'runestone_operator_nats_accounts{state="behind"}'
    eventually("it says so", lambda: served.metric(behind) >= 1)

    server.start()
    await until(True, server, credentials)
    eventually("all are kept", lambda: served.metric(behind) == 0)
