"""A real Prometheus with the chart's scrape configuration, and what it is to be asked."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from runestone_testing.charts import CHART, ROOT, one, render
from runestone_testing.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALERTS: Final = CHART / "files" / "alerts.yaml"
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


@dataclass(frozen=True, slots=True)
class Server:
    """A Prometheus that runs somewhere, by its API."""

    url: str

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
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

    def described(self) -> set[str]:
        """Families of metrics that were scraped."""
        return set(self._get("metadata"))

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]


class Prometheus:
    """A process of one, whose operator is at a port of this machine."""

    def __init__(self, folder: Path, *, operator_port: int) -> None:
        programs = find_prometheus()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.server = Server(f"http://127.0.0.1:{port}")
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(_configuration(operator_port)))
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
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=folder / "prometheus.log",
        )

    def __enter__(self) -> Self:
        self.process.wait_until(self.server.is_ready, timeout_s=START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def scrape_config(text: str) -> list[dict[str, Any]]:
    """The chart's, by which this machine is not kept waiting."""
    jobs: list[dict[str, Any]] = yaml.safe_load(text)["scrape_configs"]
    for job in jobs:
        job["scrape_interval"] = "1s"
        for discovery in (*job.get("http_sd_configs", ()), *job.get("dns_sd_configs", ())):
            discovery["refresh_interval"] = "1s"
    return jobs


def _configuration(operator_port: int) -> dict[str, Any]:
    """There are no names of Services here: their host is another, and DNS is not asked."""
    found = render({"monitoring": {"scrapeConfig": {"enabled": True}}})
    sidecars, operator = scrape_config(
        one(found, "ConfigMap", "-prometheus")["data"]["scrape.yaml"]
    )
    (discovery,) = sidecars["http_sd_configs"]
    url = urllib.parse.urlsplit(discovery["url"])
    discovery["url"] = url._replace(netloc=f"127.0.0.1:{operator_port}").geturl()
    del operator["dns_sd_configs"]
    operator["static_configs"] = [{"targets": [f"127.0.0.1:{operator_port}"]}]
    intervals = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    jobs = {"scrape_configs": [sidecars, operator]}
    return {"global": intervals, "rule_files": [str(ALERTS)], **jobs}
