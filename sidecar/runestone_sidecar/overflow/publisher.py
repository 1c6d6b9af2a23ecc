"""From a request to a job that is kept: it is promised only once the queue has stored it."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runestone_sidecar.broker.faults import (
    Away,
    BrokerError,
    Full,
    Missing,
    Refused,
    Unsure,
    WrongRevision,
)
from runestone_sidecar.broker.monitor import Monitor
from runestone_sidecar.errors import (
    UNACKNOWLEDGED,
    BadRequest,
    BodyTooLarge,
    QueueFull,
    QueueUnavailable,
)
from runestone_sidecar.overflow.envelope import encode_request, envelope_of
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.moves import Moves
from runestone_sidecar.overflow.names import new_job_id
from runestone_sidecar.overflow.record import QUEUED, JobRecord
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import SEAL_BYTES, Store, subjects_count
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.overflow.webhooks.rules import Rules
from runestone_sidecar.pipeline.jobs import Accepted, Submission

LOOK_EVERY_S = 1.0
MAYBE = (
    "Whether the request was queued is not known; send it again with the same Idempotency-Key to"
    " have it run once."
)


@dataclass(slots=True)
class Pace:
    """How long a job takes here, for estimates."""

    job_s: float = 1.0
    at_once: int = 1

    def took(self, seconds: float) -> None:
        self.job_s += 0.2 * (seconds - self.job_s)

    def eta_s(self, position: int, wait_s: float) -> int:
        return max(1, math.ceil(max(position * self.job_s / self.at_once, min(wait_s, 86_400))))


@dataclass(frozen=True, slots=True)
class Publisher:
    space: Space
    metrics: OverflowMetrics
    rules: Rules  # of webhooks
    outbox: Outbox
    monitor: Monitor
    pace: Pace = field(default_factory=Pace)
    _looked_s: dict[str, float] = field(default_factory=dict)  # for what is late, by owner

    async def submit(self, submission: Submission) -> Accepted:
        """Raises QueueFull, QueueUnavailable, BodyTooLarge, or BadRequest: for a key that was used,
        or a webhook that cannot be."""
        if submission.webhook_url is not None:
            self.rules.check(submission.principal, submission.webhook_url)
        store = self.space.open()
        with self._told():
            return await self._submit(store, submission)

    async def knows(self, submission: Submission) -> bool:
        """Raises as `submit` does."""
        store = self.space.open()
        job_id, _ = _identity(store, submission)
        with self._told():
            return await store.read(store.owner_of(submission.principal.id), job_id) is not None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Missing as error:  # its store was wiped, say
            self.space.lose()
            raise QueueUnavailable from error
        except Unsure as error:
            raise QueueUnavailable(MAYBE, code=UNACKNOWLEDGED) from error
        except BrokerError as error:
            raise QueueUnavailable from error

    async def _submit(self, store: Store, submission: Submission) -> Accepted:
        owner = store.owner_of(submission.principal.id)
        job_id, proof = _identity(store, submission)
        request = encode_request(envelope_of(submission))
        if len(request) + SEAL_BYTES > store.streams.max_bytes:
            raise BodyTooLarge(
                f"The request is too large to be queued: its limit is {store.streams.max_bytes}"
                " bytes, headers included."
            )
        has_webhook = submission.webhook_url is not None
        record = JobRecord.new(job_id, proof, submission.bounds, has_webhook=has_webhook)
        repeated = submission.idempotency_key is not None and await self._find(store, owner, record)
        if repeated and (repeated.state != QUEUED or repeated.attempt):
            return self._accepted(repeated, position=0, eta_s=1)
        record = repeated or record
        if not repeated:
            await self._make_room(store, owner, submission)
            record = await self._create(store, owner, record)
        try:
            with self.metrics.publish.time():
                await store.enqueue(owner, record, store.seal_request(job_id, request))
        except (Refused, Away) as error:
            if submission.idempotency_key is None:  # else another replica may have promised it
                await _forget(store, owner, job_id)
            if isinstance(error, Full):
                raise QueueFull("The queue of jobs is full.") from error
            raise
        self.metrics.submitted.inc()
        await self._wake(store)
        state = await self._state(store)
        return self._accepted(record, state, self.pace.eta_s(state, submission.wait_s))

    def _accepted(self, record: JobRecord, position: int, eta_s: int) -> Accepted:
        return Accepted(record.seen(), position, eta_s, durable=self.monitor.syncs is not False)

    async def _find(self, store: Store, owner: str, record: JobRecord) -> JobRecord | None:
        """What the same idempotency key has made before."""
        kept = await store.read(owner, record.id)
        if kept is None:
            return None
        return _same(kept.record, record)

    async def _create(self, store: Store, owner: str, record: JobRecord) -> JobRecord:
        try:
            await store.create(owner, record)
        except WrongRevision:  # another replica was faster with the same idempotency key
            kept = await store.read(owner, record.id)
            if kept is None:
                raise
            return _same(kept.record, record)
        return record

    async def _make_room(self, store: Store, owner: str, submission: Submission) -> None:
        """Replicas may count at the same moment: a few more than the bound can get in."""
        moves = Moves(store, self.metrics, self.outbox)
        waiting = await store.waiting(owner)
        count = subjects_count(waiting)
        if count >= submission.bounds.max_queued and not await self._expire(moves, owner):
            raise QueueFull(
                f"This API key has {count} jobs waiting, as many as may.",
                retry_after_s=max(1.0, min(120.0, self.pace.job_s)),
            )
        if submission.webhook_url is not None:
            undelivered = await store.webhooks_waiting(owner)
            if subjects_count(undelivered) >= submission.bounds.max_queued:
                raise QueueFull("This API key has as many undelivered webhooks as it may.")
        if await store.kept_bytes() >= store.max_bytes:
            raise QueueFull("The results of jobs that wait to be fetched take all the room.")

    async def _expire(self, moves: Moves, owner: str) -> bool:
        """Whether that made room. Not with each of many refusals: the oldest request is fetched."""
        now_s = time.monotonic()
        if self._looked_s.get(owner, -math.inf) > now_s - LOOK_EVERY_S:
            return False
        for each in [each for each, at_s in self._looked_s.items() if at_s <= now_s - LOOK_EVERY_S]:
            del self._looked_s[each]
        self._looked_s[owner] = now_s
        return await moves.expire_oldest(owner)

    async def _wake(self, store: Store) -> None:
        try:
            await store.streams.tell(store.names.wake)
        except BrokerError:
            return  # they look by themselves

    async def _state(self, store: Store) -> int:
        """The job is safe: that nobody can tell its place does not matter."""
        try:
            return max(1, int((await store.waiting())["messages"]))
        except BrokerError:
            return 1


def _identity(store: Store, submission: Submission) -> tuple[str, str]:
    """An id that follows from the idempotency key, where there is one: creating it is the lock."""
    job_id = new_job_id()
    if submission.idempotency_key is not None:
        asked = (submission.principal.id.encode(), submission.idempotency_key.encode())
        job_id = f"job_{store.sealer.mark(b'job', *asked)[:40]}"
    request = [submission.path.encode(), submission.body]
    if submission.webhook_url is not None:
        request.append(submission.webhook_url.encode())
    return job_id, store.sealer.mark(b"request", job_id.encode(), *request)


def _same(found: JobRecord, asked: JobRecord) -> JobRecord:
    if found.proof != asked.proof:
        raise BadRequest(
            "This Idempotency-Key was used with another request.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return found


async def _forget(store: Store, owner: str, job_id: str) -> None:
    try:
        await store.forget(owner, job_id)
    except BrokerError:
        return  # it says that it waits, until it is late
