"""A real Prometheus finds a real sidecar and a real operator by the chart's scrape configuration,
and evaluates every query of the dashboard and every alert over what they say."""

from __future__ import annotations

import base64
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_testing import bundles
from runestone_testing.charts import one, render
from runestone_testing.echo import running_echo
from runestone_testing.gateway import CHAT, question
from runestone_testing.kube import ApiServer, KubeToolsMissingError
from runestone_testing.nats import nats_server
from runestone_testing.operators import SYSTEM, Cluster, OperatorProcess, eventually
from runestone_testing.prometheus import (
    Prometheus,
    PrometheusMissingError,
    alerts,
    dashboard_queries,
    find_prometheus,
    metrics_in,
)
from runestone_testing.provider import refusing_port
from runestone_testing.sidecar import running_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runestone_testing.charts import Document

pytestmark = pytest.mark.kube
SHOP = "shop"
# Nobody waits, no credential is refused, no stream is lost.
WITHOUT_DATA = {
    "Waiting for a limit",
    "Ends of waiting",
    "Credentials left alone",
    "Streams broken off",
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    try:
        find_prometheus()
        api = ApiServer()
    except PrometheusMissingError as error:
        pytest.skip(str(error))
    except KubeToolsMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with ExitStack() as stack:
        enter = stack.enter_context
        cluster = enter(Cluster(enter(api)))
        nats = enter(nats_server())
        publish(folder, enter(running_echo()).url, enter(refusing_port()))
        sidecar = enter(running_sidecar(folder, folder, NATS_URL=nats.url))
        ports = {"RUNESTONE_SIDECAR_PORT": sidecar.health.rpartition(":")[2]}
        operator = enter(OperatorProcess(cluster, folder / "operator.log", env=ports))
        operator.wait_until_ready()
        assert operator.port is not None
        cluster.create_namespace(SHOP)
        run_as_pod(cluster, SHOP, "gateway", ip="127.0.0.1")
        run_as_pod(cluster, SHOP, "not-yet", ip=None)
        enter(asked_again_and_again(sidecar.base_url))
        yield enter(Prometheus(folder, operator_port=operator.port))


def run_as_pod(cluster: Cluster, namespace: str, name: str, *, ip: str | None) -> None:
    """A pod of the gateway as the chart makes it, at the address of a process of ours."""
    template = one(render({"gateway": {"enabled": True}}), "Deployment", "-gateway")["spec"]
    pod: Document = {**template["template"], "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "name": name, "namespace": namespace}
    pod["spec"] = {**pod["spec"], "serviceAccountName": None}
    cluster.apply(pod)
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
    identity = {"kind": "Pod", "metadata": {"namespace": namespace, "name": name}}
    cluster.apply({**identity, "status": status}, subresource="/status")


def publish(folder: Path, url: str, refusing: int) -> None:
    """A provider that nobody reaches, and one that answers in its place."""
    broken = bundles.provider(f"http://127.0.0.1:{refusing}/v1", name="broken")
    config = bundles.config(broken, bundles.provider(url, priority=1))
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    bundles.publish(folder, config, {"cred-a": bundles.PROVIDER_KEY, OVERFLOW_KEY_ENTRY: key})


@contextmanager
def asked_again_and_again(base_url: str) -> Iterator[None]:
    """Rates are of what goes on."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {bundles.CLIENT_KEY}"}
            while not stop.wait(0.2):
                client.post(CHAT, json=question(stream=True), headers=headers)
                later = headers | {"prefer": "respond-async"}
                client.post(CHAT, json=question(), headers=later)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask)
        try:
            yield
        finally:
            stop.set()
            asking.result()


def test_promtool_accepts_the_configuration(prometheus: Prometheus) -> None:
    assert prometheus.checked.returncode == 0, prometheus.checked.stderr


def test_both_programs_are_found_and_nothing_else(prometheus: Prometheus) -> None:
    def healthy() -> list[tuple[str | None, ...]] | None:
        targets = prometheus.server.targets()
        found = [tuple(t["labels"].get(n) for n in ("job", "namespace", "pod")) for t in targets]
        up = len(found) > 1 and all(target["health"] == "up" for target in targets)
        return sorted(found, key=str) if up else None

    assert eventually("both are up", healthy) == [
        ("runestone-operator", SYSTEM, None),
        ("runestone-sidecars", SHOP, "gateway"),
    ]


def test_every_query_of_the_dashboard_has_data(prometheus: Prometheus) -> None:
    missing = {expression: title for title, expression in dashboard_queries()}

    def all_answered() -> bool:
        for expression in list(missing):
            if prometheus.server.query(expression):
                del missing[expression]
        return set(missing.values()) <= WITHOUT_DATA

    try:
        eventually("all have data", all_answered, every_s=1)
    except AssertionError:
        pytest.fail(f"no data: {missing}")


def test_what_the_dashboard_names_is_scraped_under_that_name(prometheus: Prometheus) -> None:
    """Where a metric has no data yet, its family is there all the same."""
    described = prometheus.server.described()
    for title, expression in (*dashboard_queries(), *alerts().items()):
        for name in metrics_in(expression):
            family = name.removesuffix("_bucket")
            assert {family, family.removesuffix("_total")} & described, (title, name)


def test_every_alert_is_evaluated_and_none_fires(prometheus: Prometheus) -> None:
    def all_evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in prometheus.server.rules())

    eventually("all are evaluated", all_evaluated)
    rules = prometheus.server.rules()
    assert {rule["name"] for rule in rules} == alerts().keys()
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
