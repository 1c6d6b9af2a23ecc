"""What another hand does to the managed objects is put right."""

from __future__ import annotations

from typing import Any

import pytest

from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill, settled

pytestmark = pytest.mark.kube

CONFIG, SHARD, CREDENTIALS = "runestone-config", "runestone-config-0", "runestone-credentials"
REPAIRS = "runestone_operator_repairs_total"
UNLABELLED = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}


@pytest.mark.parametrize(
    ("kind", "name", "edit"),
    [
        pytest.param("ConfigMap", CONFIG, {"data": {"index.json": "{}"}}, id="index changed"),
        pytest.param("ConfigMap", SHARD, {"data": {"shard-0.jsonl": None}}, id="shard emptied"),
        pytest.param("ConfigMap", SHARD, {"data": {"more": "x"}}, id="file added"),
        pytest.param("ConfigMap", CONFIG, UNLABELLED, id="label removed"),
        pytest.param("ConfigMap", CONFIG, None, id="index deleted"),
        pytest.param("ConfigMap", SHARD, None, id="shard deleted"),
        pytest.param("Secret", CREDENTIALS, {"data": {"more": "eA=="}}, id="value added"),
        pytest.param("Secret", CREDENTIALS, UNLABELLED, id="label of the Secret removed"),
        pytest.param("Secret", CREDENTIALS, None, id="Secret deleted"),
    ],
)
def test_D14_what_another_hand_does_is_repaired(
    cluster: Cluster,
    namespace: str,
    operator: OperatorProcess,
    kind: str,
    name: str,
    edit: dict[str, Any] | None,
) -> None:
    fill(cluster, namespace)
    settled(cluster, namespace)
    good, repairs = cluster.files(namespace), operator.metric(REPAIRS)

    if edit is None:
        cluster.delete(kind, namespace, name)
    else:
        cluster.patch(kind, namespace, name, edit)

    eventually("repaired", lambda: operator.metric(REPAIRS) > repairs)
    settled(cluster, namespace)
    assert cluster.files(namespace) == good
    assert {
        item["metadata"]["name"]
        for item in cluster.list("ConfigMap", namespace, "app.kubernetes.io/managed-by")
    } == {CONFIG, SHARD}
