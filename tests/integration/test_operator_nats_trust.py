"""The one seed that all NATS keys follow from: made once, whatever happens beside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_contract.names import CREDENTIALS_SECRET, NATS_CREDENTIALS, NATS_SECRET
from runestone_operator.collect.cache import Cache
from runestone_operator.errors import BadSeedError
from runestone_operator.kinds import SECRET
from runestone_operator.metrics import Metrics
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.server_config import auth_config
from runestone_operator.nats.trust import Home, Trust
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.nats_trust import Trustee
from runestone_testing.kube import OPERATOR
from runestone_testing.operators import SYSTEM, Cluster, OperatorProcess, eventually, fill, settled
from runestone_testing.resources import secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kube

SEED, AUTH = "runestone-nats-operator", "runestone-nats-auth"
FOLDER = "/data/jwt"
NOBODY = "nats://127.0.0.1:9"  # the discard port: no server is needed for what is tried here


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[], OperatorProcess]]:
    running: list[OperatorProcess] = []
    forget(cluster)

    def start_one() -> OperatorProcess:
        env = {"RUNESTONE_NATS_ACCOUNTS_URL": NOBODY}
        running.append(OperatorProcess(cluster, tmp_path / f"log-{len(running)}", env=env))
        return running[-1]

    yield start_one
    for process in running:
        process.stop()


def seed_of(cluster: Cluster) -> bytes | None:
    return cluster.secret_values(SYSTEM, SEED).get("operator.seed")


def auth_of(cluster: Cluster) -> bytes | None:
    return cluster.secret_values(SYSTEM, AUTH).get("auth.conf")


def trust_of(cluster: Cluster) -> Trust:
    seed = eventually("a seed", lambda: seed_of(cluster))
    return Trust(KeyPair.parse(Role.OPERATOR, seed.decode()))


def fits(cluster: Cluster, trust: Trust) -> None:
    """The server is told to trust it, and not another."""
    expected = auth_config(trust, FOLDER).encode()
    eventually("auth.conf of this seed", lambda: auth_of(cluster) == expected)


def is_issued(cluster: Cluster, namespace: str, trust: Trust) -> bool:
    """What the namespace's sidecars have comes from it."""
    found = cluster.get("Namespace", None, namespace) or {}
    home = Home(namespace, found["metadata"]["uid"])
    issued = cluster.secret_values(namespace, NATS_SECRET).get(NATS_CREDENTIALS, b"")
    mounted = cluster.secret_values(namespace, CREDENTIALS_SECRET).get(NATS_CREDENTIALS)
    return trust.user_of(home, issued) is not None and mounted == issued


def forget(cluster: Cluster) -> None:
    for name in (SEED, AUTH):
        cluster.delete("Secret", SYSTEM, name)


def test_two_operators_that_race_have_one_trust(
    cluster: Cluster, start: Callable[[], OperatorProcess]
) -> None:
    spaces = [cluster.create_namespace(f"raced-{number}") for number in range(2)]
    for namespace in spaces[:1]:
        fill(cluster, namespace)
    one, two = start(), start()
    one.wait_until_ready()
    two.wait_until_ready()
    for namespace in spaces[1:]:
        fill(cluster, namespace)
    trust = trust_of(cluster)
    fits(cluster, trust)
    for namespace in spaces:
        settled(cluster, namespace)
        cluster.quiet_versions(namespace)
        assert is_issued(cluster, namespace, trust)
    assert trust_of(cluster) == trust


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    """As the operator, under its role."""
    token = cluster.api.token_for(OPERATOR)
    made = await Kube.connect(str(cluster.api.kubeconfig(token=token)), Metrics())
    yield made
    await made.close()


def trustee(kube: Kube) -> Trustee:
    """Another process's: it knows nothing yet."""
    return Trustee(kube, Cache(), namespace=SYSTEM, folder=FOLDER)


def is_told(cluster: Cluster, trust: Trust | None) -> bool:
    return trust is not None and auth_of(cluster) == auth_config(trust, FOLDER).encode()


async def test_those_that_come_at_the_same_moment_make_one_seed(
    cluster: Cluster, kube: Kube
) -> None:
    for _ in range(5):
        forget(cluster)
        several = [trustee(kube) for _ in range(4)]
        await asyncio.gather(*(each.ensure() for each in several))
        assert len({each.trust for each in several}) == 1
        assert is_told(cluster, several[0].trust)


async def test_one_that_died_between_the_two_secrets_is_gone_on_from(
    cluster: Cluster, kube: Kube
) -> None:
    forget(cluster)
    trust = Trust(KeyPair.generate(Role.OPERATOR))
    cluster.apply(secret(SYSTEM, SEED, **{"operator.seed": trust.operator.seed}))
    made = trustee(kube)
    await made.ensure()
    assert made.trust == trust
    assert is_told(cluster, trust)


@pytest.mark.parametrize("name", [SEED, AUTH])
async def test_what_is_deleted_comes_back_as_it_was(
    cluster: Cluster, kube: Kube, name: str
) -> None:
    cache = Cache()
    made = Trustee(kube, cache, namespace=SYSTEM, folder=FOLDER)
    await made.ensure()
    trust = made.trust
    assert made.is_in_order

    cluster.delete("Secret", SYSTEM, name)
    cache.remove(SECRET, SYSTEM, name, 1 << 62)  # as the watch tells it
    assert not made.is_in_order
    await made.ensure()

    assert made.trust == trust
    assert is_told(cluster, trust)
    (seed,) = cluster.secret_values(SYSTEM, SEED).values()
    assert trust is not None
    assert seed.decode() == trust.operator.seed


async def test_what_another_hand_has_written_for_the_server_is_put_right(
    cluster: Cluster, kube: Kube
) -> None:
    await trustee(kube).ensure()
    cluster.patch("Secret", SYSTEM, AUTH, {"data": secret("", "", **{"auth.conf": "x"})["data"]})
    later = trustee(kube)
    await later.ensure()
    assert is_told(cluster, later.trust)


async def test_a_seed_that_is_none_is_never_replaced(cluster: Cluster, kube: Kube) -> None:
    cluster.apply(secret(SYSTEM, SEED, **{"operator.seed": "SO-mistyped-canary"}))
    made = trustee(kube)
    with pytest.raises(BadSeedError) as refused:
        await made.ensure()
    assert "canary" not in str(refused.value)
    assert made.trust is None
    assert cluster.secret_values(SYSTEM, SEED) == {"operator.seed": b"SO-mistyped-canary"}


def test_without_a_seed_all_else_goes_on_and_with_another_all_is_issued_anew(
    cluster: Cluster, namespace: str, start: Callable[[], OperatorProcess]
) -> None:
    broken = secret(SYSTEM, SEED, **{"operator.seed": "SO-mistyped-canary"})
    cluster.apply(broken)
    operator = start().wait_until_ready()
    fill(cluster, namespace)
    settled(cluster, namespace)
    assert cluster.secret_values(namespace, NATS_SECRET) == {}

    def told() -> bool:
        return any("not the seed of a NATS operator" in str(line) for line in operator.lines())

    eventually("it is told", told)
    assert seed_of(cluster) == b"SO-mistyped-canary"
    assert "canary" not in operator.log.read_text()

    trust = Trust(KeyPair.generate(Role.OPERATOR))
    cluster.apply(secret(SYSTEM, SEED, **{"operator.seed": trust.operator.seed}))

    fits(cluster, trust)
    eventually("issued", lambda: is_issued(cluster, namespace, trust))

    other = Trust(KeyPair.generate(Role.OPERATOR))
    cluster.apply(secret(SYSTEM, SEED, **{"operator.seed": other.operator.seed}))

    fits(cluster, other)
    eventually("issued by the other", lambda: is_issued(cluster, namespace, other))
