"""With the webhook away pods are made all the same, and those that lack their sidecar are told."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.operators import Cluster, OperatorProcess, eventually
from runestone_testing.run_command import free_port
from runestone_testing.webhooks import (
    create,
    has_sidecar,
    install,
    labelled,
    until_called,
    webhook_env,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kube

GAUGE = "runestone_operator_uninjected_pods"


def told_of(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """Pods that an Event says to be without, with how often."""
    events = cluster.list("Event", namespace)
    names = [one["regarding"]["name"] for one in events if one["reason"] == "NotInjected"]
    return {name: names.count(name) for name in names}


def test_pods_made_while_the_webhook_was_away_are_told_once(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    port = free_port()
    install(cluster, port)
    wishing = cluster.create_namespace("wishing")
    with OperatorProcess(cluster, tmp_path / "first", env=webhook_env(port)) as operator:
        operator.wait_until_ready()
        until_called(cluster, namespace)
        assert has_sidecar(create(cluster, labelled(namespace, "whole", key="app")).json())
        operator.stop()

    bare = labelled(namespace, "bare", key="app")
    slip = labelled(namespace, "slip", key="app")
    slip["metadata"]["labels"]["runestone.dev/inject"] = "yes"
    for pod in (bare, slip):
        made = create(cluster, pod)
        assert made.status_code == 201  # failurePolicy: Ignore
        assert not has_sidecar(made.json())
    for name, labels in (("early", {}), ("out", {"runestone.dev/inject": "false"})):
        pod = labelled(wishing, name)
        pod["metadata"]["labels"] = labels
        assert create(cluster, pod).status_code == 201
    cluster.create_namespace(wishing, **{"runestone.dev/inject": "true"})

    for log in ("second", "third"):  # a restart tells nothing twice
        with OperatorProcess(cluster, tmp_path / log, env=webhook_env(port)) as operator:
            operator.wait_until_ready()
            eventually("all are found", lambda: operator.metric(GAUGE) == 3)
            assert told_of(cluster, namespace) == {"bare": 1, "slip": 1}
            assert told_of(cluster, wishing) == {"early": 1}
            if log == "third":
                cluster.client.delete(
                    cluster.path("Pod", namespace, "bare"), params={"gracePeriodSeconds": 0}
                )
                eventually("two are left", lambda: operator.metric(GAUGE) == 2)
            refused = [line for line in operator.lines() if "(403)" in str(line)]
            assert refused == []


def test_who_is_told_to_end_serves_until_others_are_found(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Endpoints of a Service take a while to follow."""
    port = free_port()
    install(cluster, port)
    env = webhook_env(port, WEBHOOK_LINGER_SECONDS="60")
    with OperatorProcess(cluster, tmp_path / "log", env=env) as operator:
        operator.wait_until_ready()
        until_called(cluster, namespace)
        os.kill(operator.process.pid, signal.SIGTERM)
        eventually(
            "it has heard", lambda: any(one["message"] == "stopping" for one in operator.lines())
        )
        pods = [labelled(namespace, f"late-{number}", key="app") for number in range(20)]
        assert [has_sidecar(create(cluster, pod).json()) for pod in pods] == [True] * 20
        operator.stop(signal.SIGKILL)
