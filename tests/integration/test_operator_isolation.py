"""P16 on a real API server: what belongs to another namespace is given by a grant alone, taken back
with it, and otherwise told like what does not exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from runestone_testing.operators import eventually
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from runestone_testing.operators import Cluster

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("operator")]

TREASURE = "sk-treasure-0123456789abcdef"


def conditions(cluster: Cluster, kind: str, namespace: str, name: str) -> str:
    """All that is said of it, without times, and with the name of what it asks for left out."""

    def complete() -> dict[str, dict[str, str]] | None:
        found = cluster.conditions(kind, namespace, name)
        return found if {"Accepted", "ResolvedRefs", "Programmed"} <= found.keys() else None

    found = eventually("it is told", complete)
    said = [
        (item["type"], item["status"], item["reason"], item["message"])
        for item in found.values()
        if item["type"] != "Programmed"  # which names a digest
    ]
    return json.dumps(sorted(said)).replace("hidden", "X").replace("absent", "X")


@pytest.fixture
def owner(cluster: Cluster, namespace: str) -> str:
    name = cluster.create_namespace(f"{namespace[:40]}-owner")
    for document in (
        secret(name, "hidden", api_key=TREASURE),
        secret(name, "hidden-api-key", api_key=TREASURE),
        pool(name, "hidden", secret="hidden"),
        policy(name, "hidden", to="hidden"),
        key(name, "hidden-key"),
    ):
        cluster.apply(document)
    return name


def test_G13_what_is_anothers_is_told_like_what_is_not_there(
    cluster: Cluster, namespace: str, owner: str
) -> None:
    for what in ("hidden", "absent"):
        cluster.apply(pool(namespace, f"of-{what}", secret=what))
        cluster.apply(key(namespace, f"of-{what}", secretRef={"name": what, "key": "api-key"}))
        cluster.apply(key(namespace, f"to-{what}", routingPolicyRef={"name": what}))
        for form in (what, f"{owner}/{what}"):
            name = f"to-{'there' if '/' in form else 'here'}-{what}"
            rules = [{"name": "all", "targets": [{"pool": form}]}]
            cluster.apply(policy(namespace, name, rules=rules, default=False))
    eventually("it is published", lambda: cluster.is_published(namespace))

    for kind, form in (
        ("ProviderPool", "of-{}"),
        ("ApiKey", "of-{}"),
        ("ApiKey", "to-{}"),
        ("RoutingPolicy", "to-here-{}"),
        ("RoutingPolicy", "to-there-{}"),
    ):
        told = [
            conditions(cluster, kind, namespace, form.format(what)) for what in ("hidden", "absent")
        ]
        assert told[0] == told[1]
        assert '"ResolvedRefs", "False"' in told[0]
    assert TREASURE.encode() not in cluster.credentials(namespace)


def test_G13_what_is_shared_by_a_label_goes_with_it(
    cluster: Cluster, namespace: str, owner: str
) -> None:
    cluster.apply(policy(namespace, to=f"{owner}/hidden"))
    eventually("it is published", lambda: cluster.is_published(namespace))
    assert cluster.credentials(namespace) == set()

    sharing = {"namespaces": "Selector", "selector": {"matchLabels": {"team": "research"}}}
    cluster.apply(pool(owner, "hidden", secret="hidden", sharing=sharing))
    cluster.create_namespace(namespace, team="research")
    eventually("given", lambda: cluster.credentials(namespace) == {TREASURE.encode()})

    cluster.create_namespace(namespace, team="sales")
    eventually("taken back", lambda: cluster.credentials(namespace) == set())
    eventually("it is published", lambda: cluster.is_published(namespace))
    assert f"{owner}/hidden" not in "".join(cluster.files(namespace).values())
