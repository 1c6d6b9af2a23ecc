"""What another hand does to the webhook's certificate or to its configurations is put right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.operators import SYSTEM, Cluster, OperatorProcess, eventually
from runestone_testing.run_command import free_port
from runestone_testing.webhooks import (
    CERT_SECRET,
    INJECTOR,
    VALIDATION,
    bundles,
    configurations,
    install,
    trusted,
    until_called,
    webhook_env,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kube

Document = dict[str, Any]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def operator_env(port: int) -> dict[str, str]:
    return webhook_env(port)


@pytest.fixture(scope="module")
def called(cluster: Cluster, port: int, operator: OperatorProcess) -> Iterator[OperatorProcess]:
    install(cluster, port)
    eventually("trusted", lambda: trusted(cluster))
    yield operator
    assert "PRIVATE" not in operator.log.read_text()


def secret(cluster: Cluster) -> dict[str, bytes]:
    return cluster.secret_values(SYSTEM, CERT_SECRET)


def test_configurations_that_somebody_resets_are_put_right(
    cluster: Cluster, namespace: str, port: int, called: OperatorProcess
) -> None:
    before = bundles(cluster)
    for place, document in zip((INJECTOR, VALIDATION), configurations(port), strict=True):
        version = cluster.get(*place)["metadata"]["resourceVersion"]  # type: ignore[index]
        document["metadata"]["resourceVersion"] = version
        answer = cluster.client.put(cluster.path(place[0], None, place[2]), json=document)
        assert answer.is_success, answer.text
    eventually("trusted again", lambda: bundles(cluster) == before)
    until_called(cluster, namespace)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(None, id="deleted"),
        pytest.param({"tls.key": "AAAA"}, id="another key"),
        pytest.param({"tls.crt": None, "ca.crt": None}, id="emptied"),
    ],
)
def test_a_certificate_that_somebody_spoils_is_made_anew(
    cluster: Cluster, namespace: str, called: OperatorProcess, harm: Document | None
) -> None:
    before = secret(cluster)["ca.crt"]
    if harm is None:
        cluster.delete("Secret", SYSTEM, CERT_SECRET)
    else:
        cluster.patch("Secret", SYSTEM, CERT_SECRET, {"data": harm})
    eventually("made anew", lambda: secret(cluster).get("ca.crt", before) != before)
    eventually("trusted", lambda: secret(cluster)["ca.crt"] in trusted(cluster))
    until_called(cluster, namespace)
