"""Puts the operator together and takes it apart again: health, CRDs, Kopf, and our own tasks."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import kopf

from runestone_contract.names import MANAGED_BY
from runestone_operator.admission.service import Admission
from runestone_operator.collect.cache import Cache
from runestone_operator.errors import WatchEndedError
from runestone_operator.handlers import Ears, build_registry
from runestone_operator.metrics import Metrics
from runestone_operator.nats.link import Link
from runestone_operator.nats.server import Server
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.nats_trust import Trustee
from runestone_operator.publish.sidecars import Sidecars
from runestone_operator.reconcile.accounts import Accounts
from runestone_operator.reconcile.reconciler import Reconciler
from runestone_operator.reconcile.state import World
from runestone_operator.settings import Settings
from runestone_operator.watch.canary import Canary, Patience, sing
from runestone_operator.watch.crds import wait_for_crds
from runestone_operator.watch.discovery import sidecar_targets
from runestone_operator.watch.election import Election, Terms
from runestone_operator.watch.health import serve_health
from runestone_operator.watch.resync import Resync
from runestone_operator.watch.streams import SELECTORS, kopf_settings
from runestone_operator.watch.trust import keep_trust, try_once
from runestone_operator.watch.watchdog import Watchdog

log = logging.getLogger(__name__)

DRAIN_S: Final = 10.0

# Else Kopf asks for the user's name, and in an image nobody has one.
_KOPF_IDENTITY: Final[Any] = MANAGED_BY

Work = Coroutine[None, None, None]


async def run_operator(settings: Settings) -> None:
    """Returns when asked to stop. That it raises means that only a new start can help."""
    metrics = Metrics()
    kube = await Kube.connect(settings.kubeconfig, metrics)
    try:
        await Operator(settings, kube, metrics).run()
    finally:
        await kube.close()


@dataclass(frozen=True, slots=True)
class _Nats:
    """What keeps the accounts of a NATS server."""

    trustee: Trustee
    link: Link
    accounts: Accounts


class Operator:
    def __init__(self, settings: Settings, kube: Kube, metrics: Metrics) -> None:
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._stop = asyncio.Event()
        patience = Patience(settings.canary_s, settings.silence_s, settings.outage_s)
        self._canary = Canary(settings.namespace, patience)
        self._cache = Cache()
        self._resync: Resync | None = None
        webhook = settings.webhook
        self._admission = Admission(settings, webhook, kube) if webhook else None
        self._election = _election(settings, kube, metrics)

    async def run(self) -> None:
        self._catch_signals()
        async with contextlib.AsyncExitStack() as health:
            port = await health.enter_async_context(self._health())
            log.info("started", extra={"port": port, "namespace": self._settings.namespace})
            await self._first_of(wait_for_crds(self._kube, self._canary))
            if not self._stop.is_set():
                await self._serve(health)
        log.info("stopped")

    async def _serve(self, health: contextlib.AsyncExitStack) -> None:
        async with Sidecars(self._settings.sidecar_port) as sidecars:
            world, nats = self._world()
            reconciler = Reconciler(world, sidecars, nats.accounts if nats else None)
            self._resync = resync = Resync(
                self._kube, world.cache, reconciler.note, selectors=SELECTORS, metrics=world.metrics
            )
            stop_kopf, ours = asyncio.Event(), asyncio.all_tasks()
            watches = await self._start_kopf(Ears(reconciler, self._canary, resync), stop_kopf)
            try:
                work = self._work(world, reconciler, resync, nats)
                await self._first_of(_outlive(watches), work, drain=lambda: self._drain(reconciler))
            finally:
                # Kopf goes last: in its end it cancels every task that it finds on the loop.
                await health.aclose()
                stop_kopf.set()
                with contextlib.suppress(Exception):
                    await kopf.run_tasks(watches, ignored=ours)

    def _world(self) -> "tuple[World, _Nats | None]":
        settings, cache = self._settings, self._cache
        kube = self._kube.fenced(self._may_write)
        if not settings.nats_urls:
            return World(kube, cache, self._metrics), None
        trustee = Trustee(kube, cache, namespace=settings.namespace, folder=settings.nats_folder)
        world = World(kube, cache, self._metrics, trust=lambda: trustee.trust)
        link = Link(settings.nats_urls, world.trust)
        server = Server(link, settings.nats_limits, may_write=self._may_write)
        accounts = Accounts(world, server, period_s=settings.resync_s)
        link.follow(self._metrics.nats_up.set)
        link.follow(accounts.connected)
        return world, _Nats(trustee, link, accounts)

    async def _start_kopf(self, ears: Ears, stop: asyncio.Event) -> Collection[asyncio.Task[None]]:
        watches = await kopf.spawn_tasks(
            registry=build_registry(ears, in_cluster=self._settings.kubeconfig is None),
            settings=kopf_settings(),
            standalone=True,
            identity=_KOPF_IDENTITY,
            clusterwide=True,
            stop_flag=stop,
        )
        self._catch_signals()  # Kopf has put its own in their place
        return watches

    async def _work(
        self, world: World, reconciler: Reconciler, resync: Resync, nats: "_Nats | None"
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sing(self._canary, self._kube, self._metrics))
            if self._admission is not None:
                tasks.create_task(self._admission.serve(world.cache, world.metrics))
            await resync.wait_until_whole()
            log.info("ready")
            tasks.create_task(self._take_part(world, reconciler, nats))
            tasks.create_task(resync.serve(self._settings.resync_s))

    async def _drain(self, reconciler: Reconciler) -> None:
        lingering = [self._admission.drain()] if self._admission is not None else []
        await asyncio.gather(self._hand_over(reconciler), *lingering, return_exceptions=True)

    async def _hand_over(self, reconciler: Reconciler) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reconciler.drain(), DRAIN_S)
        if self._election is not None:
            await self._election.withdraw()

    async def _take_part(self, world: World, reconciler: Reconciler, nats: "_Nats | None") -> None:
        """Write, at once or when it is this operator's turn."""

        async def lead() -> None:
            try:
                await self._lead(world, reconciler, nats)
            finally:
                if nats is not None:
                    nats.accounts.forget_all()

        if self._election is not None:
            await self._election.serve(lead)
        else:
            self._metrics.leader.set(1)
            await lead()

    async def _lead(self, world: World, reconciler: Reconciler, nats: "_Nats | None") -> None:
        watchdog = Watchdog(world.kube, world.cache, world.metrics)
        if nats is not None:
            await try_once(nats.trustee)  # else all is published without, and then again with it
        async with asyncio.TaskGroup() as tasks:
            if nats is not None:
                tasks.create_task(keep_trust(nats.trustee, changed=reconciler.publish_all))
                tasks.create_task(nats.link.run())
            tasks.create_task(reconciler.lead())
            tasks.create_task(watchdog.serve(self._settings.watchdog_s))

    def _may_write(self) -> bool:
        return self._election is None or self._election.is_won()

    async def _first_of(
        self, *works: Work, drain: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Until one of them ends or a stop is asked for. Raises what ended it."""
        tasks = [asyncio.create_task(work) for work in (*works, self._stop_asked())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set() and drain is not None:
                log.info("stopping")
                await drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()

    async def _stop_asked(self) -> None:
        await self._stop.wait()

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _health(self) -> contextlib.AbstractAsyncContextManager[int]:
        return serve_health(
            self._settings.host,
            self._settings.port,
            live=self._canary.complaint,
            ready=self._why_not_ready,
            registry=self._metrics.registry,
            sidecars=self._sidecars,
        )

    def _sidecars(self) -> list[dict[str, Any]] | None:
        if self._resync is None or not self._resync.is_whole:
            return None
        return sidecar_targets(self._cache, self._settings.sidecar_port)

    def _why_not_ready(self) -> str | None:
        if self._resync is None:
            return "waiting for the CRDs of runestone.dev"
        if not self._resync.is_whole:
            return "reading what there is in the cluster"
        if self._admission is not None and not self._admission.is_ready:
            return "waiting for the webhook's certificate"
        return None


def _election(settings: Settings, kube: Kube, metrics: Metrics) -> Election | None:
    if settings.identity is None:
        return None
    terms = Terms(settings.lease_s)
    return Election(kube, settings.namespace, settings.identity, terms, metrics)


async def _outlive(watches: Collection[asyncio.Task[None]]) -> None:
    """Kopf's tasks do not end unless it has given up."""
    done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    error = next(iter(done)).exception()
    raise WatchEndedError(type(error).__name__) from error
