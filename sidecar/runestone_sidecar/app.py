"""Composition root: every object of the process is made and joined here, and nowhere else."""

import asyncio
import contextlib
import logging
import math
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.local_limits import LocalLimiter
from runestone_sidecar.admit.plugin import Authenticator, load_plugins
from runestone_sidecar.admit.route import Router
from runestone_sidecar.admit.waiting import WaitingRoom
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Snapshot
from runestone_sidecar.config.source import Source
from runestone_sidecar.edge.bodies import Bodies, BodyBounds
from runestone_sidecar.edge.bounds import Bounds
from runestone_sidecar.edge.count import TokenCount
from runestone_sidecar.edge.estimate import CostEstimate
from runestone_sidecar.edge.exchange import Exchanges
from runestone_sidecar.edge.generate import SURFACES, Generation
from runestone_sidecar.edge.health import Health
from runestone_sidecar.edge.jobs import Jobs
from runestone_sidecar.edge.jobs_admin import JobsAdmin
from runestone_sidecar.edge.models import Models
from runestone_sidecar.edge.passthrough import PassThrough
from runestone_sidecar.edge.provider_gauges import ProviderGauges
from runestone_sidecar.edge.queued import Queue
from runestone_sidecar.edge.request import App
from runestone_sidecar.edge.routes import build_api, build_health
from runestone_sidecar.edge.server import BACKLOG, Server, api_bounds, lift_file_limit
from runestone_sidecar.edge.usage import UsageReport
from runestone_sidecar.pipeline.checks import HealthChecks
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.forward import Destinations, Forwarder
from runestone_sidecar.settings import Settings, SettingsError
from runestone_sidecar.telemetry.audit import AuditLog, open_audit
from runestone_sidecar.telemetry.audit_file import AuditUnavailable
from runestone_sidecar.telemetry.log import Clock, LineWriter
from runestone_sidecar.telemetry.memory import give_back_when_idle
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS

if TYPE_CHECKING:
    from runestone_sidecar.admit.limits import Limiter
    from runestone_sidecar.joint import Joint
    from runestone_sidecar.overflow.service import Overflow

TELLING_S = 1  # how long a scrape may outlast the last request
MAX_PROBES = 32  # connections to the health port

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the process is made of."""

    source: Source
    holder: Holder
    traffic: Traffic
    bodies: Bodies
    client: Client
    lines: LineWriter
    audit: AuditLog | None
    checks: HealthChecks
    health: Health
    room: WaitingRoom
    api: App
    health_app: App
    joint: "Joint | None"  # with the namespace's other sidecars; None: by itself
    overflow: "Overflow | None"  # what is answered later, where there is NATS


def build(settings: Settings) -> Parts:
    metrics = Metrics()
    holder = Holder(metrics)
    client = Client()
    load = LoadStore()
    joint = build_joint(settings, holder, metrics.registry)
    limiter: Limiter = joint.limiter if joint else LocalLimiter()
    room = WaitingRoom(metrics.waits, max_bytes=settings.max_waiting_bytes)
    rng = random.Random()
    lines = LineWriter()
    exchanges = Exchanges(
        holder=holder,
        traffic=metrics.traffic,
        lines=lines,
        authenticator=Authenticator(settings.service_account, load_plugins(settings.auth_plugins)),
        clock=Clock(),
        rng=rng,
        audit=_audit_log(settings, metrics),
    )
    router = Router(load=load, random=rng)
    queue = Queue(limiter, room, exchanges.caller_of)
    executor = Executor(client, load, metrics.traffic, rng=rng)
    bodies = Bodies(
        BodyBounds(
            body_bytes=settings.max_body_bytes,
            values=settings.max_json_values,
            held_bytes=settings.max_held_bytes,
        )
    )
    overflow = joint.overflow(exchanges, router, executor, room) if joint else None
    desk = overflow.desk if overflow else None
    generations = {
        path: Generation(surface, router, executor, queue, bodies, desk)
        for path, surface in SURFACES.items()
    }
    usage = UsageReport(metrics.traffic, limiter, int(time.time()))
    others = {
        "/v1/models": ("GET", Models().answer, OPENAI_CHAT),
        "/v1/usage": ("GET", usage.answer, OPENAI_CHAT),
        "/v1/cost/estimate": ("POST", CostEstimate(router, bodies).answer, OPENAI_CHAT),
        "/v1/messages/count_tokens": (
            "POST",
            TokenCount(router, executor, bodies).answer,
            COUNT_TOKENS,
        ),
    }
    passthrough = PassThrough(
        Destinations(router),
        Forwarder(client, load, metrics.traffic, rng=rng),
        queue,
        bodies,
    )
    checks = HealthChecks(client, load, metrics.traffic, rng=rng)
    metrics.registry.register(ProviderGauges(holder, load))
    health = Health(holder=holder, load=load, metrics=metrics)
    jobs = Jobs(overflow.desk, JobsAdmin(overflow.administration)) if overflow else None
    if overflow is not None:
        health.degraded = overflow.degraded

    def prune(snapshot: Snapshot) -> None:
        providers = snapshot.providers()
        client.prune({provider.origin for provider in providers})
        ids = {provider.id for provider in providers}
        load.follow(providers, snapshot.models())
        limiter.prune(snapshot.principal_ids())
        metrics.waits.prune(snapshot.principal_ids())
        room.look_again()
        if metrics.traffic.is_full:
            metrics.traffic.prune(
                keys=snapshot.principal_ids(), models=snapshot.models(), providers=ids
            )

    holder.on_swap(prune)
    holder.on_swap(checks.follow)
    return Parts(
        source=Source(settings.config_dir, settings.credentials_dir, holder),
        holder=holder,
        traffic=metrics.traffic,
        bodies=bodies,
        client=client,
        lines=lines,
        audit=exchanges.audit,
        checks=checks,
        health=health,
        room=room,
        api=build_api(exchanges, generations, others, passthrough.answer, health, jobs=jobs),
        health_app=build_health(health),
        joint=joint,
        overflow=overflow,
    )


def _audit_log(settings: Settings, metrics: Metrics) -> AuditLog | None:
    """Raises SettingsError."""
    with _of_the_audit_setting():
        return open_audit(settings.audit, metrics.audit_records)


@contextlib.contextmanager
def _of_the_audit_setting() -> Iterator[None]:
    try:
        yield
    except AuditUnavailable as error:
        raise SettingsError(f"RUNESTONE_AUDIT: {error.reason}") from error


def build_joint(settings: Settings, holder: Holder, registry: CollectorRegistry) -> "Joint | None":
    if not settings.nats_urls:
        return None
    # Megabytes that a sidecar by itself need not pay.
    from runestone_sidecar import joint  # noqa: PLC0415

    return joint.build(settings, holder, registry)


@contextlib.asynccontextmanager
async def _background(parts: Parts) -> AsyncIterator[None]:
    traffic, audit = parts.traffic, parts.audit
    if audit is not None:
        with _of_the_audit_setting():
            audit.begin()
    tasks = [
        asyncio.create_task(parts.source.watch()),
        asyncio.create_task(parts.checks.run()),
        asyncio.create_task(give_back_when_idle(lambda: traffic.in_flight, lambda: traffic.served)),
    ]
    if audit is not None:
        tasks.append(asyncio.create_task(audit.keep_synced()))
    if parts.joint is not None:
        tasks += parts.joint.start()
    if parts.overflow is not None:
        tasks.append(asyncio.create_task(parts.overflow.run()))
    try:
        yield
    finally:
        if parts.joint is not None:
            await parts.joint.leave()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.client.close()
        parts.lines.flush()
        if audit is not None:
            audit.close()


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT, and then until the requests under way are answered."""
    lift_file_limit()
    parts = build(settings)
    until_s = math.inf  # when the time to drain is over
    api = Server(
        parts.api,
        host=settings.host,
        port=settings.port,
        drain_s=settings.drain_s,
        bounds=api_bounds(settings),
        refused=parts.traffic.refused,
    )
    health = Server(
        parts.health_app,
        host=settings.health_host,
        port=settings.health_port,
        drain_s=TELLING_S,
        bounds=Bounds(connections=MAX_PROBES),
    )

    def drain() -> None:
        """Once: answer what is under way. Twice: stop now."""
        nonlocal until_s
        until_s = min(until_s, loop.time() + settings.drain_s)
        api.force_exit = parts.health.draining
        parts.health.draining = True
        parts.room.close()
        api.should_exit = True
        if parts.overflow is not None:
            parts.overflow.leave()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    await parts.source.refresh()  # thousands of keys take a while, and SIGTERM may come meanwhile
    async with _background(parts):
        telling = asyncio.create_task(health.serve(sockets=[health.listener]))
        for server in (api, health):
            server.listener.listen(BACKLOG)  # by now: who reads the next line may call at once
        log.info("API on %s, health and metrics on %s", api.address, health.address)
        await api.serve(sockets=[api.listener])  # ends when drained
        if parts.overflow is not None:
            await parts.overflow.finish(0.0 if api.force_exit else until_s - loop.time())
        await api.cut()
        health.should_exit = True
        await telling
    log.info("drained")
