"""What users see of the operator on a real API server: conditions, keys, published objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from runestone_testing.operators import ROOT, Cluster, OperatorProcess, eventually
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("operator")]


def has_condition(
    cluster: Cluster, resource: tuple[str, str, str], type_: str, status: str, reason: str
) -> Callable[[], str | None]:
    """Becomes the condition's message once it is so."""

    def says() -> str | None:
        found = cluster.conditions(*resource).get(type_, {})
        is_so = (found.get("status"), found.get("reason")) == (status, reason)
        return found["message"] if is_so else None

    return says


def test_examples_are_programmed(cluster: Cluster) -> None:
    namespace = cluster.create_namespace("shop")
    applied = cluster.api.kubectl("apply", "-f", str(ROOT / "examples"))
    assert applied.returncode == 0, applied.stderr

    waited = cluster.api.kubectl(
        *(
            "wait",
            "--for=condition=Programmed",
            "pp,ak,rp",
            "--all",
            "-n",
            namespace,
            "--timeout=60s",
        )
    )

    assert waited.returncode == 0, waited.stderr
    assert cluster.is_published(namespace)
    for kind in ("ProviderPool", "ApiKey", "RoutingPolicy"):
        for item in cluster.list(kind, namespace):
            conditions = item["status"]["conditions"]
            assert [condition["type"] for condition in conditions] == [
                "Accepted",
                "ResolvedRefs",
                "Programmed",
            ]
            assert {condition["status"] for condition in conditions} == {"True"}
            assert {condition["observedGeneration"] for condition in conditions} == {1}
            assert conditions[-1]["reason"] == "NoSidecars"


def test_a_key_is_made_and_owned_by_its_resource(cluster: Cluster, namespace: str) -> None:
    made = cluster.apply(key(namespace, "checkout"))

    eventually("key", lambda: cluster.get("Secret", namespace, "checkout-api-key"))

    values = cluster.secret_values(namespace, "checkout-api-key")
    assert re.fullmatch(rb"sk-rs-[A-Za-z0-9]{43}", values["api-key"])
    assert values["base-url"] == b"http://localhost:4003/v1"
    written = cluster.get("Secret", namespace, "checkout-api-key") or {}
    (owner,) = written["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ApiKey", "checkout")
    assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
    status = eventually(
        "status", lambda: (cluster.get("ApiKey", namespace, "checkout") or {}).get("status")
    )
    assert status["keyPrefix"] == values["api-key"][:10].decode()
    assert status["secretName"] == "checkout-api-key"


def test_a_deleted_key_is_made_anew(cluster: Cluster, namespace: str) -> None:
    cluster.apply(key(namespace))
    name = "client-api-key"
    eventually("key", lambda: cluster.get("Secret", namespace, name))
    before = cluster.secret_values(namespace, name)

    cluster.delete("Secret", namespace, name)

    eventually("another key", lambda: cluster.secret_values(namespace, name) not in ({}, before))
    eventually("it is published", lambda: cluster.is_published(namespace))


def test_a_foreign_secret_of_the_keys_name_is_left_alone(cluster: Cluster, namespace: str) -> None:
    there = cluster.apply(secret(namespace, "client-api-key"))
    cluster.apply(key(namespace))

    message = eventually(
        "condition",
        has_condition(
            cluster, ("ApiKey", namespace, "client"), "ResolvedRefs", "False", "SecretNotOwned"
        ),
    )

    assert '"client-api-key"' in message
    assert cluster.get("Secret", namespace, "client-api-key") == there
    eventually("it is published", lambda: cluster.is_without_keys(namespace))


def test_a_missing_secret_is_named_and_takes_effect_when_it_comes(
    cluster: Cluster, namespace: str
) -> None:
    resource = ("ProviderPool", namespace, "pool")
    cluster.apply(pool(namespace))
    message = eventually(
        "condition", has_condition(cluster, resource, "ResolvedRefs", "False", "SecretNotFound")
    )
    assert 'provider "main": Secret "openai" is not found' in message
    before = cluster.conditions(*resource)

    cluster.apply(secret(namespace))

    eventually("resolved", has_condition(cluster, resource, "ResolvedRefs", "True", "ResolvedRefs"))
    eventually("it is published", lambda: cluster.is_published(namespace))
    after = cluster.conditions(*resource)
    assert before["Accepted"] == after["Accepted"]


def test_a_policy_that_leads_nowhere_leaves_the_last_good_one_in_force(
    cluster: Cluster, namespace: str
) -> None:
    resource = ("RoutingPolicy", namespace, "policy")
    for document in (secret(namespace), pool(namespace), policy(namespace)):
        cluster.apply(document)
    eventually("programmed", has_condition(cluster, resource, "Programmed", "True", "NoSidecars"))
    good = cluster.files(namespace)

    cluster.apply(policy(namespace, to="pol"))

    message = eventually(
        "condition", has_condition(cluster, resource, "ResolvedRefs", "False", "PoolNotFound")
    )
    assert '"pol"' in message
    eventually("told", has_condition(cluster, resource, "Programmed", "False", "NotInForce"))
    assert cluster.files(namespace) == good

    cluster.apply(policy(namespace))
    eventually("programmed", has_condition(cluster, resource, "Programmed", "True", "NoSidecars"))


def test_a_rotated_credential_is_published(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    cluster.apply(pool(namespace))
    cluster.apply(secret(namespace, api_key="sk-before-0123456789"))
    eventually("it is published", lambda: cluster.is_published(namespace))
    files = cluster.files(namespace)

    cluster.apply(secret(namespace, api_key="sk-after-0123456789\n"))

    eventually("new value", lambda: cluster.credentials(namespace) == {b"sk-after-0123456789"})
    assert cluster.files(namespace) == files
    assert operator.metric("runestone_operator_repairs_total") == 0


def test_a_shared_pool_is_offered_by_labels(cluster: Cluster, namespace: str) -> None:
    consumer = cluster.create_namespace(f"{namespace}-consumer")
    cluster.apply(secret(namespace))
    selector = {"namespaces": "Selector", "selector": {"matchLabels": {"team": "research"}}}
    cluster.apply(pool(namespace, sharing=selector))
    cluster.apply(key(consumer))
    eventually("it is published", lambda: cluster.is_published(consumer))
    assert cluster.compiled(consumer).config.pools == ()

    cluster.create_namespace(consumer, team="research")
    eventually("pool", lambda: cluster.compiled(consumer).config.pools)
    eventually("it is published", lambda: cluster.is_published(consumer))
    assert len(cluster.credentials(consumer)) == 1

    cluster.apply(secret(namespace, api_key="sk-rotated-0123456789"))
    eventually("rotated", lambda: b"sk-rotated-0123456789" in cluster.credentials(consumer))

    cluster.delete("ProviderPool", namespace, "pool")
    eventually("no value left", lambda: not cluster.credentials(consumer))
    eventually("it is published", lambda: cluster.is_published(consumer))


def test_the_last_resource_takes_the_managed_objects_with_it(
    cluster: Cluster, namespace: str
) -> None:
    for document in (secret(namespace), pool(namespace), policy(namespace)):
        cluster.apply(document)
    eventually("it is published", lambda: cluster.is_published(namespace))

    cluster.delete("RoutingPolicy", namespace, "policy")
    cluster.delete("ProviderPool", namespace, "pool")

    eventually("all is gone", lambda: not cluster.files(namespace))

    def are_gone() -> bool:
        names = ("runestone-credentials", "runestone-overflow-key")
        return not any(cluster.get("Secret", namespace, name) for name in names)

    eventually("all is gone", are_gone)
    assert cluster.get("Secret", namespace, "openai") is not None


def test_an_idle_operator_writes_nothing(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    for document in (secret(namespace), pool(namespace), policy(namespace), key(namespace)):
        cluster.apply(document)
    resource = ("ApiKey", namespace, "client")
    eventually("programmed", has_condition(cluster, resource, "Programmed", "True", "NoSidecars"))
    before, passes = cluster.quiet_versions(namespace), published_passes(operator)

    cluster.patch("Secret", namespace, "openai", {"metadata": {"annotations": {"seen": "yes"}}})
    cluster.patch("ApiKey", namespace, "client", {"metadata": {"annotations": {"seen": "yes"}}})
    eventually("another pass", lambda: published_passes(operator) > passes)

    after = cluster.quiet_versions(namespace)
    assert {name for name in after if after[name] != before[name]} == {
        "Secret/openai",
        "ApiKey/client",
    }


def published_passes(operator: OperatorProcess) -> float:
    return operator.metric('runestone_operator_passes_total{outcome="success",stage="report"}')
