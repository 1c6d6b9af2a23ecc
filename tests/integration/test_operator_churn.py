"""Many changes at once, and an operator that is killed among them."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from runestone_testing.operators import Cluster, OperatorProcess, eventually
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kube

KILLS = int(os.environ.get("RUNESTONE_KILLS", "6"))
SEED = int(os.environ.get("RUNESTONE_SEED", "1"))


class IndexWrites:
    """Counts the versions of a namespace's index, as a watch shows them."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        index = cluster.get("ConfigMap", namespace, "runestone-config")
        self._since = index["metadata"]["resourceVersion"] if index else "0"
        self._cluster = cluster
        self._path = cluster.path("ConfigMap", namespace)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.versions: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _watch(self) -> None:
        params = {
            "watch": "true",
            "timeoutSeconds": "12",
            "resourceVersion": self._since,
            "fieldSelector": "metadata.name=runestone-config",
        }
        with self._cluster.client.stream("GET", self._path, params=params) as events:
            for line in events.iter_lines():
                self.versions.append(json.loads(line)["object"]["metadata"]["resourceVersion"])


def test_D13_of_200_changes_in_a_second_the_last_state_wins(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    cluster.apply(secret(namespace, "given", api_key="sk-rs-" + "0" * 43))
    for number in range(200):
        cluster.apply(key(namespace, f"client-{number}"))
    eventually("published", lambda: cluster.is_published(namespace))
    cluster.quiet_versions(namespace)

    with IndexWrites(cluster, namespace) as writes:
        began_s = time.monotonic()
        for number in range(200):
            change = {"spec": {"tenant": f"tenant-{number}"}}
            cluster.patch("ApiKey", namespace, f"client-{number}", change)
        took_s = time.monotonic() - began_s
        eventually("published", lambda: cluster.is_published(namespace))

    assert '"tenant":"tenant-199"' in "".join(cluster.files(namespace).values())
    allowed = 5 * max(1.0, took_s)  # on a busy machine the changes take longer than a second
    assert 1 <= len(writes.versions) <= allowed, (writes.versions, took_s)


class Churn:
    """Changes resources of a namespace without a pause, by a seed; every state can be compiled."""

    def __init__(self, cluster: Cluster, namespace: str, dice: random.Random) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._dice = dice
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.changes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._dice.uniform(0, 0.05)):
            self._dice.choice([self._key, self._pool, self._secret, self._policy])()
            self.changes += 1

    def _key(self) -> None:
        name = f"client-{self._dice.randrange(20)}"
        if self._dice.random() < 0.3:
            self._cluster.delete("ApiKey", self._namespace, name)
            # No controller collects here what an owner leaves behind.
            self._cluster.delete("Secret", self._namespace, f"{name}-api-key")
        else:
            self._cluster.apply(key(self._namespace, name, tenant=f"t{self._dice.random()}"))

    def _pool(self) -> None:
        model = self._dice.choice(["gpt-4o", "gpt-4o-mini"])
        self._cluster.apply(pool(self._namespace, model=model))

    def _secret(self) -> None:
        self._cluster.apply(secret(self._namespace, api_key=f"sk-{self._dice.random()}"))

    def _policy(self) -> None:
        name = f"policy-{self._dice.randrange(3)}"
        self._cluster.apply(
            policy(self._namespace, name, policy=self._dice.choice(["Cost", "Default"]))
        )


@pytest.mark.timeout(60 + 10 * KILLS)
def test_D15_killed_in_churn_it_leaves_nothing_behind(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    for document in (secret(namespace), pool(namespace), policy(namespace, "policy-0")):
        cluster.apply(document)
    with Churn(cluster, namespace, random.Random(SEED + 1)) as churn:
        for number in range(KILLS):
            with OperatorProcess(cluster, tmp_path / f"log-{number}") as victim:
                eventually("started", lambda victim=victim: victim.port)  # type: ignore[misc]
                end_s = time.monotonic() + dice.uniform(0.2, 2.5)
                eventually("its time", lambda end_s=end_s: time.monotonic() > end_s, every_s=0.01)  # type: ignore[misc]
                victim.stop(signal.SIGKILL)
    assert churn.changes > KILLS

    with OperatorProcess(cluster, tmp_path / "log") as survivor:
        survivor.wait_until_ready()
        eventually("published", lambda: cluster.is_published(namespace))
        cluster.quiet_versions(namespace)
        assert cluster.is_published(namespace)
        names = {item["metadata"]["name"] for item in cluster.list("ConfigMap", namespace)}
        assert names == {"runestone-config", "runestone-config-0"}
        keys = {item["metadata"]["name"] for item in cluster.list("ApiKey", namespace)}
        made = {
            item["metadata"]["name"].removesuffix("-api-key")
            for item in cluster.list("Secret", namespace)
            if item["metadata"]["name"].startswith("client-")
        }
        assert made >= keys
