"""A namespace's store of jobs on a real nats-server, without sidecars."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.overflow.names import Names, new_job_id
from runestone_sidecar.overflow.record import JobRecord
from runestone_sidecar.overflow.seal import Sealer
from runestone_sidecar.overflow.store import Store
from runestone_testing.nats import nats_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 30
SEALER = Sealer(bytes(32))
OWNER = Store(Streams(Link(())), Names("shop"), SEALER, 0).owner_of("shop/app")


@asynccontextmanager
async def job_store(max_bytes: int = 1 << 20) -> AsyncIterator[Store]:
    with nats_server(durable=True) as server:
        async with connected(server.url, bytes(32), max_bytes) as made:
            await made.ensure()
            yield made


@asynccontextmanager
async def connected(url: str, key: bytes, max_bytes: int = 1 << 20) -> AsyncIterator[Store]:
    """As a sidecar with that key has it."""
    link = Link((url,))
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not link.is_up:
                await asyncio.sleep(0.01)
        yield Store(Streams(link), Names("shop"), Sealer(key), max_bytes)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def job_record(**bounds: int) -> JobRecord:
    return JobRecord.new(new_job_id(), "proof", PolicyOverflow(**bounds))
