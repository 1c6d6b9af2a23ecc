"""The parts of overflow, joined: a desk for clients, and a worker that runs what was queued."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from runestone_sidecar.admit.limits import Limiter
from runestone_sidecar.admit.route import Router
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.monitor import Monitor
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.administration import Administration, Owners
from runestone_sidecar.overflow.admission import Admission
from runestone_sidecar.overflow.attempt import Tools
from runestone_sidecar.overflow.desk import Desk
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.publisher import Pace, Publisher
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.worker import Worker
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.events import Events
from runestone_sidecar.upstream.surfaces.base import Surface

AWAY = "NATS is away: requests over their limit are refused instead of queued"
UNSYNCED = "NATS acknowledges what it has not synced: jobs may be lost with its machine"


@dataclass(frozen=True, slots=True)
class Work:
    """What the edge runs requests with."""

    holder: Holder
    router: Router
    executor: Executor
    limiter: Limiter
    surfaces: Mapping[str, Surface]
    close: Callable[[Record], None]
    events: Events
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Terms:
    at_once: int
    max_bytes: int
    silence_s: float
    replicas: int
    monitor: Monitor


@dataclass(frozen=True, slots=True)
class Overflow:
    space: Space
    desk: Desk
    administration: Administration
    worker: Worker
    monitor: Monitor

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.space.run())
            group.create_task(self.worker.run())
            group.create_task(self.monitor.run())

    def leave(self) -> None:
        """Begin no more jobs."""
        self.worker.leave()

    async def finish(self, within_s: float) -> None:
        """Those that run end within that time, or are given back."""
        await self.worker.finish(within_s)

    def degraded(self) -> str | None:
        if not self.space.is_configured:
            return None
        if self.space.store is None:
            return AWAY
        return UNSYNCED if self.monitor.syncs is False else None


def build_overflow(link: Link, work: Work, registry: CollectorRegistry, terms: Terms) -> Overflow:
    metrics = OverflowMetrics(registry)
    space = Space(
        Streams(link), work.holder, terms.max_bytes, terms.silence_s, replicas=terms.replicas
    )
    metrics.durable.set_function(terms.monitor.durable)
    metrics.open.set_function(lambda: space.store is not None)
    pace = Pace(at_once=max(1, terms.at_once))
    tools = Tools(work.executor, metrics, work.close, work.events, work.rng, pace.took)
    admission = Admission(work.holder, work.router, work.limiter, work.surfaces, tools)
    return Overflow(
        space,
        Desk(space, Publisher(space, metrics, pace), metrics),
        Administration(space, metrics, Owners(work.holder)),
        Worker(space, admission, metrics, terms.at_once, work.rng),
        terms.monitor,
    )
