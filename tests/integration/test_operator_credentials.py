"""A provider's key is replaced in its Secret while requests run, and none of them fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.application import Application
from runestone_testing.echo import running_echo
from runestone_testing.kubelet import Kubelet
from runestone_testing.operators import Cluster, OperatorProcess, eventually, settled
from runestone_testing.resources import key, policy, pool, secret
from runestone_testing.sidecar_health import free_shared_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kube

OLD, NEW, NEWER = (f"sk-provider-{name}-0123456789abcdef" for name in ("old", "new", "newer"))


def credential(name: str) -> dict[str, object]:
    return {"secretRef": {"name": name, "key": "api-key"}}


def test_D8_a_rotated_credential_fails_no_request(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    port = free_shared_port()
    with (
        running_echo(keep_bodies=False) as echo,
        OperatorProcess(
            cluster, tmp_path / "log", env={"RUNESTONE_SIDECAR_PORT": str(port)}
        ) as operator,
        Kubelet(cluster, namespace, tmp_path, health_port=port) as kubelet,
    ):
        operator.wait_until_ready()
        echo.refused |= {NEW, NEWER}
        provider = pool(namespace)["spec"]["providers"][0] | {
            "baseURL": echo.url,
            "credentials": [credential("current"), credential("previous")],
        }
        for name in ("current", "previous"):
            cluster.apply(secret(namespace, name, api_key=OLD))
        for document in (pool(namespace, providers=[provider]), policy(namespace), key(namespace)):
            cluster.apply(document)
        settled(cluster, namespace)
        sidecar = kubelet.start("app", 2)
        client_key = cluster.secret_values(namespace, "client-api-key")["api-key"].decode()

        with Application(sidecar, lambda: client_key) as app:
            eventually("served with the old one", lambda: echo.last_key == OLD)

            # One that the provider does not know yet: the previous one answers instead.
            cluster.apply(secret(namespace, "current", api_key=NEW))
            eventually("the new one was tried", lambda: NEW in echo.seen)
            asked = len(app.answers)
            eventually("served on", lambda: len(app.answers) > asked + 20)

            # One that it knows: taken into use, and then its predecessor ends.
            echo.refused.discard(NEWER)
            cluster.apply(secret(namespace, "current", api_key=NEWER))
            eventually("served with the newest one", lambda: echo.last_key == NEWER)
            echo.refused.add(OLD)
            asked = len(app.answers)
            eventually("served on", lambda: len(app.answers) > asked + 20)
            cluster.apply(secret(namespace, "previous", api_key=NEWER))
            settled(cluster, namespace)
        assert set(app.outcomes()) == {200}, app.outcomes()
