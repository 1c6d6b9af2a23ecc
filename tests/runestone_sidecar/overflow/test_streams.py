"""Records with revisions and the queue, on a real nats-server."""

from __future__ import annotations

import asyncio

import pytest

from runestone_sidecar.broker.faults import Away, Full, WrongRevision
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.overflow.record import QUEUED, SUCCEEDED, JobRecord
from runestone_testing.job_store import OWNER, job_record, job_store

DEADLINE_S = 30


async def test_of_two_that_move_a_job_on_one_has_lost_it() -> None:
    async with job_store() as kept:
        job = job_record()
        revision = await kept.create(OWNER, job)
        with pytest.raises(WrongRevision):
            await kept.create(OWNER, job)
        running = JobRecord.decode(job.encode()).ended(SUCCEEDED)
        newer = await kept.write(OWNER, running, revision)
        with pytest.raises(WrongRevision):
            await kept.write(OWNER, job, revision)
        found = await kept.read(OWNER, job.id)
        assert found is not None
        assert (found.record, found.revision) == (running, newer)


async def test_what_has_ended_is_forgotten_after_its_time() -> None:
    async with job_store() as kept:
        job = job_record(result_ttl_ms=1000)
        revision = await kept.create(OWNER, job)
        await kept.write(OWNER, job.ended(SUCCEEDED), revision)
        async with asyncio.timeout(DEADLINE_S):
            while await kept.read(OWNER, job.id) is not None:
                await asyncio.sleep(0.05)


async def test_a_key_lists_all_of_its_own_and_no_others() -> None:
    async with job_store() as kept:
        jobs = [job_record() for _ in range(600)]  # more than a page
        for job in jobs:
            await kept.create(OWNER, job)
        await kept.create(kept.owner_of("shop/other"), job_record())
        found = [each.record.id async for each in kept.records_of(OWNER)]
        assert found == [job.id for job in jobs]
        assert [each async for each in kept.records_of(kept.owner_of("shop/nobody"))] == []


async def test_streams_are_changed_in_place_and_keep_what_they_hold() -> None:
    async with job_store() as kept:
        job = job_record()
        await kept.enqueue(OWNER, job, b"x" * 1000)
        kept.max_bytes = 2 << 20
        await kept.ensure()
        await kept.ensure()
        assert (await kept.waiting())["messages"] == 1


async def test_a_message_comes_again_until_it_is_acknowledged() -> None:
    async with job_store() as kept:
        job = job_record()
        await kept.enqueue(OWNER, job, b"work")
        await kept.enqueue(OWNER, job, b"work")  # the same again is no second one
        consumer = await kept.ensure_consumer(OWNER)
        first = await kept.streams.next(kept.names.queue, consumer)
        assert first is not None
        assert (first.data, first.delivered, first.seq) == (b"work", 1, 1)
        assert await kept.streams.next(kept.names.queue, consumer) is None
        await kept.streams.nak(first)
        async with asyncio.timeout(DEADLINE_S):
            while (again := await kept.streams.next(kept.names.queue, consumer)) is None:
                await asyncio.sleep(0.01)
        assert (again.delivered, again.seq) == (2, 1)
        await kept.streams.ack(again)
        async with asyncio.timeout(DEADLINE_S):
            while (await kept.waiting())["messages"]:
                await asyncio.sleep(0.01)


async def test_a_full_queue_takes_no_more() -> None:
    async with job_store(max_bytes=1 << 16) as kept:
        await kept.enqueue(OWNER, job_record(), b"x" * 40_000)
        with pytest.raises(Full):
            await kept.enqueue(OWNER, job_record(), b"x" * 40_000)


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(Away):
        await Streams(Link(("nats://127.0.0.1:1",))).tell("x")


def test_a_record_survives_its_wire_form_and_fields_of_later_versions() -> None:
    job = job_record()
    assert JobRecord.decode(job.encode()) == job
    assert JobRecord.decode(job.encode()[:-1] + b',"later":1}') == job
    assert (job.state, job.has_ended) == (QUEUED, False)
