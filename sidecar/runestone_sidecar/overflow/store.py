"""The jobs of a namespace in JetStream: a stream of work, and one of records and results."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.broker.streams import Stored, Streams
from runestone_sidecar.overflow.names import Names
from runestone_sidecar.overflow.record import ACTIVE_TTL_S, JobRecord
from runestone_sidecar.overflow.seal import Sealer

REQUEST: Final = "request"
RESULT: Final = "result"
MESSAGE_ID: Final = "Nats-Msg-Id"
LOOKED_AT: Final = 64  # messages, for the one that brings a job
WEBHOOK_TTL_S: Final = 25 * 3600  # an hour after the last attempt
SEAL_BYTES: Final = 64  # what sealing adds, at most
ACK_WAIT_S: Final = 30.0
IDLE_CONSUMER_S: Final = 3600
LINGER_S: Final = 60  # of a result's parts, after its record
# Of how streams and consumers are made here: to be raised with each change. Sidecars of an older
# version leave what a newer one has made as it is.
CONFIG_VERSION: Final = 1
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A record, and the revision that whoever changes it must name."""

    record: JobRecord
    revision: int
    owner: str
    stored_at: str = ""  # by the server's clock


@dataclass(slots=True)
class Store:
    streams: Streams
    names: Names
    sealer: Sealer
    max_bytes: int  # of the requests that wait
    ack_wait_s: float = ACK_WAIT_S
    replicas: int = 1  # of streams that are made; those that are there stay as they are

    async def ensure(self) -> None:
        """All streams are there and as they should be. Raises BrokerError."""
        names = self.names
        await self._ensure_work_queue(names.queue, names.work("*"), self.max_bytes)
        await self.streams.ensure_stream(
            {
                "name": names.records,
                "subjects": names.kept,
                "storage": "file",
                "max_msgs_per_subject": 1,
                "allow_direct": True,
                "allow_msg_ttl": True,
                "num_replicas": self.replicas,
            },
            version=CONFIG_VERSION,
        )
        await self._ensure_work_queue(names.webhooks, names.webhook("*"), self.max_bytes // 2)

    async def _ensure_work_queue(self, name: str, subject: str, max_bytes: int) -> None:
        await self.streams.ensure_stream(
            {
                "name": name,
                "subjects": [subject],
                "retention": "workqueue",
                "storage": "file",
                "discard": "new",  # refused, rather than lost
                "max_bytes": max_bytes,
                "max_msgs": -1,
                "allow_msg_ttl": True,
                "duplicate_window": 120 * _NS,
                "num_replicas": self.replicas,
            },
            version=CONFIG_VERSION,
        )

    async def ensure_consumer(self, owner: str) -> str:
        """One for each key: what is limited holds up nobody else."""
        return await self._consume(self.names.queue, f"w-{owner}", self.names.work(owner))

    async def ensure_webhook_consumer(self, owner: str) -> str:
        """The same: whose receivers are slow hold up nobody else's."""
        return await self._consume(self.names.webhooks, f"h-{owner}", self.names.webhook(owner))

    async def _consume(self, stream: str, name: str, subject: str) -> str:
        await self.streams.ensure_consumer(
            stream,
            {
                "durable_name": name,
                "ack_policy": "explicit",
                "ack_wait": int(self.ack_wait_s * _NS),
                "filter_subject": subject,
                # Attempts are counted in the record: a job that its limits do not admit yet is
                # delivered more often, and one that is given up would stay in the stream.
                "max_deliver": -1,
                "max_ack_pending": -1,
                "inactive_threshold": IDLE_CONSUMER_S * _NS,
            },
            version=CONFIG_VERSION,
        )
        return name

    def owner_of(self, key_id: str) -> str:
        """The token that an ApiKey's jobs are found by; it does not tell the key's name."""
        return self.sealer.mark(b"owner", key_id.encode())[:32]

    # -- records --

    async def create(self, owner: str, record: JobRecord) -> int:
        """Raises WrongRevision where there is one."""
        return await self.write(owner, record, 0)

    async def write(self, owner: str, record: JobRecord, revision: int) -> int:
        """Raises WrongRevision where somebody was faster."""
        return await self.streams.put(
            self.names.record(owner, record.id),
            record.encode(),
            ttl_s=record.ttl_s,
            revision=revision,
        )

    async def read(self, owner: str, job_id: str) -> Kept | None:
        """Of any owner, where that is `*`."""
        found = await self.streams.latest(self.names.records, self.names.record(owner, job_id))
        return _kept(found) if found else None

    async def forget(self, owner: str, job_id: str) -> None:
        await self.streams.purge(self.names.records, self.names.record(owner, job_id))

    async def records_of(self, owner: str, *, start: int = 1) -> AsyncIterator[Kept]:
        """In the order in which they were written last."""
        subjects = self.names.record(owner, "*")
        async for found in self.streams.scan(self.names.records, subjects, start=start):
            yield _kept(found)

    async def erase(self, kept: Kept) -> bool:
        """False where it has moved on meanwhile, and stays."""
        record, names = kept.record, self.names
        if not await self.streams.delete(names.records, kept.revision):
            return False
        if record.parts:
            await self.streams.purge(names.records, names.parts(kept.owner, record.id))
        if record.can_run_anew:
            await self.drop_request(kept.owner, record.id)
        return True

    # -- requests --

    def seal_request(self, job_id: str, request: bytes) -> bytes:
        return self.sealer.seal(REQUEST, job_id, request)

    def open_request(self, job_id: str, sealed: bytes) -> bytes:
        """Raises Unreadable."""
        return self.sealer.open(REQUEST, job_id, sealed)

    async def enqueue(self, owner: str, record: JobRecord, sealed: bytes) -> int:
        """Returns its number once it is stored. One that was sent before is not stored twice."""
        return await self.streams.put(
            self.names.work(owner),
            sealed,
            ttl_s=record.ttl_s + ACTIVE_TTL_S,
            message_id=record.brought.message_id,
        )

    async def message_of(self, kept: Kept) -> Stored | None:
        """What brings a job that has not ended; None where it is not found (any more)."""
        queue, record = self.names.queue, kept.record
        if record.seq:
            return await self.streams.at(queue, record.seq)
        wanted, subject = record.brought.message_id, self.names.work(kept.owner)
        found = await self.streams.first(queue, subject, stored_at=kept.stored_at)
        for _ in range(LOOKED_AT):  # it was sent right after its record: few came between
            if found is None or found.headers.get(MESSAGE_ID) == wanted:
                return found
            found = await self.streams.first(queue, subject, start=found.revision + 1)
        return None

    async def oldest(self, owner: str) -> Stored | None:
        return await self.streams.first(self.names.queue, self.names.work(owner))

    async def remove(self, message: Stored) -> None:
        await self.streams.delete(self.names.queue, message.revision)

    async def keep_request(self, owner: str, record: JobRecord, sealed: bytes) -> None:
        """For one that is about to fail: as long as its record tells so."""
        subject = self.names.request(owner, record.id)
        await self.streams.put(subject, sealed, ttl_s=record.result_ttl_s + LINGER_S)

    async def kept_request(self, owner: str, job_id: str) -> bytes | None:
        found = await self.streams.latest(self.names.records, self.names.request(owner, job_id))
        return found.data if found else None

    async def drop_request(self, owner: str, job_id: str) -> None:
        await self.streams.purge(self.names.records, self.names.request(owner, job_id))

    async def waiting(self, owner: str = "*") -> dict[str, Any]:
        return await self.streams.state(self.names.queue, self.names.work(owner))

    async def kept_bytes(self) -> int:
        """Of records and results."""
        state = await self.streams.state(self.names.records, self.names.work("-"))
        return int(state["bytes"])

    # -- webhooks --

    async def put_webhook(self, owner: str, webhook_id: str, sealed: bytes) -> None:
        """Returns once it is stored. One that was sent just before is not stored twice."""
        await self.streams.put(
            self.names.webhook(owner), sealed, ttl_s=WEBHOOK_TTL_S, message_id=webhook_id
        )

    async def webhooks_waiting(self, owner: str = "*") -> dict[str, Any]:
        return await self.streams.state(self.names.webhooks, self.names.webhook(owner))

    # -- results --

    async def put_result(self, owner: str, record: JobRecord, result: bytes) -> int:
        """In how many parts. They count once the record names them."""
        sealed = self.sealer.seal(_result_of(record), record.id, result)
        size = self.streams.max_bytes
        starts = range(0, len(sealed), size)
        for number, start in enumerate(starts):
            await self.streams.put(
                self.names.part(owner, record.id, record.attempt, number),
                sealed[start : start + size],
                ttl_s=record.result_ttl_s + LINGER_S,
            )
        return len(starts)

    async def result(self, owner: str, record: JobRecord) -> bytes | None:
        """None where it is gone. Raises Unreadable."""
        parts = []
        for number in range(record.parts):
            subject = self.names.part(owner, record.id, record.attempt, number)
            found = await self.streams.last(self.names.records, subject)
            if found is None:
                return None
            parts.append(found.data)
        return self.sealer.open(_result_of(record), record.id, b"".join(parts)) if parts else None


def _kept(found: Stored) -> Kept:
    owner = found.subject.split(".")[-2]
    return Kept(JobRecord.decode(found.data), found.revision, owner, found.stored_at)


def _result_of(record: JobRecord) -> str:
    return f"{RESULT} {record.attempt}"


def subjects_count(state: Mapping[str, Any]) -> int:
    """Of messages to the subjects that a stream's state was asked about."""
    return sum((state.get("subjects") or {}).values())
