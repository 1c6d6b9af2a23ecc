"""A Prometheus in the cluster: a pod without rights, configured by what the chart has put there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import yaml

from runestone_testing.node import container, pod
from runestone_testing.prometheus import Server, scrape_config
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.node import Node

NAMESPACE: Final = "prometheus"
PORT: Final = 9090
FOLDER: Final = "/etc/prometheus"


@contextlib.contextmanager
def prometheus_pod(node: Node, chart_config: dict[str, str]) -> Iterator[Server]:
    """`chart_config` is the data of the chart's ConfigMap."""
    intervals = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {
        "global": intervals,
        "rule_files": [f"{FOLDER}/alerts.yaml"],
        "scrape_configs": scrape_config(chart_config["scrape.yaml"]),
    }
    files = {"prometheus.yml": yaml.safe_dump(config), "alerts.yaml": chart_config["alerts.yaml"]}
    serves = container(
        "prometheus",
        "e2e-prometheus:dev",
        args=[f"--config.file={FOLDER}/prometheus.yml", "--storage.tsdb.path=/data"],
        readinessProbe={"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        volumeMounts=[
            {"name": "config", "mountPath": FOLDER},
            {"name": "data", "mountPath": "/data"},
        ],
    )
    volumes = [
        {"name": "config", "configMap": {"name": "config"}},
        {"name": "data", "emptyDir": {}},
    ]
    with node.namespace(NAMESPACE) as name:
        node.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": name, "name": "config"},
                "data": files,
            },
            pod(name, "prometheus", serves, volumes=volumes, automountServiceAccountToken=False),
        )
        node.wait_ready(name, "prometheus")
        address = node.get(name, "pod", "prometheus")["status"]["podIP"]
        server = Server(f"http://{address}:{PORT}")
        wait_until("Prometheus answers", server.is_ready)
        yield server
