"""From what Kopf tells to passes over namespaces: publish, deliver, report, and account.

Each has its own schedule, so that telling ten thousand resources how they are does not hold up
the next configuration, and a sidecar that does not answer holds up neither.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from runestone_operator.collect.affected import affected
from runestone_operator.collect.cache import Change
from runestone_operator.collect.views import build_view
from runestone_operator.kinds import Kind
from runestone_operator.publish.sidecars import Sidecars
from runestone_operator.reconcile.accounts import Accounts
from runestone_operator.reconcile.delivery import Delivery
from runestone_operator.reconcile.publishing import Publishing
from runestone_operator.reconcile.reporting import Reporting
from runestone_operator.reconcile.rotation import Rotation
from runestone_operator.reconcile.schedule import Pace, Pass, Schedule
from runestone_operator.reconcile.state import World

PUBLISH_PACE = Pace(quiet_s=0.1, cap_s=1.0, parallel=4)
DELIVER_PACE = Pace(quiet_s=0.02, cap_s=0.2, parallel=16)
REPORT_PACE = Pace(quiet_s=0.05, cap_s=0.5, parallel=8)
ACCOUNT_PACE = Pace(quiet_s=0.02, cap_s=0.2, parallel=4)


class Reconciler:
    def __init__(self, world: World, sidecars: Sidecars, accounts: Accounts | None = None) -> None:
        self._world = world
        self._accounts = accounts
        self._report = self._schedule("report", Reporting(world).run, REPORT_PACE)
        self._rotation = rotation = Rotation(world)
        delivery = Delivery(
            world, sidecars, rotation, report=self._mark_report, publish=self._mark_publish
        )
        self._deliver = self._schedule("deliver", delivery.run, DELIVER_PACE)
        publishing = Publishing(
            world,
            rotation,
            deliver=self._mark_deliver,
            report=self._mark_report,
            account=self._note_account,
        )
        self._publish = self._schedule("publish", publishing.run, PUBLISH_PACE)
        self._schedules = [self._publish, self._deliver, self._report]
        if accounts is not None:
            account = self._schedule("account", accounts.run, ACCOUNT_PACE)
            accounts.mark = account.mark
            self._schedules.append(account)

    async def serve(self) -> None:
        """Until cancelled. To be begun when everything is known: what is missing counts as gone."""
        async with asyncio.TaskGroup() as tasks:
            for schedule in self._schedules:
                tasks.create_task(schedule.serve())

    async def lead(self) -> None:
        """As `serve`, having known nothing of what another operator has done before."""
        self._world.forget_all()
        self._rotation.forget_all()
        if self._accounts is not None:
            self._accounts.forget_all()
        self._mark_publish(self._world.cache.occupied_namespaces())
        await self.serve()

    async def drain(self) -> None:
        """Let the passes that run come to their end, and begin no other."""
        for schedule in self._schedules:
            await schedule.drain()

    def seen(self, kind: Kind, body: Mapping[str, Any]) -> None:
        change = self._world.cache.put(build_view(kind, body))
        if change is not None:
            self.note(change)

    def gone(self, kind: Kind, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        place = (str(meta.get("namespace", "")), str(meta["name"]))
        change = self._world.cache.remove(kind, *place, int(meta["resourceVersion"]))
        if change is not None:
            self.note(change)

    def note(self, change: Change) -> None:
        concerned = affected(change, self._world.cache)
        self._mark_publish(concerned.compile)
        self._mark_deliver(concerned.deliver)
        self._mark_report(concerned.report)

    def publish_all(self) -> None:
        """What concerns every namespace has changed."""
        self._mark_publish(self._world.cache.resource_namespaces())

    def _note_account(self, namespaces: Iterable[str]) -> None:
        if self._accounts is not None:
            self._accounts.note(namespaces)

    def _mark_publish(self, namespaces: Iterable[str]) -> None:
        for namespace in namespaces:
            self._publish.mark(namespace)

    def _mark_deliver(self, namespaces: Iterable[str]) -> None:
        for namespace in namespaces:
            self._deliver.mark(namespace)

    def _mark_report(self, namespaces: Iterable[str]) -> None:
        for namespace in namespaces:
            self._report.mark(namespace)

    def _schedule(self, stage: str, run: Pass, pace: Pace) -> Schedule:
        metrics = self._world.metrics

        async def measured(namespace: str) -> float | None:
            started_s, outcome = time.monotonic(), "error"
            try:
                again_s = await run(namespace)
                outcome = "success"
            finally:
                metrics.passes.labels(stage, outcome).inc()
                metrics.pass_duration.labels(stage).observe(time.monotonic() - started_s)
                self._count()
            return again_s

        return Schedule(stage, measured, pace=pace)

    def _count(self) -> None:
        world = self._world
        world.metrics.namespaces.set(len(world.states))
        for kind, count in world.cache.counts().items():
            world.metrics.resources.labels(kind.name).set(count)
        for state, count in world.fleet.states().items():
            world.metrics.sidecars.labels(state).set(count)
