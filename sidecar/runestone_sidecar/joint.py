"""What a sidecar does together with the others of its namespace, composed: by way of NATS."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from runestone_contract.names import NATS_CREDENTIALS
from runestone_sidecar.admit.route import Router
from runestone_sidecar.admit.shared_limits import SharedLimiter
from runestone_sidecar.admit.waiting import WaitingRoom
from runestone_sidecar.broker.credentials import Credentials
from runestone_sidecar.broker.ledger import KvLedger
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.monitor import Monitor
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.edge.exchange import Exchanges
from runestone_sidecar.edge.generate import SURFACES
from runestone_sidecar.overflow.service import Overflow, Terms, Work, build_overflow
from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.settings import Settings
from runestone_sidecar.telemetry.register import Register

HOLDER_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class Joint:
    settings: Settings
    registry: CollectorRegistry
    link: Link
    ledger: KvLedger
    limiter: SharedLimiter

    def start(self) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(self.ledger.run(self.limiter)),
            asyncio.create_task(self.limiter.run()),
            asyncio.create_task(self.link.run()),
        ]

    def overflow(
        self, exchanges: Exchanges, router: Router, executor: Executor, room: WaitingRoom
    ) -> Overflow:
        """A job is run, told and counted as a request is, within the same limits."""
        work = Work(
            holder=exchanges.holder,
            router=router,
            executor=executor,
            limiter=self.limiter,
            watched=room.watched,
            surfaces=SURFACES,
            close=exchanges.close,
            events=exchanges.traffic.events,
            rng=exchanges.rng,
        )
        settings = self.settings
        terms = Terms(
            at_once=settings.jobs_at_once,
            max_bytes=settings.jobs_max_bytes,
            silence_s=settings.jobs_silence_s,
            replicas=settings.nats_replicas,
            monitor=Monitor(settings.nats_monitor_urls),
            webhooks_at_once=settings.webhooks_at_once,
            guard=Guard(
                allowed=settings.webhook_allow,
                denied=settings.webhook_deny,
                own_ports=frozenset({settings.port, settings.health_port}),
            ),
        )
        return build_overflow(self.link, work, self.registry, terms)

    async def leave(self) -> None:
        """The tasks must still run."""
        await self.limiter.leave()


def build(settings: Settings, holder: Holder, registry: CollectorRegistry) -> Joint:
    link = Link(settings.nats_urls, _credentials(settings))
    ledger = KvLedger(link, replicas=settings.nats_replicas)
    limiter = SharedLimiter(
        ledger,
        secrets.token_urlsafe(HOLDER_BYTES),
        lease_s=settings.lease_s,
        sidecars=settings.replicas,
    )
    holder.on_swap(lambda snapshot: ledger.join(snapshot.namespace))
    _show(Register(registry), link, limiter)
    return Joint(settings, registry, link, ledger, limiter)


def _credentials(settings: Settings) -> Credentials:
    """The file that was named, or what the operator may have put beside the providers' keys."""
    if settings.nats_credentials:
        return Credentials(Path(settings.nats_credentials))
    return Credentials(settings.credentials_dir / NATS_CREDENTIALS, required=False)


def _show(made: Register, link: Link, limiter: SharedLimiter) -> None:
    made.gauge(
        "runestone_nats_up", "1 while there is a connection to NATS.", lambda: float(link.is_up)
    )
    made.gauge(
        "runestone_limits_shared",
        "1 while limits hold over all sidecars together, 0 while each has its part of them.",
        lambda: float(limiter.is_shared),
    )
    made.gauge(
        "runestone_limits_members",
        "Sidecars that are seen to share the limits, this one too.",
        lambda: limiter.members,
    )
    made.gauge(
        "runestone_limits_sign_age_seconds",
        "Since a sign of life of this sidecar was acknowledged; beyond RUNESTONE_LEASE_SECONDS the"
        " others take it for dead.",
        lambda: limiter.sign_age_s,
    )
    made.registry.register(_LedgerCalls(limiter))


class _LedgerCalls(Collector):
    def __init__(self, limiter: SharedLimiter) -> None:
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "runestone_limits_ledger_calls",
            "Reads and writes of who holds what of a limit; requests that waited for one.",
            labels=("call",),
        )
        for call in ("read", "write", "conflict", "waited"):
            calls.add_metric((call,), self._limiter.counts[call])
        yield calls
