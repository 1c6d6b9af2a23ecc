"""Jobs as their owners ask for them: submit, find, wait, list, cancel; any replica can answer."""

import asyncio
import contextlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Missing
from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.errors import JobNotFound, QueueUnavailable
from runestone_sidecar.overflow.envelope import decode_result
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.moves import Moves, find
from runestone_sidecar.overflow.publisher import Publisher
from runestone_sidecar.overflow.record import JobRecord
from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Store
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.jobs import Accepted, Job, Submission

LISTED: Final = 100
LOOK_EVERY_S: Final = 2.0  # where nothing is heard: the connection may have changed


@dataclass(frozen=True, slots=True)
class Desk:
    space: Space
    publisher: Publisher
    metrics: OverflowMetrics
    outbox: Outbox

    @property
    def is_open(self) -> bool:
        return self.space.store is not None

    @property
    def is_meant(self) -> bool:
        return self.space.is_configured

    async def knows(self, submission: Submission) -> bool:
        return await self.publisher.knows(submission)

    async def submit(self, submission: Submission) -> Accepted:
        return await self.publisher.submit(submission)

    async def find(self, principal: Principal, job_id: str, wait_s: float) -> Job:
        """Waits for its end, for so long at most. Raises JobNotFound or QueueUnavailable."""
        with answering(self.space) as store:
            owner = store.owner_of(principal.id)
            record = (await find(store, owner, job_id)).record
            if wait_s and not record.has_ended:
                record = await ended_within(store, owner, job_id, wait_s)
            return await _shown(store, owner, record)

    async def list(self, principal: Principal) -> list[Job]:
        """The newest, newest first, without results."""
        with answering(self.space) as store:
            owner = store.owner_of(principal.id)
            found = [kept.record.seen() async for kept in store.records_of(owner)]
        return heapq.nlargest(LISTED, found, key=lambda job: (job.created_s, job.id))

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        """What has ended stays as it is. Whoever runs it hears of it, and stops."""
        with answering(self.space) as store:
            owner = store.owner_of(principal.id)
            moves = Moves(store, self.metrics, self.outbox)
            kept = await moves.cancel(owner, job_id, "cancelled_by_client")
            return await _shown(store, owner, kept.record)


@contextlib.contextmanager
def answering(space: Space) -> Iterator[Store]:
    """Raises QueueUnavailable where NATS cannot be asked."""
    try:
        yield space.open()
    except BrokerError as error:
        if isinstance(error, Missing):  # its store was wiped, say
            space.lose()
        raise QueueUnavailable from error


async def ended_within(store: Store, owner: str, job_id: str, wait_s: float) -> JobRecord:
    """Once it has, or as it stands when the time is over."""
    changed = asyncio.Event()
    until_s = asyncio.get_running_loop().time() + wait_s
    async with store.streams.heard(store.names.record(owner, job_id), changed.set):
        while True:
            changed.clear()
            record = (await find(store, owner, job_id)).record
            left_s = until_s - asyncio.get_running_loop().time()
            if record.has_ended or record.is_late() or left_s <= 0:
                return record
            try:
                async with asyncio.timeout(min(left_s, LOOK_EVERY_S)):
                    await changed.wait()
            except TimeoutError:
                continue


async def _shown(store: Store, owner: str, record: JobRecord) -> Job:
    if not record.parts:
        return record.seen()
    try:
        result = await store.result(owner, record)
    except Unreadable as error:
        raise JobNotFound() from error
    if result is None:  # it went between two looks
        raise JobNotFound()
    return record.seen(decode_result(result))
