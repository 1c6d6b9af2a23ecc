"""A real Prometheus with the chart's scrape configuration, and what it is to be asked.

Debian builds it without `kubernetes_sd_configs`. So pods are listed here, by the selectors of the
configuration, and handed over in a file with the labels that Prometheus's discovery gives them;
what is made of these labels is up to its relabelling, and so to the real Prometheus.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from runestone_testing.charts import CHART, ROOT
from runestone_testing.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runestone_testing.operators import Cluster

ALERTS: Final = CHART / "files" / "alerts.yaml"
SCRAPE: Final = CHART / "files" / "scrape.yaml"
DASHBOARD: Final = CHART / "files" / "dashboard.json"
START_S: Final = 60


class PrometheusMissingError(Exception):
    """Neither is it here nor can it be had; the text says what to run."""


def find_prometheus() -> Path:
    """The folder of prometheus and promtool."""
    found = subprocess.run(
        [ROOT / "hack" / "prometheus"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise PrometheusMissingError(found.stderr.strip())
    return type(ROOT)(found.stdout.splitlines()[-1])


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Title and expression, as a person's choice of all namespaces makes it."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], expression.replace("$namespace", ".*")


def alerts() -> dict[str, str]:
    """Expressions by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:runestone|process)_\w+)", expression))


def labels_in(expression: str) -> set[str]:
    """Those that it selects or groups by."""
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    return set(matched) | {label.strip() for group in grouped for label in group.split(",")}


class Prometheus:
    def __init__(self, folder: Path, cluster: Cluster) -> None:
        programs = find_prometheus()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(_configuration(folder, cluster)))
        self.checked = subprocess.run(
            [programs / "promtool", "check", "config", self._config],
            capture_output=True,
            text=True,
            check=False,
        )
        self.process = ChildProcess(
            [
                str(programs / "prometheus"),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            log=folder / "prometheus.log",
        )

    def __enter__(self) -> Self:
        self.process.wait_until(self._is_ready, timeout_s=START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises HTTPError where it makes no sense."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]


def _configuration(folder: Path, cluster: Cluster) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(SCRAPE.read_text())
    for job in config["scrape_configs"]:
        (discovery,) = job.pop("kubernetes_sd_configs")
        (selector,) = discovery["selectors"]
        assert (discovery["role"], selector["role"]) == ("pod", "pod")
        file = folder / f"{job['job_name']}.json"
        file.write_text(json.dumps(list(_discovered(cluster, selector["label"]))))
        job["file_sd_configs"] = [{"files": [str(file)]}]
    intervals = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    return {"global": intervals, "rule_files": [str(ALERTS)], **config}


def _discovered(cluster: Cluster, selector: str) -> Iterator[dict[str, Any]]:
    """A target for each port that a container of a pod declares."""
    for pod in cluster.list("Pod", selector=selector):
        spec, ip = pod["spec"], pod["status"]["podIP"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            for port in container.get("ports", ()):
                labels = {
                    "namespace": pod["metadata"]["namespace"],
                    "pod_name": pod["metadata"]["name"],
                    "pod_phase": pod["status"]["phase"],
                    "pod_container_name": container["name"],
                    "pod_container_port_name": port["name"],
                }
                yield {
                    "targets": [f"{ip}:{port['containerPort']}"],
                    "labels": {f"__meta_kubernetes_{name}": text for name, text in labels.items()},
                }
