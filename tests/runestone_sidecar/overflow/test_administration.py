"""What an Admin is told of jobs, a bounded look at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.administration import Administration, Owners
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.record import DUE, FAILED, QUEUED_WEBHOOK
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.jobs import JobQuery
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing import bundles
from runestone_testing.job_store import job_record, job_store

if TYPE_CHECKING:
    from runestone_sidecar.overflow.store import Store

LOOK = 3


def administration(store: Store) -> Administration:
    holder = Holder(Metrics())
    holder.current = bundles.snapshot(bundles.config(), Credentials("", {}))
    space = Space(store.streams, holder, 1 << 20)
    space.store = store
    metrics, outbox = (
        OverflowMetrics(CollectorRegistry()),
        Outbox(WebhookMetrics(CollectorRegistry())),
    )
    return Administration(space, metrics, Owners(holder), outbox, looked_at=LOOK)


async def test_a_rare_one_is_found_by_looking_on() -> None:
    async with job_store() as store:
        desk, owner = administration(store), store.owner_of("shop/app")
        for number in range(2 * LOOK):
            await store.create(store.owner_of(f"shop/key-{number}"), job_record())
        wanted = replace(job_record(), state=FAILED)
        await store.create(owner, wanted)
        pages, query = 0, JobQuery(states=frozenset({FAILED}))
        while True:
            page = await desk.list(query)
            pages += 1
            if page.next is None or page.jobs:
                break
            query = replace(query, start=page.next)
        assert [entry.job.id for entry in page.jobs] == [wanted.id]
        assert pages == 3
        assert page.jobs[0].api_key == "app"


async def test_a_key_that_is_no_more_has_no_name_and_its_jobs_are_there() -> None:
    async with job_store() as store:
        desk, job = administration(store), job_record()
        await store.create(store.owner_of("shop/gone"), job)
        entry = await desk.show(job.id, 0)
        assert (entry.api_key, entry.tenant) == (None, None)
        by_name = await desk.list(JobQuery(api_key="gone"))
        assert [found.job.id for found in by_name.jobs] == [job.id]


async def test_what_has_a_webhook_due_is_not_purged() -> None:
    async with job_store() as store:
        desk, owner = administration(store), store.owner_of("shop/app")
        due = replace(job_record().ended(FAILED), webhook=DUE)
        await store.create(owner, due)
        await store.create(owner, replace(job_record().ended(FAILED), webhook=QUEUED_WEBHOOK))
        assert (await desk.purge(JobQuery(states=frozenset({FAILED})))).count == 1
        assert await store.read(owner, due.id) is not None
