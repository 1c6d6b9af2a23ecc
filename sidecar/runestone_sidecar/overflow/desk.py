"""Jobs as their owners ask for them: submit, find, wait, list, cancel; any replica can answer."""

import asyncio
import heapq
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.broker.streams import BrokerError, Missing, WrongRevision
from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.errors import JobNotFound, QueueUnavailable
from runestone_sidecar.overflow.envelope import decode_result
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.names import JOB_ID
from runestone_sidecar.overflow.publisher import Publisher
from runestone_sidecar.overflow.record import CANCELLED, JobRecord
from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Kept, Store
from runestone_sidecar.pipeline.jobs import Accepted, Job, Submission

LISTED: Final = 100
CANCEL_TRIES: Final = 8
LOOK_EVERY_S: Final = 2.0  # where nothing is heard: the connection may have changed


@dataclass(frozen=True, slots=True)
class Desk:
    space: Space
    publisher: Publisher
    metrics: OverflowMetrics

    @property
    def is_open(self) -> bool:
        return self.space.store is not None

    async def submit(self, submission: Submission) -> Accepted:
        return await self.publisher.submit(submission)

    async def find(self, principal: Principal, job_id: str, wait_s: float) -> Job:
        """Waits for its end, for so long at most. Raises JobNotFound or QueueUnavailable."""
        store = self.space.open()
        owner = store.owner_of(principal.id)
        try:
            record = (await _kept(store, owner, job_id)).record
            if wait_s and not record.has_ended:
                record = await _ended(store, owner, job_id, wait_s)
            return await _shown(store, owner, record)
        except BrokerError as error:
            raise self._unavailable(error) from error

    async def list(self, principal: Principal) -> list[Job]:
        """The newest, newest first, without results."""
        store = self.space.open()
        try:
            found = [record.seen() async for record in store.records_of(principal.id)]
        except BrokerError as error:
            raise self._unavailable(error) from error
        return heapq.nlargest(LISTED, found, key=lambda job: (job.created_s, job.id))

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        """What has ended stays as it is. Whoever runs it hears of it, and stops."""
        store = self.space.open()
        owner = store.owner_of(principal.id)
        try:
            for _ in range(CANCEL_TRIES):
                kept = await _kept(store, owner, job_id)
                if kept.record.has_ended or kept.record.is_late():
                    return await _shown(store, owner, kept.record)
                record = kept.record.ended(CANCELLED, error="cancelled_by_client")
                try:
                    await store.write(owner, record, kept.revision)
                except WrongRevision:
                    continue
                self.metrics.ended.labels(CANCELLED).inc()
                await store.streams.tell(store.names.wake)
                return record.seen()
        except BrokerError as error:
            raise self._unavailable(error) from error
        raise QueueUnavailable

    def _unavailable(self, error: BrokerError) -> QueueUnavailable:
        if isinstance(error, Missing):
            self.space.lose()
        return QueueUnavailable()


async def _kept(store: Store, owner: str, job_id: str) -> Kept:
    """The same for what does not exist, what is another key's, and what cannot be an id."""
    kept = await store.read(owner, job_id) if JOB_ID.fullmatch(job_id) else None
    if kept is None:
        raise JobNotFound()
    return kept


async def _ended(store: Store, owner: str, job_id: str, wait_s: float) -> JobRecord:
    """Once it has, or the time is over."""
    changed = asyncio.Event()
    until_s = asyncio.get_running_loop().time() + wait_s
    async with store.streams.heard(store.names.record(owner, job_id), changed.set):
        while True:
            changed.clear()
            record = (await _kept(store, owner, job_id)).record
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
