"""Composition root: every object of the process is made and joined here, and nowhere else."""

import asyncio
import contextlib
import logging
import random
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import uvicorn

from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Router
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Snapshot
from runestone_sidecar.config.source import Source
from runestone_sidecar.edge.chat import ChatCompletions
from runestone_sidecar.edge.exchange import Exchanges
from runestone_sidecar.edge.health import Health
from runestone_sidecar.edge.models import Models
from runestone_sidecar.edge.protocol import Protocol
from runestone_sidecar.edge.request import App
from runestone_sidecar.edge.routes import build_api, build_health
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.settings import Settings, SettingsError
from runestone_sidecar.telemetry.log import Clock, LineWriter
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream.pool import Client

BACKLOG = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the process is made of."""

    source: Source
    holder: Holder
    traffic: Traffic
    client: Client
    lines: LineWriter
    health: Health
    api: App
    health_app: App


def build(settings: Settings) -> Parts:
    metrics = Metrics()
    holder = Holder(metrics)
    client = Client()
    load = LoadStore()
    rng = random.Random()
    lines = LineWriter()
    exchanges = Exchanges(
        holder=holder,
        traffic=metrics.traffic,
        lines=lines,
        service_account=settings.service_account,
        clock=Clock(),
        rng=rng,
    )
    chat = ChatCompletions(
        router=Router(load=load, random=rng),
        executor=Executor(client, load, metrics.traffic, rng=rng),
        max_body_bytes=settings.max_body_bytes,
    )
    health = Health(holder=holder, load=load, metrics=metrics)

    def prune(snapshot: Snapshot) -> None:
        providers = snapshot.providers()
        client.prune({provider.origin for provider in providers})
        ids = {provider.id for provider in providers}
        load.prune(ids, snapshot.pools.keys())
        if metrics.traffic.is_full:
            metrics.traffic.prune(
                keys=snapshot.principal_ids(), models=snapshot.models(), providers=ids
            )

    holder.on_swap(prune)
    return Parts(
        source=Source(settings.config_dir, settings.credentials_dir, holder),
        holder=holder,
        traffic=metrics.traffic,
        client=client,
        lines=lines,
        health=health,
        api=build_api(exchanges, chat, Models(), health),
        health_app=build_health(health),
    )


class Server(uvicorn.Server):
    """One of the process's two servers; signals are the process's business."""

    def __init__(self, app: App, settings: Settings, *, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                loop="none",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, int(settings.drain_s)),
            )
        )
        self.listener = listen(host, port)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Raises SettingsError where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


@contextlib.asynccontextmanager
async def _background(parts: Parts) -> AsyncIterator[None]:
    watch = asyncio.create_task(parts.source.watch())
    try:
        yield
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await parts.client.close()
        parts.lines.flush()


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT, and then until the requests under way are answered."""
    parts = build(settings)
    await parts.source.refresh()
    api = Server(parts.api, settings, host=settings.host, port=settings.port)
    health = Server(
        parts.health_app, settings, host=settings.health_host, port=settings.health_port
    )

    def drain() -> None:
        """Once: answer what is under way. Twice: stop now."""
        api.force_exit = parts.health.draining
        parts.health.draining = True
        api.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    async with _background(parts):
        telling = asyncio.create_task(health.serve(sockets=[health.listener]))
        log.info("API on %s, health and metrics on %s", api.address, health.address)
        await api.serve(sockets=[api.listener])  # ends when drained
        health.should_exit = True
        await telling
    log.info("drained")
