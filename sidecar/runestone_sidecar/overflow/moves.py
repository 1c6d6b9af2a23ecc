"""What is done to a job from outside of its attempts: cancel it, expire it, try it anew.

Each is one write by the record's revision; whoever runs the job hears of it, and stops.
"""

import contextlib
from dataclasses import dataclass, replace
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Full, WrongRevision
from runestone_sidecar.broker.streams import Stored
from runestone_sidecar.errors import JobConflict, JobNotFound, QueueFull, QueueUnavailable
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.names import JOB_ID, read_message_id
from runestone_sidecar.overflow.record import (
    CANCELLED,
    DUE,
    EXPIRED,
    MAX_AGE_REACHED,
    SUCCEEDED,
)
from runestone_sidecar.overflow.store import MESSAGE_ID, Kept, Store
from runestone_sidecar.overflow.webhooks.outbox import Outbox

EXPIRED_AT_ONCE: Final = 16
TRIES: Final = 8  # of a write that others are faster with

_WHY_NOT: Final = {
    SUCCEEDED: ("job_succeeded", "The job has its answer."),
    CANCELLED: ("job_cancelled", "The job was cancelled, and its request was not kept."),
}


async def find(store: Store, owner: str, job_id: str) -> Kept:
    """The same for what does not exist, what is another key's, and what cannot be an id. Raises
    JobNotFound."""
    kept = await store.read(owner, job_id) if JOB_ID.fullmatch(job_id) else None
    if kept is None:
        raise JobNotFound()
    return kept


@dataclass(frozen=True, slots=True)
class Moves:
    store: Store
    metrics: OverflowMetrics
    outbox: Outbox

    async def cancel(self, owner: str, job_id: str, reason: str) -> Kept:
        """What has ended stays as it is. Raises JobNotFound."""
        for _ in range(TRIES):
            kept = await find(self.store, owner, job_id)
            if kept.record.has_ended or kept.record.is_late():
                return kept
            cancelled = kept.record.ended(CANCELLED, error=reason)
            try:
                await self.store.write(kept.owner, cancelled, kept.revision)
            except WrongRevision:
                continue
            self.metrics.has_ended(cancelled)
            await self.store.streams.tell(self.store.names.wake)
            await self._forget_request(kept)
            return replace(kept, record=cancelled)
        raise QueueUnavailable

    async def expire(self, kept: Kept, message: Stored | None) -> bool:
        """Writes down what is so already, and makes its place free. False: it is not so any
        more."""
        ended = kept.record.ended(EXPIRED, error=MAX_AGE_REACHED)
        if message is not None:
            await self.store.keep_request(kept.owner, ended, message.data)
        try:
            await self.store.write(kept.owner, ended, kept.revision)
        except WrongRevision:
            return False
        self.metrics.has_ended(ended)
        if message is not None:
            await self._remove(kept, message)
        return True

    async def expire_oldest(self, owner: str) -> bool:
        """Whether there were any whose time is over: nobody may have come to look at them."""
        found = False
        for _ in range(EXPIRED_AT_ONCE):
            message = await self.store.oldest(owner)
            brought = read_message_id(message.headers.get(MESSAGE_ID, "")) if message else None
            kept = await self.store.read(owner, brought.job_id) if brought else None
            if (
                kept is None
                or kept.record.brought != brought
                or not kept.record.is_late()
                or not await self.expire(kept, message)
            ):
                break
            found = True
        return found

    async def run_anew(self, owner: str, job_id: str) -> Kept:
        """Promised with the message: whoever is brought it writes down what is left to write.
        Asked again, it is the same. Raises JobNotFound, JobConflict or QueueFull."""
        store = self.store
        for _ in range(TRIES):
            kept = await find(store, owner, job_id)
            record = kept.record
            if record.is_late():
                await self.expire(kept, await store.message_of(kept))
                continue
            if not record.has_ended and record.run:
                return kept
            sealed = await _sealed(store, kept)
            try:
                seq = await store.enqueue(kept.owner, record.anew(), sealed)
            except Full as error:
                raise QueueFull("The queue of jobs is full.") from error
            queued = record.anew(seq)
            with contextlib.suppress(WrongRevision):  # it is running by now, say
                await store.write(kept.owner, queued, kept.revision)
                self.metrics.retried.inc()
                await store.streams.tell(store.names.wake)
                return replace(kept, record=queued)
        raise QueueUnavailable

    async def _forget_request(self, before: Kept) -> None:
        """Its place is free at once: it may be far from its turn. What fails here is done then."""
        with contextlib.suppress(BrokerError):
            if (message := await self.store.message_of(before)) is not None:
                await self._remove(before, message)
            if before.record.run:
                await self.store.drop_request(before.owner, before.record.id)

    async def _remove(self, before: Kept, message: Stored) -> None:
        """It brings the webhook too: that is queued first, or it stays until it can be."""
        with contextlib.suppress(Full):
            if before.record.webhook == DUE:
                await self.outbox.queue(self.store, before.owner, before.record.id, message.data)
            await self.store.remove(message)


async def _sealed(store: Store, kept: Kept) -> bytes:
    """Raises JobConflict."""
    record = kept.record
    if not record.has_ended:
        raise JobConflict("The job has not ended.", code="job_not_ended")
    if record.state in _WHY_NOT:
        code, message = _WHY_NOT[record.state]
        raise JobConflict(message, code=code)
    sealed = await store.kept_request(kept.owner, record.id) if record.can_run_anew else None
    if sealed is None:
        raise JobConflict("The job's request is not there any more.", code="job_request_gone")
    return sealed
