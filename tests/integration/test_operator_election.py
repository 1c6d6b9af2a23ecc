"""Two operators: one writes, and the other takes over from one that stops, dies or stands still."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from runestone_testing.operators import SYSTEM, Cluster, OperatorProcess, eventually, fill, settled
from runestone_testing.resources import key, pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kube

LEASE_S = int(os.environ.get("RUNESTONE_LEASE", "3"))
FREEZES = int(os.environ.get("RUNESTONE_FREEZES", "1"))
SEED = int(os.environ.get("RUNESTONE_SEED", "1"))
LEADS = "runestone_operator_leader"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/runestone-operator"


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., OperatorProcess]]:
    running: list[OperatorProcess] = []

    def start_one(name: str, lease_s: int = LEASE_S) -> OperatorProcess:
        env = {"RUNESTONE_POD_NAME": name, "RUNESTONE_LEASE_SECONDS": str(lease_s)}
        process = OperatorProcess(cluster, tmp_path / f"log-{len(running)}", env=env)
        running.append(process)
        return process.wait_until_ready()

    yield start_one
    for process in running:
        process.stop()
        refused = [line for line in process.lines() if "(403)" in str(line)]
        assert refused == [], "the role does not suffice"
    cluster.client.delete(PATH)


def leads(operator: OperatorProcess) -> bool:
    return operator.metric(LEADS) == 1


def writes(operator: OperatorProcess) -> dict[str, str]:
    """Counts of what it has asked the API server to change, leases and canary apart."""
    found = re.findall(
        r'^runestone_operator_api_requests_total\{kind="(\w+)",outcome="\w+",verb="(\w+)"\} (\S+)$',
        operator.read("/metrics") or "",
        re.M,
    )
    return {
        f"{verb} {kind}": count
        for kind, verb, count in found
        if verb not in {"get", "list", "discover"} and kind not in {"Lease", "ConfigMap"}
    }


def test_the_second_stands_by_and_takes_over_when_the_first_stops(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    first = start("one", lease_s=60)
    eventually("it leads", lambda: leads(first))
    second = start("two", lease_s=60)
    fill(cluster, namespace)
    settled(cluster, namespace)
    assert not leads(second)
    assert writes(second) == {}

    first.stop()

    eventually("the other leads", lambda: leads(second))
    before = cluster.quiet_versions(namespace)
    assert writes(second) == {}  # what is so already is not written again
    cluster.apply(key(namespace, displayName="after"))
    settled(cluster, namespace)
    assert cluster.versions(namespace) != before


def test_who_dies_is_followed(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    first = start("one")
    eventually("it leads", lambda: leads(first))
    second = start("two")
    fill(cluster, namespace)
    settled(cluster, namespace)

    first.stop(signal.SIGKILL)
    began_s = time.monotonic()
    cluster.apply(key(namespace, displayName="after"))

    eventually("the other leads", lambda: leads(second))
    took_s = time.monotonic() - began_s
    settled(cluster, namespace)
    print(f"taken over {took_s:.1f} s after a SIGKILL, at a lease of {LEASE_S} s")


@pytest.mark.timeout(60 + 30 * FREEZES)
def test_D18_who_stood_still_writes_nothing_any_more(
    cluster: Cluster, namespace: str, start: Callable[..., OperatorProcess]
) -> None:
    dice = random.Random(SEED)
    operators = [start("one"), start("two")]
    fill(cluster, namespace)
    settled(cluster, namespace)
    for number in range(FREEZES):
        for change in range(5):  # it is amid something, as often as not
            cluster.apply(pool(namespace, strategy=("Random", "Priority")[change % 2]))
        end_s = time.monotonic() + dice.uniform(0.0, 0.4)
        eventually("its time", lambda end_s=end_s: time.monotonic() > end_s, every_s=0.01)  # type: ignore[misc]
        (frozen,) = [each for each in operators if leads(each)]
        (other,) = [each for each in operators if each is not frozen]

        os.kill(frozen.process.pid, signal.SIGSTOP)
        cluster.delete("ApiKey", namespace, f"client-{number - 1}")
        cluster.apply(key(namespace, f"client-{number}"))
        eventually("the other leads", lambda other=other: leads(other))  # type: ignore[misc]
        settled(cluster, namespace)
        before = cluster.quiet_versions(namespace)
        os.kill(frozen.process.pid, signal.SIGCONT)

        eventually("it knows", lambda frozen=frozen: not leads(frozen))  # type: ignore[misc]
        assert cluster.quiet_versions(namespace) == before
        assert cluster.is_published(namespace)
        assert leads(other)
