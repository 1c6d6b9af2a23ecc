"""Client keys are replaced: asked for or by themselves, once for each wish, with nobody refused."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from runestone_contract.bundle import BundleError, decode
from runestone_testing.application import Application
from runestone_testing.echo import running_echo
from runestone_testing.kubelet import Kubelet
from runestone_testing.operators import Cluster, OperatorProcess, eventually, settled
from runestone_testing.resources import key, policy, pool, secret
from runestone_testing.sidecar_health import free_shared_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runestone_testing.echo import Echo

pytestmark = pytest.mark.kube

KILLS = int(os.environ.get("RUNESTONE_KILLS", "4"))
SEED = int(os.environ.get("RUNESTONE_SEED", "1"))
ROTATE, MADE_AT = "runestone.dev/rotate", "runestone.dev/key-made-at"
NAME = "client-api-key"
ENV = {
    "containers": [
        {
            "name": "app",
            "image": "app",
            "env": [
                {
                    "name": "OPENAI_API_KEY",
                    "valueFrom": {"secretKeyRef": {"name": NAME, "key": "api-key"}},
                }
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with running_echo(keep_bodies=False) as made:
        yield made


@pytest.fixture(scope="module")
def health_port() -> int:
    return free_shared_port()


@pytest.fixture
def start(
    cluster: Cluster, tmp_path: Path, health_port: int
) -> Iterator[Callable[[], OperatorProcess]]:
    running: list[OperatorProcess] = []

    def start_one() -> OperatorProcess:
        env = {"RUNESTONE_SIDECAR_PORT": str(health_port)}
        process = OperatorProcess(cluster, tmp_path / f"log-{len(running)}", env=env)
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.stop()


@pytest.fixture
def kubelet(
    cluster: Cluster, namespace: str, tmp_path: Path, health_port: int
) -> Iterator[Kubelet]:
    with Kubelet(cluster, namespace, tmp_path, health_port=health_port) as made:
        yield made


def fill(cluster: Cluster, namespace: str, echo: Echo, **rotation: str) -> None:
    """`rotation` is the ApiKey's."""
    provider = pool(namespace)["spec"]["providers"][0] | {"baseURL": echo.url}
    for document in (secret(namespace), policy(namespace), pool(namespace, providers=[provider])):
        cluster.apply(document)
    cluster.apply(key(namespace, rotation=rotation))


def wish(cluster: Cluster, namespace: str, value: str) -> None:
    patch = {"metadata": {"annotations": {ROTATE: value}}}
    cluster.patch("ApiKey", namespace, "client", patch)


def key_of(cluster: Cluster, namespace: str) -> str:
    return cluster.secret_values(namespace, NAME)["api-key"].decode()


def status_of(cluster: Cluster, namespace: str) -> dict[str, Any]:
    status: dict[str, Any] = (cluster.get("ApiKey", namespace, "client") or {})["status"]
    return status


def hashes(cluster: Cluster, namespace: str) -> int:
    """That are let in, of the one ApiKey that there is; -1 while it is being written."""
    files = {name: text.encode() for name, text in cluster.files(namespace).items()}
    try:
        return sum(len(record.hashes) for record in decode(files).keys)
    except BundleError:
        return -1


def test_B10_both_keys_work_while_they_overlap(
    cluster: Cluster,
    namespace: str,
    echo: Echo,
    start: Callable[[], OperatorProcess],
    kubelet: Kubelet,
) -> None:
    operator = start().wait_until_ready()
    fill(cluster, namespace, echo, overlap="4s")
    settled(cluster, namespace)
    sidecar = kubelet.start("app", 2, **ENV)
    settled(cluster, namespace)
    old = key_of(cluster, namespace)

    by_env = Application(sidecar, lambda: old)
    by_file = Application(sidecar, lambda: key_of(cluster, namespace))
    with by_env, by_file:
        eventually("they are served", lambda: by_env.outcomes()[200] and by_file.outcomes()[200])
        wish(cluster, namespace, "now")
        eventually("the new key is used", lambda: len(by_file.keys) == 2)
        until = eventually(
            "told", lambda: status_of(cluster, namespace).get("previousKeyExpiresAt")
        )
        eventually("the old one is out", lambda: by_env.answers[-1][1] == 401)
        eventually("it is forgotten", lambda: hashes(cluster, namespace) == 1)
        eventually(
            "and no more told of",
            lambda: "previousKeyExpiresAt" not in status_of(cluster, namespace),
        )

    until_s = time.mktime(time.strptime(until, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert set(by_file.outcomes()) == {200}
    assert set(by_env.outcomes(until_s=until_s - 0.1)) == {200}
    assert set(by_env.outcomes(since_s=until_s)) == {401}
    new = key_of(cluster, namespace)
    assert new != old and status_of(cluster, namespace)["keyPrefix"] == new[:10]
    told = {
        (item["regarding"]["kind"], item["type"]): item["note"]
        for item in cluster.list("Event", namespace)
        if item["reason"] == "KeyRotated"
    }
    assert told == {
        ("ApiKey", "Normal"): f"Secret {NAME} holds a new key; the one before works until {until};"
        " to be restarted before, for they hold it in their environment: app",
        ("Pod", "Warning"): f"the key of Secret {NAME} was replaced, and this pod holds the old one"
        f" in its environment: it works until {until}; restart the pod before",
    }
    assert operator.metric('runestone_operator_key_rotations_total{cause="annotation"}') == 1

    wish(cluster, namespace, "now")
    cluster.apply(key(namespace, displayName="changed", rotation={"overlap": "4s"}))
    settled(cluster, namespace)
    assert key_of(cluster, namespace) == new


def test_revocation_ends_the_old_key_too(
    cluster: Cluster,
    namespace: str,
    echo: Echo,
    start: Callable[[], OperatorProcess],
    kubelet: Kubelet,
) -> None:
    start().wait_until_ready()
    fill(cluster, namespace, echo)
    settled(cluster, namespace)
    sidecar = kubelet.start("app", 2)
    old = key_of(cluster, namespace)
    wish(cluster, namespace, "now")
    eventually("rotated", lambda: hashes(cluster, namespace) == 2 and key_of(cluster, namespace))
    new = eventually("new", lambda: (now := key_of(cluster, namespace)) != old and now)

    def statuses() -> set[int]:
        url = f"{sidecar.base_url}/models"
        return {
            httpx.get(url, headers={"Authorization": f"Bearer {each}"}, trust_env=False).status_code
            for each in (old, new)
        }

    eventually("both work", lambda: statuses() == {200})

    cluster.apply(key(namespace, enabled=False))
    eventually("disabled", lambda: statuses() == {401})
    cluster.apply(key(namespace, enabled=True))
    eventually("both work again", lambda: statuses() == {200})
    cluster.delete("ApiKey", namespace, "client")
    eventually("deleted", lambda: statuses() == {401})


def test_an_interval_replaces_it_by_itself(
    cluster: Cluster, namespace: str, echo: Echo, start: Callable[[], OperatorProcess]
) -> None:
    operator = start().wait_until_ready()
    fill(cluster, namespace, echo, interval="720h", overlap="0s")
    settled(cluster, namespace)
    first = key_of(cluster, namespace)

    made_at = {"metadata": {"annotations": {MADE_AT: "2026-01-01T00:00:00Z"}}}
    cluster.patch("Secret", namespace, NAME, made_at)

    eventually("replaced", lambda: key_of(cluster, namespace) != first)
    settled(cluster, namespace)
    assert hashes(cluster, namespace) == 1
    second = cluster.quiet_versions(namespace)
    assert operator.metric('runestone_operator_key_rotations_total{cause="interval"}') == 1
    assert second == cluster.versions(namespace)


def test_a_key_that_may_not_be_replaced_is_told_and_stops_no_other(
    cluster: Cluster, namespace: str, echo: Echo, start: Callable[[], OperatorProcess]
) -> None:
    start().wait_until_ready()
    fill(cluster, namespace, echo)
    cluster.apply(key(namespace, "other"))
    settled(cluster, namespace)
    cluster.patch("Secret", namespace, NAME, {"immutable": True})
    kept, before = key_of(cluster, namespace), cluster.secret_values(namespace, "other-api-key")

    for name in ("client", "other"):
        patch = {"metadata": {"annotations": {ROTATE: "now"}}}
        cluster.patch("ApiKey", namespace, name, patch)

    def told() -> list[str]:
        events = cluster.list("Event", namespace)
        return [item["note"] for item in events if item["reason"] == "KeyNotReplaced"]

    assert eventually("it is told", told) == [
        f"a new key is due, and cannot be written: patch Secret {namespace}/secrets/{NAME}:"
        " Invalid (422); the one there is works on"
    ]
    other = "other-api-key"
    eventually("replaced", lambda: cluster.secret_values(namespace, other) != before)
    assert key_of(cluster, namespace) == kept

    cluster.delete("Secret", namespace, NAME)
    eventually("made anew", lambda: cluster.get("Secret", namespace, NAME))
    eventually("it is published", lambda: cluster.is_published(namespace))


class SecretVersions:
    """Every value that a Secret's key ever has, as a watch shows them."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.keys: list[str] = []
        self._cluster, self._namespace = cluster, namespace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SecretVersions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            now = hashlib.sha256(key_of(self._cluster, self._namespace).encode()).hexdigest()
            if not self.keys or self.keys[-1] != now:
                self.keys.append(now)


@pytest.mark.timeout(60 + 20 * KILLS)
def test_killed_while_it_rotates_it_does_so_once_for_each_wish(
    cluster: Cluster, namespace: str, echo: Echo, start: Callable[[], OperatorProcess]
) -> None:
    dice = random.Random(SEED)
    fill(cluster, namespace, echo)
    start().wait_until_ready()
    settled(cluster, namespace)
    operator = start().wait_until_ready()
    with SecretVersions(cluster, namespace) as versions:
        for number in range(KILLS):
            before = len(versions.keys)
            wish(cluster, namespace, f"wish {number}")
            end_s = time.monotonic() + dice.uniform(0.0, 0.6)
            eventually("its time", lambda end_s=end_s: time.monotonic() > end_s, every_s=0.01)  # type: ignore[misc]
            operator.stop(signal.SIGKILL)
            operator = start().wait_until_ready()
            eventually("replaced", lambda before=before: len(versions.keys) > before)  # type: ignore[misc]
        settled(cluster, namespace)
        cluster.quiet_versions(namespace)
    assert len(versions.keys) == len(set(versions.keys)) == KILLS + 1
    assert hashes(cluster, namespace) == KILLS + 1
