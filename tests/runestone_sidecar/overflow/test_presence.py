"""Whether a job's worker lives: it is asked, over a real nats-server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from runestone_sidecar.broker.faults import BrokerError
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.presence import Presence
from runestone_sidecar.overflow.record import RUNNING
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing import bundles
from runestone_testing.job_store import DEADLINE_S, connected, job_record
from runestone_testing.nats import nats_server
from runestone_testing.routing import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runestone_sidecar.overflow.names import Names
    from runestone_sidecar.overflow.record import JobRecord
    from runestone_testing.nats import NatsServer

LONG_S = 3600.0


@asynccontextmanager
async def worker_at(server: NatsServer, silence_s: float = 0.0) -> AsyncIterator[Presence]:
    holder = Holder(Metrics())
    config = bundles.config(bundles.provider("http://127.0.0.1:9/v1"))
    holder.current = bundles.snapshot(config, CREDENTIALS)
    async with connected(server.url, bytes(32)) as store:
        presence = Presence(store.streams, holder, silence_s)
        task = asyncio.create_task(presence.run())
        try:
            yield presence
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def job_of(worker: Presence | str) -> JobRecord:
    name = worker if isinstance(worker, str) else worker.worker
    return replace(job_record(), state=RUNNING, attempt=1, worker=name)


async def until_heard(asking: Presence, names: Names, worker: Presence) -> None:
    job = job_of(worker)
    with worker.at_work(job.id):
        async with asyncio.timeout(DEADLINE_S):
            while not await said_so(asking, names, job):
                await asyncio.sleep(0.01)


async def said_so(asking: Presence, names: Names, job: JobRecord) -> bool:
    with suppress(BrokerError):
        return await asking.runs(names, job)
    return False


def names_of(presence: Presence) -> Names:
    names = presence._names()
    assert names is not None
    return names


async def test_a_worker_says_which_jobs_it_runs() -> None:
    with nats_server() as server:
        async with worker_at(server) as one, worker_at(server) as other:
            names = names_of(one)
            await until_heard(other, names, one)
            job = job_of(one)
            assert not await other.runs(names, job)
            assert not await one.runs(names, job)
            with one.at_work(job.id):
                assert await other.runs(names, job)
                assert await one.runs(names, job)
            assert not await other.runs(names, job)


async def test_it_says_so_on_each_connection() -> None:
    with nats_server() as server:
        async with worker_at(server) as one, worker_at(server) as other:
            names = names_of(one)
            await until_heard(other, names, one)
            server.stop()
            server.start()
            await until_heard(other, names, one)


async def test_nobody_is_given_up_right_after_a_connection_was_made() -> None:
    with nats_server() as server:
        async with AsyncExitStack() as stack:
            new = await stack.enter_async_context(worker_at(server, LONG_S))
            old = await stack.enter_async_context(worker_at(server))
            names, job = names_of(new), job_of("0123456789abcdef")
            assert await new.runs(names, job)
            assert not await old.runs(names, job)
            assert not await old.runs(names, job_of(""))  # a record of before there were workers


async def test_who_does_not_answer_is_asked_once() -> None:
    asked = 0

    def stands_still(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        raise OSError  # nothing gets out

    with nats_server() as server:
        async with worker_at(server, LONG_S) as one, worker_at(server) as frozen:
            names, job = names_of(one), job_of("0123456789abcdef")
            await until_heard(one, names, frozen)
            one.streams._link.since_s = -LONG_S  # it has stood for long
            async with frozen.streams.answering(names.at_work(job.worker), stands_still):
                await until_heard(one, names, frozen)  # and so the server knows of that one too
                assert not await one.runs(names, job)
                assert not await one.runs(names, job)
                assert asked == 1
