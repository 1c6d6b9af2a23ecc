"""What the operator survives, and what it leaves behind when it does not."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill, settled
from runestone_testing.resources import key, pool, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runestone_testing.kube import ApiServer

pytestmark = pytest.mark.kube


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., OperatorProcess]]:
    """Starts an operator, on the module's cluster unless another is given."""
    running: list[OperatorProcess] = []

    def start_one(on: Cluster = cluster, **env: str) -> OperatorProcess:
        process = OperatorProcess(on, tmp_path / f"log-{len(running)}", env=env)
        running.append(process)
        return process.wait_until_ready()

    yield start_one
    for process in running:
        process.stop()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_restart_writes_nothing(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess], by: signal.Signals
) -> None:
    first = start()
    fill(cluster, namespace)
    settled(cluster, namespace)
    before = cluster.quiet_versions(namespace)
    events = len(cluster.list("Event", namespace))
    first.stop(by)

    second = start()

    done = 'runestone_operator_passes_total{outcome="success",stage="report"}'
    eventually("reported", lambda: second.metric(done) >= 1)
    assert cluster.quiet_versions(namespace) == before
    assert len(cluster.list("Event", namespace)) == events
    for asked in ("ProviderPool", "ApiKey", "RoutingPolicy", "Secret"):
        labels = f'{{kind="{asked}",outcome="success",verb="apply"}}'
        assert second.metric(f"runestone_operator_api_requests_total{labels}") == 0


def test_it_stops_when_it_is_asked_to(start: Callable[..., OperatorProcess]) -> None:
    operator = start()
    began_s = time.monotonic()

    operator.stop()

    assert operator.process.status == 0
    assert time.monotonic() - began_s < 30
    assert operator.lines()[-1]["message"] == "stopped"
    assert [line for line in operator.lines() if line["level"] not in ("info", "debug")] == []


def test_D18_two_operators_write_the_same_and_then_nothing(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    start()
    start()
    fill(cluster, namespace)
    for number in range(30):
        cluster.apply(key(namespace, f"client-{number % 10}", displayName=f"{number}"))
        cluster.apply(pool(namespace, strategy=("Random", "Priority")[number % 2]))

    settled(cluster, namespace)
    before = cluster.quiet_versions(namespace, for_s=2)

    cluster.patch("ConfigMap", namespace, "runestone-config", {"data": {"index.json": "{}"}})

    settled(cluster, namespace)
    after = cluster.quiet_versions(namespace, for_s=2)
    assert {name for name in after if after[name] != before[name]} == {"ConfigMap/runestone-config"}


@pytest.fixture
def forbidden_secret(cluster: Cluster, namespace: str) -> Iterator[Callable[[], None]]:
    """Secret late-api-key may not be made there, as a quota or a policy has it; call to relent."""
    root = "/apis/admissionregistration.k8s.io/v1"
    policies, bindings = (
        f"{root}/validatingadmission{plural}" for plural in ("policies", "policybindings")
    )
    match = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    rule = {"expression": "object.metadata.name != 'late-api-key'", "reason": "Forbidden"}
    spec = {
        "matchConstraints": {"resourceRules": [match | {"resources": ["secrets"]}]},
        "validations": [rule],
    }
    client, meta = cluster.client, {"metadata": {"name": namespace}}
    client.post(policies, json=meta | {"spec": spec}).raise_for_status()
    bound = {"spec": {"policyName": namespace, "validationActions": ["Deny"]}}
    client.post(bindings, json=meta | bound).raise_for_status()

    def is_enforced() -> bool:
        path = cluster.path("Secret", namespace) + "?dryRun=All"
        return client.post(path, json=secret(namespace, "late-api-key")).status_code == 403

    def relent() -> None:
        for path in (bindings, policies):
            client.delete(f"{path}/{namespace}")

    eventually("it is enforced", is_enforced)
    yield relent
    relent()


def test_a_key_that_may_not_be_made_keeps_out_no_other(
    cluster: Cluster,
    namespace: str,
    start: Callable[..., OperatorProcess],
    forbidden_secret: Callable[[], None],
) -> None:
    start()
    fill(cluster, namespace)
    cluster.apply(key(namespace, "late"))

    def told() -> str | None:
        programmed = cluster.conditions("ApiKey", namespace, "late").get("Programmed", {})
        return programmed["message"] if programmed.get("reason") == "WriteFailed" else None

    message = eventually("it is told", told)
    assert message == (
        f"create Secret {namespace}/secrets: Forbidden (403); nothing of it is in force"
    )
    settled(cluster, namespace)

    forbidden_secret()
    eventually("key", lambda: cluster.get("Secret", namespace, "late-api-key"))
    eventually("published", lambda: cluster.is_published(namespace))


def test_settings_that_cannot_be_meant_end_it(cluster: Cluster, tmp_path: Path) -> None:
    with OperatorProcess(cluster, tmp_path / "log", env={"PORT": "http"}) as operator:
        eventually("it has ended", lambda: operator.process.status is not None)
        assert operator.process.status == 1
        said = "runestone-operator: PORT must be a port, not 'http'\n"
        assert operator.log.read_text() == said


def test_a_namespace_that_ends_is_let_go(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    operator = start()
    fill(cluster, namespace)
    settled(cluster, namespace)
    before = operator.metric(COUNT)

    cluster.delete("Namespace", None, namespace)
    cluster.apply(pool(namespace, strategy="Random"))
    cluster.delete("ApiKey", namespace, "client")
    cluster.delete("ProviderPool", namespace, "pool")
    cluster.delete("RoutingPolicy", namespace, "policy")
    finalize = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    path = cluster.path("Namespace", None, namespace) + "/finalize"
    cluster.client.put(path, json=finalize | {"spec": {"finalizers": []}}).raise_for_status()

    eventually("forgotten", lambda: operator.metric(COUNT) == before - 1)
    other = cluster.create_namespace(f"{namespace}-other")
    fill(cluster, other)
    settled(cluster, other)
    bad = [line for line in operator.lines() if line["level"] not in ("info", "debug")]
    assert len(bad) <= 2, bad


AGE, COUNT = "runestone_operator_canary_age_seconds", "runestone_operator_namespaces"


def test_D16_an_absent_api_server_is_waited_for(
    own_apiserver: ApiServer, start: Callable[..., OperatorProcess]
) -> None:
    with Cluster(own_apiserver) as cluster:
        operator = start(
            cluster, RUNESTONE_CANARY_SECONDS="0.5", RUNESTONE_CANARY_SILENCE_SECONDS="5"
        )
        namespace = cluster.create_namespace("shop")
        fill(cluster, namespace)
        settled(cluster, namespace)

        for away_s in (0.0, 8.0):
            own_apiserver.stop(signal.SIGKILL)
            end_s = time.monotonic() + away_s
            eventually("the time is over", lambda end_s=end_s: time.monotonic() > end_s)  # type: ignore[misc]
            assert operator.answers("/healthz")
            own_apiserver.start()
            cluster.apply(key(namespace, displayName=f"after {away_s} s"))
            settled(cluster, namespace)
            assert operator.process.is_running

        eventually("the canary is heard", lambda: operator.metric(AGE) < 3)
        assert operator.answers("/healthz")


def test_it_starts_before_the_api_server_and_the_crds(
    own_apiserver: ApiServer, tmp_path: Path
) -> None:
    cluster = Cluster(own_apiserver)
    own_apiserver.stop()
    with OperatorProcess(cluster, tmp_path / "log") as operator:
        eventually("alive", lambda: operator.answers("/healthz"))
        own_apiserver.start()

        def waits() -> bool:
            return any("CRDs" in line["message"] for line in operator.lines())

        eventually("it waits for the CRDs", waits)
        assert not operator.answers("/readyz")
        assert operator.answers("/healthz")

        with cluster:
            operator.wait_until_ready()
            namespace = cluster.create_namespace("shop")
            fill(cluster, namespace)
            settled(cluster, namespace)


def test_a_frozen_operator_comes_back(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    operator = start()
    fill(cluster, namespace)
    settled(cluster, namespace)

    os.kill(operator.process.pid, signal.SIGSTOP)
    cluster.delete("ApiKey", namespace, "client")
    cluster.apply(key(namespace, "later"))
    os.kill(operator.process.pid, signal.SIGCONT)

    eventually("published", lambda: cluster.is_published(namespace))
    assert json.dumps(cluster.files(namespace)).count("key") >= 1
