"""Which accounts are to be looked at, and what is told of them; with no server and no cluster."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from kubernetes.aio.client import Configuration

from runestone_contract.names import MANAGED_BY, MANAGED_BY_LABEL, NATS_CREDENTIALS, NATS_SECRET
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view
from runestone_operator.kinds import NAMESPACE, SECRET
from runestone_operator.metrics import Metrics
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.link import Link
from runestone_operator.nats.server import Server
from runestone_operator.publish.kube import Kube
from runestone_operator.reconcile.accounts import ALL, Accounts
from runestone_operator.reconcile.state import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world() -> AsyncIterator[World]:
    kube = Kube(Configuration(), Metrics())
    yield World(kube, Cache(), Metrics())
    await kube.close()


@pytest.fixture
def marked() -> list[str]:
    return []


@pytest.fixture
def accounts(world: World, marked: list[str]) -> Accounts:
    made = Accounts(world, Server(Link((), world.trust), AccountLimits()), period_s=600)
    made.mark = marked.append
    return made


def add(
    world: World, name: str, *, uid: str = "uid-1", version: int = 1, ours: bool = True
) -> None:
    """A namespace whose sidecars have credentials."""
    meta: dict[str, object] = {"name": name, "uid": uid, "resourceVersion": str(version)}
    world.cache.put(build_view(NAMESPACE, {"metadata": meta}))
    labels = {MANAGED_BY_LABEL: MANAGED_BY} if ours else {}
    meta = meta | {"name": NATS_SECRET, "namespace": name, "labels": labels}
    value = base64.b64encode(f"{uid} {version}".encode()).decode()
    world.cache.put(build_view(SECRET, {"metadata": meta, "data": {NATS_CREDENTIALS: value}}))


def behind(world: World) -> float | None:
    labels = {"state": "behind"}
    return world.metrics.registry.get_sample_value("runestone_operator_nats_accounts", labels)


async def test_each_that_is_served_is_looked_at(
    world: World, accounts: Accounts, marked: list[str]
) -> None:
    add(world, "shop")
    accounts.note(["shop", "never-was"])
    assert marked == ["shop"]
    assert behind(world) == 1


async def test_one_whose_credentials_are_a_teams_own_is_not(
    world: World, accounts: Accounts, marked: list[str]
) -> None:
    add(world, "shop", ours=False)
    accounts.note(["shop"])
    assert (marked, behind(world)) == ([], 0)


async def test_a_namespace_that_was_made_again_has_one_to_be_removed_too(
    world: World, accounts: Accounts, marked: list[str]
) -> None:
    add(world, "shop")
    accounts.note(["shop"])
    add(world, "shop", uid="uid-2", version=2)
    accounts.note(["shop"])
    assert marked == ["shop", "shop"]
    world.cache.remove(NAMESPACE, "", "shop", 3)
    accounts.note(["shop"])
    assert marked == ["shop", "shop", "shop"]
    assert behind(world) == 0


async def test_a_connection_has_all_looked_at(accounts: Accounts, marked: list[str]) -> None:
    accounts.connected(True)
    assert marked == [ALL]


async def test_who_does_not_write_any_more_tells_of_none(world: World, accounts: Accounts) -> None:
    add(world, "shop")
    accounts.note(["shop"])
    accounts.forget_all()
    assert behind(world) == 0
    accounts.note(["shop"])
    assert behind(world) == 1


async def test_without_a_connection_nothing_is_asked(accounts: Accounts) -> None:
    assert await accounts.run("shop") is None
    assert await accounts.run(ALL) is None
