"""E12: a death between any two steps from a job's end to its webhook's queue loses nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from prometheus_client import CollectorRegistry

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.overflow.envelope import Envelope, encode_request, encode_result
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.moves import Moves
from runestone_sidecar.overflow.names import new_job_id
from runestone_sidecar.overflow.record import DUE, FAILED, QUEUED_WEBHOOK, SUCCEEDED, JobRecord
from runestone_sidecar.overflow.webhooks.event import KIND, Webhook, decode_webhook
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import MANY, SMALL_BYTES, Outbox
from runestone_sidecar.pipeline.jobs import JobResponse
from runestone_testing.job_store import OWNER, job_store

if TYPE_CHECKING:
    from runestone_sidecar.broker.streams import Delivery
    from runestone_sidecar.overflow.store import Kept, Store

DEADLINE_S = 30
URL = "https://hooks.example/done?token=x"


def outbox() -> Outbox:
    return Outbox(WebhookMetrics(CollectorRegistry()))


async def begun(store: Store, url: str | None = URL) -> tuple[JobRecord, Delivery]:
    """A job, and its work in a worker's hands."""
    return await waiting(store, url), await delivered(store)


async def waiting(store: Store, url: str | None = URL, **bounds: int) -> JobRecord:
    envelope = Envelope("shop/app", "team", "/v1/chat/completions", "req_1", (), b"{}", url)
    job = JobRecord.new(
        new_job_id(), "proof", PolicyOverflow(**bounds), has_webhook=url is not None
    )
    await store.create(OWNER, job)
    sealed = store.seal_request(job.id, encode_request(envelope))
    await store.enqueue(OWNER, job, sealed)
    return job


async def delivered(store: Store) -> Delivery:
    consumer = await store.ensure_consumer(OWNER)
    async with asyncio.timeout(DEADLINE_S):
        while (found := await store.streams.next(store.names.queue, consumer)) is None:
            await asyncio.sleep(0.01)
    return found


async def ended(store: Store, job: JobRecord, body: bytes = b'{"text":"fine"}') -> JobRecord:
    kept = await kept_of(store, job)
    job = replace(kept.record, attempt=1).ended(SUCCEEDED)
    result = encode_result(JobResponse(200, "req_1", body))
    job = replace(job, parts=await store.put_result(OWNER, job, result))
    await store.write(OWNER, job, kept.revision)
    return job


async def kept_of(store: Store, job: JobRecord) -> Kept:
    kept = await store.read(OWNER, job.id)
    assert kept is not None
    return kept


async def queued(store: Store) -> int:
    return int((await store.waiting())["messages"])


async def webhooks(store: Store) -> list[Webhook]:
    """All that wait."""
    consumer = await store.ensure_webhook_consumer(OWNER)
    found = []
    while (delivery := await store.streams.next(store.names.webhooks, consumer)) is not None:
        id_ = delivery.headers["Nats-Msg-Id"]
        found.append(decode_webhook(id_, store.sealer.open(KIND, id_, delivery.data)))
    return found


async def test_a_job_that_ended_has_its_webhook_queued_before_its_message_goes() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        job = await ended(store, job)
        assert job.ttl_s > job.result_ttl_s  # whoever comes late must find that it is due
        await outbox().close(store, OWNER, delivery, job)
        (webhook,) = await webhooks(store)
        assert (webhook.url, webhook.key_id, webhook.job_id) == (URL, "shop/app", job.id)
        event = orjson.loads(webhook.body)
        assert (event["type"], event["data"]["id"]) == ("job.succeeded", job.id)
        assert event["data"]["response"]["body"] == {"text": "fine"}
        kept = await kept_of(store, job)
        assert kept.record == replace(job, webhook=QUEUED_WEBHOOK)
        assert kept.record.ttl_s == job.result_ttl_s
        assert await queued(store) == 0


async def test_E12_dead_before_the_webhook_was_queued() -> None:
    """The work comes again to somebody who knows the record only as it was read."""
    async with job_store() as store:
        job, delivery = await begun(store)
        await ended(store, job)
        await store.streams.nak(delivery)
        again = await delivered(store)
        assert again.delivered == 2
        await outbox().close(store, OWNER, again, (await kept_of(store, job)).record)
        assert len(await webhooks(store)) == 1
        assert await queued(store) == 0


async def test_E12_dead_before_the_record_said_so() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        job = await ended(store, job)
        kept = await kept_of(store, job)
        await outbox().close(store, OWNER, delivery, job)
        latest = await kept_of(store, job)
        await store.write(OWNER, kept.record, latest.revision)  # as if it had not been written
        await outbox().close(store, OWNER, delivery, kept.record)
        (webhook,) = await webhooks(store)
        assert webhook.job_id == job.id
        assert (await kept_of(store, job)).record.webhook == QUEUED_WEBHOOK


async def test_E12_dead_before_the_message_was_acknowledged() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        job = await ended(store, job)
        used = outbox()
        await used.close(store, OWNER, delivery, job)
        assert len(await webhooks(store)) == 1
        await used.close(store, OWNER, delivery, (await kept_of(store, job)).record)
        assert used.metrics.queued._value.get() == 1


async def test_what_was_taken_over_is_not_told_by_who_lost_it() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        assert (await kept_of(store, job)).record.webhook == DUE
        await outbox().close(store, OWNER, delivery, job)
        assert await webhooks(store) == []


async def test_a_job_without_webhook_has_none() -> None:
    async with job_store() as store:
        job, delivery = await begun(store, None)
        job = await ended(store, job)
        await outbox().close(store, OWNER, delivery, job)
        assert await webhooks(store) == []
        assert await queued(store) == 0
        assert job.ttl_s == job.result_ttl_s


async def test_a_result_that_went_is_told_without_it() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        job = await ended(store, job)
        await store.streams.purge(store.names.records, store.names.part(OWNER, job.id, 1, 0))
        await outbox().close(store, OWNER, delivery, job)
        (webhook,) = await webhooks(store)
        assert orjson.loads(webhook.body)["data"]["response"] is None


@pytest.mark.parametrize(("undelivered", "told"), [(MANY - 1, True), (MANY, False)])
async def test_who_has_many_undelivered_gets_no_large_results(undelivered: int, told: bool) -> None:
    large = b'"%b"' % (b"x" * SMALL_BYTES)
    async with job_store(16 << 20) as store:
        for number in range(undelivered):
            await store.put_webhook(OWNER, f"msg_{number}", b"sealed")
        job, delivery = await begun(store)
        job = await ended(store, job, large)
        await outbox().close(store, OWNER, delivery, job)
        found = await store.streams.latest(store.names.webhooks, store.names.webhook(OWNER))
        assert found is not None
        assert (len(found.data) > SMALL_BYTES) == told


async def test_while_there_is_no_room_the_message_stays() -> None:
    async with job_store(8192) as store:
        job, delivery = await begun(store)
        job = await ended(store, job)
        await store.put_webhook("other", "msg_1", bytes(3500))
        await outbox().close(store, OWNER, delivery, job)
        assert await queued(store) == 1
        assert (await kept_of(store, job)).record.webhook == DUE


async def test_what_cannot_be_read_names_no_place_to_send_it() -> None:
    async with job_store() as store:
        job, delivery = await begun(store)
        kept = await kept_of(store, job)
        job = kept.record.ended(FAILED, error="unreadable")
        await store.write(OWNER, job, kept.revision)
        used = outbox()
        await used.close(store, OWNER, replace(delivery, data=b"?" * 60), job)
        assert await webhooks(store) == []
        assert await queued(store) == 0
        assert used.metrics.given_up.labels("unreadable")._value.get() == 1


def moves(store: Store) -> Moves:
    return Moves(store, OverflowMetrics(CollectorRegistry()), outbox())


async def test_a_waiting_job_that_is_cancelled_has_its_webhook_queued_with_that() -> None:
    """Its message goes at once, and with it what tells where to."""
    async with job_store() as store:
        job = await waiting(store)
        await moves(store).cancel(OWNER, job.id, "cancelled_by_client")
        (webhook,) = await webhooks(store)
        assert orjson.loads(webhook.body)["type"] == "job.cancelled"
        assert await queued(store) == 0


async def test_what_expires_to_make_room_has_its_webhook_queued() -> None:
    async with job_store() as store:
        await waiting(store, max_age_ms=0)
        assert await moves(store).expire_oldest(OWNER)
        (webhook,) = await webhooks(store)
        assert orjson.loads(webhook.body)["type"] == "job.expired"
        assert await queued(store) == 0


async def test_a_message_stays_where_its_webhook_has_no_room() -> None:
    async with job_store(8192) as store:
        job = await waiting(store)
        await store.put_webhook("other", "msg_1", bytes(3500))
        await moves(store).cancel(OWNER, job.id, "cancelled_by_client")
        assert await queued(store) == 1
        delivery = await delivered(store)
        await store.streams.purge(store.names.webhooks, store.names.webhook("other"))
        await outbox().close(store, OWNER, delivery, (await kept_of(store, job)).record)
        assert len(await webhooks(store)) == 1
        assert await queued(store) == 0


async def test_a_job_that_is_tried_anew_has_another_webhook_at_its_next_end() -> None:
    async with job_store() as store:
        await waiting(store, max_age_ms=0)
        assert await moves(store).expire_oldest(OWNER)
        (first,) = await webhooks(store)
        kept = await moves(store).run_anew(OWNER, first.job_id)
        assert kept.record.webhook == DUE
        delivery = await delivered(store)
        job = await ended(store, kept.record)
        await outbox().close(store, OWNER, delivery, job)
        (second,) = await webhooks(store)
        assert (first.job_id, first.url) == (second.job_id, second.url)
        assert first.id != second.id
        assert orjson.loads(second.body)["type"] == "job.succeeded"
