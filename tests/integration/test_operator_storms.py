"""An API server that fails, and watches that die without a word."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from runestone_testing.faulty_api import RESET, FaultyApi
from runestone_testing.kube import OPERATOR
from runestone_testing.operators import Cluster, OperatorProcess, eventually, fill, settled
from runestone_testing.resources import key, pool, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kube

AGE = "runestone_operator_canary_age_seconds"
MISSED = 'runestone_operator_watch_missed_total{kind="ApiKey"}'


@pytest.fixture
def faults(cluster: Cluster) -> Iterator[FaultyApi]:
    with FaultyApi(cluster.api, OPERATOR) as made:
        yield made


@pytest.fixture
def start(
    cluster: Cluster, faults: FaultyApi, tmp_path: Path
) -> Iterator[Callable[..., OperatorProcess]]:
    """Starts an operator that knows the API server through the proxy alone."""
    running: list[OperatorProcess] = []

    def start_one(**env: str) -> OperatorProcess:
        kubeconfig = str(faults.kubeconfig(tmp_path / "kubeconfig"))
        running.append(
            OperatorProcess(cluster, tmp_path / "log", env={"KUBECONFIG": kubeconfig} | env)
        )
        return running[-1].wait_until_ready()

    yield start_one
    for process in running:
        process.stop()


def test_D16_it_gets_through_a_storm(
    cluster: Cluster,
    namespace: str,
    faults: FaultyApi,
    start: Callable[..., OperatorProcess],
) -> None:
    operator = start()
    faults.statuses, faults.rate = (429, 500, 503, 409, RESET), 0.4
    fill(cluster, namespace)
    end_s = time.monotonic() + 6
    number = 0
    while time.monotonic() < end_s or faults.failed < 30:
        number += 1
        cluster.apply(key(namespace, f"client-{number % 7}", tenant=f"t{number}"))
        cluster.apply(secret(namespace, api_key=f"sk-provider-{number}-0123456789"))
        cluster.apply(pool(namespace, strategy=("Random", "Priority")[number % 2]))
    faults.rate = 0.0

    settled(cluster, namespace)
    assert operator.process.is_running
    assert operator.answers("/healthz")
    assert [line for line in operator.lines() if "exception" in line] == []


def test_D17_what_a_hung_watch_keeps_back_is_found(
    cluster: Cluster,
    namespace: str,
    faults: FaultyApi,
    start: Callable[..., OperatorProcess],
) -> None:
    operator = start(RUNESTONE_RESYNC_SECONDS="1")
    fill(cluster, namespace)
    settled(cluster, namespace)

    faults.frozen.add("apikeys")
    cluster.delete("ApiKey", namespace, "client")
    cluster.apply(key(namespace, "new"))

    eventually("new key", lambda: cluster.get("Secret", namespace, "new-api-key"))
    eventually("published", lambda: cluster.is_published(namespace))
    assert operator.metric(MISSED) == 2
    assert operator.answers("/healthz")
    faults.frozen.clear()


def test_D17_what_was_deleted_while_a_watch_had_expired_is_found(
    cluster: Cluster,
    namespace: str,
    faults: FaultyApi,
    start: Callable[..., OperatorProcess],
) -> None:
    """A revoked key must not live on because the watch had to begin anew."""
    operator = start()
    fill(cluster, namespace)
    cluster.apply(key(namespace, "revoked"))
    settled(cluster, namespace)

    faults.frozen.add("apikeys")
    cluster.delete("ApiKey", namespace, "revoked")
    faults.expire("apikeys")

    eventually("published", lambda: cluster.is_published(namespace))
    assert "/revoked" not in "".join(cluster.files(namespace).values())
    assert operator.metric(MISSED) == 1


@pytest.mark.parametrize(
    ("refused", "unchanged"),
    [
        pytest.param("runestone-config-0", {"index.json", "shard-0.jsonl"}, id="shard"),
        pytest.param("runestone-credentials", {"index.json"}, id="credentials"),
        pytest.param("runestone-config", {"index.json"}, id="index"),
    ],
)
def test_what_cannot_be_written_is_told_and_the_index_stays_last(
    cluster: Cluster,
    faults: FaultyApi,
    start: Callable[..., OperatorProcess],
    refused: str,
    unchanged: set[str],
) -> None:
    start()
    namespace = cluster.create_namespace(f"refuses-{refused}")
    fill(cluster, namespace)
    settled(cluster, namespace)
    before = cluster.files(namespace)

    faults.refused.add(refused)
    cluster.apply(secret(namespace, api_key="sk-other-0123456789"))
    cluster.apply(pool(namespace, model="gpt-4o-mini"))

    def failure() -> str | None:
        programmed = cluster.conditions("ProviderPool", namespace, "pool")["Programmed"]
        return programmed["message"] if programmed["reason"] == "WriteFailed" else None

    message = eventually("it is told", failure)
    assert f"/{refused}: Forbidden (403); the last good state stays in force" in message

    def kept() -> set[str]:
        after = cluster.files(namespace)
        return {file for file in after if after[file] == before[file]}

    # It may be told of the Secret alone, before the pool's change was seen.
    eventually("all else is written", lambda: kept() == unchanged)

    faults.refused.clear()
    settled(cluster, namespace)


def test_without_its_crds_it_ends_and_says_so(
    faults: FaultyApi, start: Callable[..., OperatorProcess]
) -> None:
    operator = start()

    faults.missing.add("apikeys")
    faults.expire("apikeys")

    eventually("it has ended", lambda: operator.process.status is not None)
    assert operator.process.status == 1
    messages = [line["message"] for line in operator.lines()]
    assert messages[-1] == "the watch has ended, the process must be started anew"


def test_D17_a_dead_watch_is_noticed(
    faults: FaultyApi, start: Callable[..., OperatorProcess]
) -> None:
    operator = start(RUNESTONE_CANARY_SECONDS="0.2", RUNESTONE_CANARY_SILENCE_SECONDS="2")
    eventually("the canary is heard", lambda: 0 < operator.metric(AGE) < 1)
    assert operator.answers("/healthz")

    faults.frozen.add("configmaps")

    eventually("it asks to be restarted", lambda: not operator.answers("/healthz"))
    assert operator.answers("/readyz")
    faults.frozen.clear()
    eventually("it has come back", lambda: operator.answers("/healthz"))
