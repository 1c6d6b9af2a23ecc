"""What the operator may do under its own role, and under the policy that bounds its Secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.kube import OPERATOR
from runestone_testing.operators import SYSTEM, eventually
from runestone_testing.resources import secret

if TYPE_CHECKING:
    from runestone_testing.operators import Cluster

pytestmark = pytest.mark.kube


def test_the_role_is_no_wider_than_it_says(cluster: Cluster) -> None:
    """What it must never be able to do."""
    user = cluster.api.kubeconfig(token=cluster.api.token_for(OPERATOR))

    def may(*what: str) -> bool:
        return cluster.api.kubectl("auth", "can-i", *what, kubeconfig=user).stdout.strip() == "yes"

    assert may("list", "secrets", "-A")
    for refused in (
        ("update", "secrets", "-A"),
        ("delete", "secret/client-api-key", "-n", "default"),
        ("patch", "configmap/other", "-n", "default"),
        ("patch", "configmap/runestone-operator-canary", "-n", "default"),
        ("update", "apikeys", "-n", "default"),
        ("patch", "apikeys", "-n", "default"),
        ("delete", "apikeys", "-n", "default"),
        ("create", "pods", "-n", "default"),
        ("delete", "pods", "-n", "default"),
        ("create", "pods/exec", "-n", "default"),
        ("get", "nodes"),
        ("list", "customresourcedefinitions"),
        ("create", "serviceaccounts/token", "-n", "default"),
        ("escalate", "clusterroles"),
        ("impersonate", "users"),
        ("patch", "lease.coordination.k8s.io/other", "-n", SYSTEM),
        ("delete", "lease.coordination.k8s.io/runestone-operator", "-n", SYSTEM),
    ):
        assert not may(*refused), refused
    eventually("canary", lambda: may("patch", "configmap/runestone-operator-canary", "-n", SYSTEM))


def test_of_secrets_it_may_change_those_alone_that_are_its_to_change(
    cluster: Cluster, namespace: str
) -> None:
    """RBAC cannot say it, an admission policy does."""
    user = cluster.api.kubeconfig(token=cluster.api.token_for(OPERATOR))
    owner = {"apiVersion": "runestone.dev/v1alpha1", "kind": "ApiKey", "name": "client", "uid": "u"}
    for name, owners in (
        ("runestone-credentials", []),
        ("client-api-key", [owner | {"controller": True}]),
        ("free-api-key", []),
        ("other-api-key", [owner | {"controller": True}]),
        ("openai", [owner | {"controller": True}]),
        ("cert-api-key", [owner | {"name": "cert", "kind": "Certificate", "controller": True}]),
        ("loose-api-key", [owner | {"name": "loose"}]),
    ):
        document = secret(namespace, name)
        document["metadata"]["ownerReferences"] = owners
        cluster.apply(document)
    cluster.apply(secret(SYSTEM, "runestone-token"))

    def may_change(name: str, where: str = namespace) -> bool:
        patch = '{"metadata":{"labels":{"a":"b"}}}'
        arguments = ("secret", name, "-n", where, "--type=merge", "-p", patch, "--dry-run=server")
        done = cluster.api.kubectl("patch", *arguments, kubeconfig=user)
        assert done.returncode == 0 or "changes the Secrets of sidecars" in done.stderr, done.stderr
        return done.returncode == 0

    eventually("it is enforced", lambda: not may_change("openai"))
    assert may_change("runestone-credentials")
    assert may_change("client-api-key")
    for name in ("free", "other", "cert", "loose"):
        assert not may_change(f"{name}-api-key"), name
    assert not may_change("runestone-token", SYSTEM)
    for where, mine in ((SYSTEM, True), (namespace, False)):
        if cluster.get("Secret", where, "runestone-webhook-cert") is None:
            cluster.apply(secret(where, "runestone-webhook-cert"))
        assert may_change("runestone-webhook-cert", where) is mine
