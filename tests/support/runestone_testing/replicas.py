"""Replicas of the admission webhook within the test, at one address: each connection of the API
server goes to the next, and serves one request, so that every request is a handshake."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509

from runestone_operator.admission.pods import PodAdmission
from runestone_operator.admission.resources import validate
from runestone_operator.admission.server import AdmissionServer
from runestone_operator.certificate.keeper import Keeper
from runestone_operator.certificate.pair import now_utc
from runestone_operator.certificate.serving import Serving
from runestone_operator.collect.cache import Cache
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube
from runestone_operator.settings import SidecarSettings, WebhookSettings
from runestone_testing.kube import OPERATOR
from runestone_testing.operators import SYSTEM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from runestone_operator.admission.review import Answer, Request
    from runestone_testing.operators import Cluster

LIFE_S = 90 * 86_400
LOOK_S = 0.1


@dataclass
class Replica:
    keeper: Keeper
    serving: Serving
    port: int = 0


class Replicas:
    """`ahead` is how far their clock is before the real one."""

    def __init__(self, cluster: Cluster, kube: Kube, *, ahead: timedelta) -> None:
        self._cluster = cluster
        self._kube = kube
        self.ahead = ahead
        self.all: list[Replica] = []
        self.port = 0
        self._turn = 0
        self._relays: set[asyncio.Task[Any]] = set()

    async def add(self, stack: contextlib.AsyncExitStack) -> Replica:
        metrics, serving = Metrics(), Serving()
        settings = WebhookSettings(
            SidecarSettings("sidecar"), hosts=("127.0.0.1",), life_s=LIFE_S, check_s=LOOK_S
        )
        keeper = Keeper(
            self._kube, settings, SYSTEM, serving, metrics, clock=lambda: now_utc() + self.ahead
        )

        async def validated(request: Request) -> Answer:
            return validate(request)

        pods = PodAdmission(Cache(), self._kube, settings.sidecar)
        server = AdmissionServer(mutate=pods.answer, validate=validated, metrics=metrics)
        server.leave()
        await keeper.look()
        port = await stack.enter_async_context(server.serve("127.0.0.1", 0, serving.context))
        looking = asyncio.create_task(keeper.serve())
        stack.push_async_callback(_ended, looking)
        self.all.append(Replica(keeper, serving, port))
        return self.all[-1]

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        self._turn += 1
        replica = self.all[self._turn % len(self.all)]
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", replica.port)
        try:
            await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        finally:
            for each in (inner_writer, writer):
                await _close(each)

    async def end(self) -> None:
        for task in list(self._relays):
            await _ended(task)

    def served(self) -> set[int]:
        """Serial numbers of the certificates in use."""
        return {
            x509.load_pem_x509_certificate(replica.serving.chain).serial_number
            for replica in self.all
        }


@asynccontextmanager
async def replicas(cluster: Cluster, count: int, *, ahead: timedelta) -> AsyncIterator[Replicas]:
    kubeconfig = str(cluster.api.kubeconfig(token=cluster.api.token_for(OPERATOR)))
    kube = await Kube.connect(kubeconfig, Metrics())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(kube.close)
        made = Replicas(cluster, kube, ahead=ahead)
        front = await asyncio.start_server(made.relay, "127.0.0.1", 0)
        await stack.enter_async_context(front)
        stack.push_async_callback(made.end)
        made.port = front.sockets[0].getsockname()[1]
        for _ in range(count):
            await made.add(stack)
        yield made


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
