"""The fence: what came of an attempt counts only as long as the job is still that attempt's."""

from __future__ import annotations

import random
from dataclasses import replace

from prometheus_client import CollectorRegistry

from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.errors import BadRequest, GatewayError, UpstreamFailed
from runestone_sidecar.overflow.attempt import Attempt, Tools
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.presence import Presence
from runestone_sidecar.overflow.record import FAILED, RETRYING, RUNNING
from runestone_sidecar.overflow.store import Kept, Store
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.events import Events
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_sidecar.upstream.pool import Client
from runestone_testing.job_store import OWNER, job_record, job_store


def tools() -> Tools:
    rng = random.Random(1)
    return Tools(
        executor=Executor(Client(), LoadStore(), Metrics().traffic, rng=rng),
        metrics=OverflowMetrics(CollectorRegistry()),
        close=lambda _: None,
        events=Events(),
        rng=rng,
        outbox=Outbox(WebhookMetrics(CollectorRegistry())),
        presence=Presence(Streams(Link(())), Holder(Metrics()), 3),
        took=lambda _: None,
    )


async def begun(store: Store, used: Tools, **bounds: int) -> Attempt:
    job = replace(job_record(**bounds), state=RUNNING, attempt=1, worker="one", seq=1)
    revision = await store.create(OWNER, job)
    await store.enqueue(OWNER, job, b"work")
    consumer = await store.ensure_consumer(OWNER)
    delivery = await store.streams.next(store.names.queue, consumer)
    assert delivery is not None
    record = Record(request_id="req_1", started_s=0.0, events=used.events)
    return Attempt(store, OWNER, delivery, Kept(job, revision, OWNER), record, used)


async def found(attempt: Attempt) -> Kept:
    kept = await attempt.store.read(OWNER, attempt.mine.record.id)
    assert kept is not None
    return kept


async def queued(store: Store) -> int:
    return int((await store.waiting())["messages"])


async def test_what_is_ours_is_written_and_then_acknowledged() -> None:
    async with job_store() as store:
        attempt = await begun(store, tools())
        await attempt.run(BadRequest("no"))
        kept = await found(attempt)
        assert (kept.record.state, kept.record.error) == (FAILED, "invalid_request_error")
        assert await store.result(OWNER, kept.record) is not None
        assert await queued(store) == 0


async def test_passing_trouble_leaves_the_message_for_another_attempt() -> None:
    async with job_store() as store:
        attempt = await begun(store, tools())
        await attempt.run(UpstreamFailed("away"))
        assert (await found(attempt)).record.state == RETRYING
        assert await queued(store) == 1


async def _is_dropped(outcome: GatewayError, **bounds: int) -> None:
    async with job_store() as store:
        used = tools()
        attempt = await begun(store, used, **bounds)
        other = replace(attempt.mine.record, attempt=2, worker="two")
        revision = await store.write(OWNER, other, attempt.mine.revision)
        await attempt.run(outcome)
        kept = await found(attempt)
        assert (kept.record, kept.revision) == (other, revision)
        assert await queued(store) == 1  # it is the other's to acknowledge
        assert used.metrics.fenced._value.get() == 1
        (letters,) = used.metrics.dead_letters.collect()
        assert not sum(each.value for each in letters.samples if each.name.endswith("_total"))


async def test_a_result_that_comes_late_is_dropped() -> None:
    await _is_dropped(BadRequest("no"))


async def test_trouble_that_comes_late_is_dropped() -> None:
    await _is_dropped(UpstreamFailed("away"))


async def test_the_last_trouble_of_a_job_that_was_lost_is_no_dead_letter() -> None:
    await _is_dropped(UpstreamFailed("away"), max_attempts=1)
