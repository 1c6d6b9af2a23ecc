"""The operator and a real sidecar, joined by the directories that kubelet would mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_testing.bundles import swap
from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill
from runestone_testing.resources import pod, secret
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kube


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    with running_sidecar(tmp_path, tmp_path) as running:
        yield running


def mount(cluster: Cluster, namespace: str, root: Path) -> None:
    """What kubelet does, when the operator's annotation has woken it."""
    files = {name: text.encode() for name, text in cluster.files(namespace).items()}
    swap(root / "credentials", cluster.secret_values(namespace, "runestone-credentials"))
    swap(root / "config", files)


def programmed(cluster: Cluster, namespace: str, kind: str, name: str) -> tuple[str, str]:
    found = cluster.conditions(kind, namespace, name).get("Programmed", {})
    return found.get("status", ""), found.get("message", "")


def models(sidecar: Sidecar, key: bytes) -> int:
    headers = {"Authorization": f"Bearer {key.decode()}"}
    return httpx.get(f"{sidecar.base_url}/models", headers=headers, trust_env=False).status_code


def test_what_is_published_is_what_a_sidecar_serves(
    cluster: Cluster, namespace: str, tmp_path: Path, sidecar: Sidecar
) -> None:
    port = sidecar.health.rpartition(":")[2]
    running = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    document = pod(namespace, "app")
    cluster.apply(document)
    cluster.apply(
        {"kind": "Pod", "metadata": {"namespace": namespace, "name": "app"}, "status": running},
        subresource="/status",
    )
    with OperatorProcess(
        cluster, tmp_path / "log", env={"RUNESTONE_SIDECAR_PORT": port}
    ) as operator:
        operator.wait_until_ready()
        fill(cluster, namespace)
        eventually("published", lambda: cluster.is_published(namespace))
        eventually(
            "it waits for the sidecar",
            lambda: programmed(cluster, namespace, "ApiKey", "client")[0] == "False",
        )

        mount(cluster, namespace, tmp_path)

        for kind, name in (("ApiKey", "client"), ("ProviderPool", "pool")):
            status, message = eventually(
                f"{kind} is programmed",
                lambda kind=kind, name=name: (  # type: ignore[misc]
                    said
                    if (said := programmed(cluster, namespace, kind, name))[0] == "True"
                    else None
                ),
            )
            assert message.startswith("1/1 sidecars at ")
        key = cluster.secret_values(namespace, "client-api-key")["api-key"]
        assert models(sidecar, key) == 200
        assert models(sidecar, b"sk-rs-wrong") == 401

        cluster.apply(secret(namespace, api_key="sk-rotated-0123456789"))
        eventually(
            "it waits for the credentials",
            lambda: programmed(cluster, namespace, "ProviderPool", "pool")[0] == "False",
        )
        mount(cluster, namespace, tmp_path)
        eventually(
            "the credentials are there",
            lambda: programmed(cluster, namespace, "ProviderPool", "pool")[0] == "True",
        )

        cluster.delete("ApiKey", namespace, "client")
        eventually("nobody is let in", lambda: cluster.is_without_keys(namespace))
        eventually("all of it is written", lambda: cluster.is_published(namespace))
        mount(cluster, namespace, tmp_path)
        eventually("the key is revoked", lambda: models(sidecar, key) == 401)
