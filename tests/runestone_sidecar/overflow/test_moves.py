"""What is done to jobs from outside of their attempts, on a real nats-server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from runestone_sidecar.broker.faults import WrongRevision
from runestone_sidecar.errors import JobConflict, JobNotFound
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.moves import Moves
from runestone_sidecar.overflow.record import CANCELLED, EXPIRED, FAILED, QUEUED, RUNNING
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_testing.job_store import OWNER, job_record, job_store

if TYPE_CHECKING:
    from runestone_sidecar.overflow.record import JobRecord
    from runestone_sidecar.overflow.store import Kept, Store


def moves_in(store: Store) -> Moves:
    outbox = Outbox(WebhookMetrics(CollectorRegistry()))
    return Moves(store, OverflowMetrics(CollectorRegistry()), outbox)


async def submitted(store: Store, **bounds: int) -> Kept:
    record = job_record(**bounds)
    await store.create(OWNER, record)
    await store.enqueue(OWNER, record, record.id.encode())
    return await read(store, record.id)


async def read(store: Store, job_id: str) -> Kept:
    kept = await store.read(OWNER, job_id)
    assert kept is not None
    return kept


async def failed(store: Store) -> JobRecord:
    record = replace(job_record(), state=FAILED, attempt=5)
    await store.create(OWNER, record)
    await store.keep_request(OWNER, record, b"asked")
    return record


async def waiting(store: Store) -> int:
    return int((await store.waiting())["messages"])


async def test_what_is_cancelled_far_from_its_turn_leaves_the_queue_at_once() -> None:
    async with job_store() as store:
        jobs = [await submitted(store) for _ in range(20)]
        for each in (jobs[13], jobs[0], jobs[19]):
            found = await store.message_of(each)
            assert found is not None
            assert found.data == each.record.id.encode()
            done = await moves_in(store).cancel("*", each.record.id, "cancelled_by_client")
            assert done.record.state == CANCELLED
        assert await waiting(store) == 17
        assert await store.message_of(jobs[13]) is None


async def test_a_message_between_others_of_its_key_is_found() -> None:
    async with job_store() as store:
        record = job_record()
        await store.create(OWNER, record)
        for _ in range(5):  # faster than it
            await submitted(store)
        await store.enqueue(OWNER, record, b"mine")
        found = await store.message_of(await read(store, record.id))
        assert found is not None
        assert found.data == b"mine"


async def test_the_oldest_that_are_late_are_expired_and_no_others() -> None:
    async with job_store() as store:
        late = [await submitted(store, max_age_ms=1) for _ in range(2)]
        fresh = await submitted(store)
        await submitted(store, max_age_ms=1)  # behind one that waits
        async with asyncio.timeout(30):
            while not late[1].record.is_late():
                await asyncio.sleep(0.001)
        assert await moves_in(store).expire_oldest(OWNER)
        assert await waiting(store) == 2
        assert (await read(store, fresh.record.id)).record.state == QUEUED
        for each in late:
            assert (await read(store, each.record.id)).record.state == EXPIRED
            assert await store.kept_request(OWNER, each.record.id) == each.record.id.encode()
        assert not await moves_in(store).expire_oldest(OWNER)


async def test_one_that_began_meanwhile_does_not_expire() -> None:
    async with job_store() as store:
        job = await submitted(store, max_age_ms=1)
        await store.write(OWNER, replace(job.record, state=RUNNING), job.revision)
        assert not await moves_in(store).expire(job, await store.message_of(job))
        assert await waiting(store) == 1


async def test_trying_anew_sends_one_message_and_its_attempts_go_on() -> None:
    async with job_store() as store:
        job = await failed(store)
        for _ in range(2):
            anew = (await moves_in(store).run_anew("*", job.id)).record
            assert (anew.state, anew.run, anew.attempt, anew.tries) == (QUEUED, 1, 5, 0)
        assert await waiting(store) == 1
        message = await store.message_of(await read(store, job.id))
        assert message is not None
        assert (message.data, message.revision) == (b"asked", anew.seq)


async def test_what_cannot_be_tried_anew_says_why() -> None:
    async with job_store() as store:
        moves = moves_in(store)
        waits = await submitted(store)
        with pytest.raises(JobConflict) as refused:
            await moves.run_anew(OWNER, waits.record.id)
        assert refused.value.code == "job_not_ended"
        gone = await failed(store)
        await store.drop_request(OWNER, gone.id)
        with pytest.raises(JobConflict) as refused:
            await moves.run_anew(OWNER, gone.id)
        assert refused.value.code == "job_request_gone"
        with pytest.raises(JobNotFound):
            await moves.run_anew(store.owner_of("shop/other"), waits.record.id)


async def test_what_has_moved_on_is_not_erased() -> None:
    async with job_store() as store:
        job = await failed(store)
        before = await read(store, job.id)
        await moves_in(store).run_anew(OWNER, job.id)
        assert not await store.erase(before)
        assert (await read(store, job.id)).record.run == 1
        with pytest.raises(WrongRevision):
            await store.write(OWNER, job, before.revision)


async def test_nothing_of_an_erased_job_is_left() -> None:
    async with job_store() as store:
        job = await failed(store)
        parts = await store.put_result(OWNER, job, b"said")
        kept = await read(store, job.id)
        revision = await store.write(OWNER, replace(job, parts=parts), kept.revision)
        assert await store.erase(replace(await read(store, job.id), revision=revision))
        state = await store.streams.state(store.names.records, ">")
        assert state["messages"] == 0
