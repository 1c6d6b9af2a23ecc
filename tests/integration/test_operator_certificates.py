"""The webhook's certificate on a real API server: made once, trusted, rotated, put right."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from runestone_operator.certificate.pair import make_pair, now_utc
from runestone_testing.kube import OPERATOR
from runestone_testing.operators import SYSTEM, Cluster, OperatorProcess, eventually
from runestone_testing.replicas import LIFE_S, Replicas, replicas
from runestone_testing.run_command import free_port
from runestone_testing.webhooks import (
    CERT_SECRET,
    INJECTOR,
    VALIDATION,
    configurations,
    create,
    has_sidecar,
    install,
    labelled,
    trusted,
    until_called,
    webhook_env,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kube

Document = dict[str, Any]


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """Each test begins without webhooks and without a certificate."""
    yield
    cluster.delete(*INJECTOR)
    cluster.delete(*VALIDATION)
    cluster.delete("Secret", SYSTEM, CERT_SECRET)


def secret(cluster: Cluster) -> dict[str, bytes]:
    return cluster.secret_values(SYSTEM, CERT_SECRET)


async def until(happened: Callable[[], object], *, within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(happened):
            await asyncio.sleep(0.05)


class Stream:
    """Creations of pods without a pause, and how many of them came out without a sidecar."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._pod = labelled(namespace, "a", key="app")
        self._path = cluster.path("Pod", namespace)
        self._client = httpx.AsyncClient(
            base_url=cluster.api.url,
            verify=ssl.create_default_context(cafile=str(cluster.api.ca_file)),
            headers={"Authorization": f"Bearer {cluster.api.admin_token}"},
            timeout=30,
            trust_env=False,
        )
        self.made = self.bare = 0

    async def flow(self) -> None:
        async with self._client as client:
            while True:
                answer = await client.post(self._path, params={"dryRun": "All"}, json=self._pod)
                assert answer.status_code == 201
                self.made += 1
                self.bare += not has_sidecar(answer.json())

    async def until_more(self, count: int) -> None:
        target = self.made + count
        await until(lambda: self.made >= target)


async def test_a_certificate_is_rotated_under_a_stream_of_pods(
    cluster: Cluster, namespace: str
) -> None:
    async with replicas(cluster, 2, ahead=-timedelta(seconds=LIFE_S * 0.7)) as running:
        await asyncio.to_thread(install, cluster, running.port)
        await asyncio.to_thread(until_called, cluster, namespace)
        stream, (old,) = Stream(cluster, namespace), running.served()
        async with asyncio.TaskGroup() as tasks:
            flowing = tasks.create_task(stream.flow())
            await stream.until_more(10)
            running.ahead = timedelta(0)  # it is due

            await until(lambda: len(running.served()) == 1 and old not in running.served())
            await until(lambda: "previous-ca.crt" in secret(cluster))
            await stream.until_more(30)
            flowing.cancel()
        assert stream.made >= 40
        assert stream.bare == 0
        stored = secret(cluster)
        assert "next-tls.key" not in stored
        assert trusted(cluster) == stored["ca.crt"] + stored["previous-ca.crt"]


async def test_replicas_agree_on_one_certificate(cluster: Cluster) -> None:
    async with replicas(cluster, 0, ahead=timedelta(0)) as running:
        await asyncio.gather(*(add_to(running) for _ in range(4)))
        assert len(running.served()) == 1


async def add_to(running: Replicas) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await running.add(stack)


@pytest.fixture
def port() -> int:
    return free_port()


def test_other_names_are_a_reason_to_rotate(
    cluster: Cluster, namespace: str, port: int, tmp_path: Path
) -> None:
    install(cluster, port)
    with OperatorProcess(cluster, tmp_path / "named", env=webhook_env(port)) as operator:
        operator.wait_until_ready()
        before = secret(cluster)["ca.crt"]
    env = webhook_env(port, WEBHOOK_HOSTS="127.0.0.1,webhook.example")
    with OperatorProcess(cluster, tmp_path / "renamed", env=env) as operator:
        operator.wait_until_ready()
        eventually("rotated", lambda: secret(cluster)["ca.crt"] != before)
        assert secret(cluster)["previous-ca.crt"] == before
        until_called(cluster, namespace)


def test_a_mounted_certificate_is_served_and_read_again(
    cluster: Cluster, namespace: str, port: int, tmp_path: Path
) -> None:
    """As cert-manager keeps one: neither a Secret nor a configuration is touched."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    documents = configurations(port)

    def renew() -> None:
        pair = make_pair(["127.0.0.1"], now=now_utc(), life_s=3600)
        (mounted / "tls.key").write_bytes(pair.key)  # for an instant they do not fit
        (mounted / "tls.crt").write_bytes(pair.cert)
        for document in documents:
            for hook in document["webhooks"]:
                hook["clientConfig"]["caBundle"] = base64.b64encode(pair.ca).decode()
            cluster.apply(document)

    renew()
    env = webhook_env(port, WEBHOOK_CERT_DIR=str(mounted))
    with OperatorProcess(cluster, tmp_path / "log", env=env) as operator:
        operator.wait_until_ready()
        for _ in range(2):
            until_called(cluster, namespace)
            first = cluster.get(*INJECTOR)
            assert has_sidecar(
                create(cluster, labelled(namespace, "a", key="app"), dry_run=True).json()
            )
            assert cluster.get(*INJECTOR) == first
            renew()
        until_called(cluster, namespace)
        assert cluster.get("Secret", SYSTEM, CERT_SECRET) is None


def test_the_role_allows_its_own_webhooks_and_no_other(cluster: Cluster, port: int) -> None:
    for document in configurations(port):
        document["metadata"]["name"] = "somebody-elses"
        cluster.apply(document)
    token = cluster.api.token_for(OPERATOR)
    for place in (INJECTOR, VALIDATION):
        path = cluster.path(place[0], None, "somebody-elses")
        answer = cluster.client.patch(
            path,
            json={"webhooks": []},
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/merge-patch+json",
            },
        )
        assert answer.status_code == 403
        cluster.delete(place[0], None, "somebody-elses")
