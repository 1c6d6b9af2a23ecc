"""The parts of overflow, joined: a desk for clients, and a worker that runs what was queued."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from runestone_sidecar.admit.limits import Limiter, Reservation
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
from runestone_sidecar.overflow.presence import Presence
from runestone_sidecar.overflow.principals import Principals
from runestone_sidecar.overflow.publisher import Pace, Publisher
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.webhooks.courier import Courier
from runestone_sidecar.overflow.webhooks.deliver import Delivering
from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.overflow.webhooks.post import Poster
from runestone_sidecar.overflow.webhooks.resolve import Resolver
from runestone_sidecar.overflow.webhooks.rules import Rules
from runestone_sidecar.overflow.worker import Worker
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.events import Events
from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.tunnel import ProxySettings

AWAY = "NATS is away: requests over their limit are refused instead of queued"
UNSYNCED = "NATS acknowledges what it has not synced: jobs may be lost with its machine"


@dataclass(frozen=True, slots=True)
class Work:
    """What the edge runs requests with."""

    holder: Holder
    router: Router
    executor: Executor
    limiter: Limiter
    watched: Callable[[Reservation, str], Reservation]
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
    webhooks_at_once: int
    guard: Guard


@dataclass(frozen=True, slots=True)
class Overflow:
    space: Space
    desk: Desk
    administration: Administration
    worker: Worker
    monitor: Monitor
    courier: Courier
    presence: Presence

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.space.run())
            group.create_task(self.worker.run())
            group.create_task(self.monitor.run())
            group.create_task(self.courier.run())
            group.create_task(self.presence.run())

    def leave(self) -> None:
        """Begin no more jobs."""
        self.worker.leave()
        self.courier.leave()

    async def finish(self, within_s: float) -> None:
        """What runs ends within that time, or is given back."""
        await asyncio.gather(self.worker.finish(within_s), self.courier.finish(within_s))

    def degraded(self) -> str | None:
        if not self.space.is_configured:
            return None
        if self.space.store is None:
            return AWAY
        return UNSYNCED if self.monitor.syncs is False else None


def build_overflow(link: Link, work: Work, registry: CollectorRegistry, terms: Terms) -> Overflow:
    metrics = OverflowMetrics(registry)
    streams = Streams(link)
    presence = Presence(streams, work.holder, terms.silence_s)
    space = Space(streams, work.holder, terms.max_bytes, terms.silence_s, replicas=terms.replicas)
    metrics.durable.set_function(terms.monitor.durable)
    metrics.open.set_function(lambda: space.store is not None)
    pace = Pace(at_once=max(1, terms.at_once))
    webhooks, rules = WebhookMetrics(registry), Rules(work.holder, terms.guard)
    outbox = Outbox(webhooks)
    principals = Principals(work.holder)
    tools = Tools(
        executor=work.executor,
        metrics=metrics,
        close=work.close,
        events=work.events,
        rng=work.rng,
        outbox=outbox,
        presence=presence,
        took=pace.took,
    )
    admission = Admission(
        holder=work.holder,
        router=work.router,
        limiter=work.limiter,
        surfaces=work.surfaces,
        tools=tools,
        principals=principals,
        watched=work.watched,
    )
    poster = Poster(Dialer(ProxySettings.from_env()), terms.guard, Resolver())
    return Overflow(
        space,
        Desk(space, Publisher(space, metrics, rules, outbox, terms.monitor, pace), metrics, outbox),
        Administration(space, metrics, Owners(work.holder), outbox),
        Worker(space, admission, metrics, terms.at_once, work.rng),
        terms.monitor,
        Courier(
            space=space,
            delivering=Delivering(principals, rules, poster),
            metrics=webhooks,
            events=work.events,
            at_once=terms.webhooks_at_once,
            rng=work.rng,
        ),
        presence,
    )
