"""The end of a job's message: it is given up once the job's webhook is kept, and not before.

    record -> ended, webhook due  ─ webhook into its queue ─ record: queued  ─ ack of the work

Whoever dies between two of these, the work comes again, to be found ended with its webhook due; a
webhook that is put into its queue twice has one id.
"""

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Final

from runestone_sidecar.broker.faults import Full, WrongRevision
from runestone_sidecar.broker.streams import Delivery
from runestone_sidecar.overflow.envelope import decode_request, decode_result
from runestone_sidecar.overflow.record import DUE, QUEUED_WEBHOOK, JobRecord
from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.overflow.store import Kept, Store, subjects_count
from runestone_sidecar.overflow.webhooks.event import KIND, Webhook, body_of, webhook_id
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.pipeline.jobs import JobResponse

FULL_S: Final = 10.0
RESULT_BYTES: Final = 512 * 1024  # what is larger is told without its result's body
SMALL_BYTES: Final = 16 * 1024  # the same, while a key has many undelivered
MANY: Final = 64
ROOM_BYTES: Final = 16 * 1024  # of a message: for all but its result

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outbox:
    metrics: WebhookMetrics

    async def close(
        self, store: Store, owner: str, delivery: Delivery, record: JobRecord | None
    ) -> None:
        """Acknowledges the message of a job that needs it no more. Raises BrokerError."""
        if record is not None and record.webhook == DUE:
            try:
                await self.queue(store, owner, record.id, delivery.data)
            except Full:
                log.debug("the queue of webhooks is full: a job's message is kept for its own")
                await store.streams.nak(delivery, delay_s=FULL_S)
                return
        await store.streams.ack(delivery)

    async def queue(self, store: Store, owner: str, job_id: str, sealed: bytes) -> None:
        """The webhook of a job that has ended, where one is due; `sealed` is the job's request.
        Raises BrokerError."""
        kept = await store.read(owner, job_id)
        if kept is None or not kept.record.has_ended or kept.record.webhook != DUE:
            return
        try:
            envelope = decode_request(store.open_request(job_id, sealed))
        except Unreadable:  # where to is not known either
            self.metrics.given_up.labels("unreadable").inc()
            await _settle(store, owner, kept)
            return
        if envelope.webhook_url is None:
            return
        body = await _body(store, owner, kept.record)
        webhook = Webhook(
            id=webhook_id(store.sealer, kept.record),
            key_id=envelope.key_id,
            job_id=job_id,
            request_id=envelope.request_id,
            url=envelope.webhook_url,
            ended_ms=kept.record.finished_ms,
            body=body,
        )
        await store.put_webhook(
            owner, webhook.id, store.sealer.seal(KIND, webhook.id, webhook.encode())
        )
        self.metrics.queued.inc()
        await store.streams.tell(store.names.webhook_wake)
        await _settle(store, owner, kept)


async def _body(store: Store, owner: str, record: JobRecord) -> bytes:
    """Smaller ones where many lie undelivered: no key takes the room of the others."""
    many = subjects_count(await store.webhooks_waiting(owner)) >= MANY
    room_bytes = min(RESULT_BYTES, store.streams.max_bytes - ROOM_BYTES)
    response = await _response(store, owner, record)
    return body_of(record, response, min(room_bytes, SMALL_BYTES) if many else room_bytes)


async def _response(store: Store, owner: str, record: JobRecord) -> JobResponse | None:
    """None where there is none, or none any more: the state is told all the same."""
    with contextlib.suppress(Unreadable):
        result = await store.result(owner, record)
        return None if result is None else decode_result(result)
    return None


async def _settle(store: Store, owner: str, kept: Kept) -> None:
    """Nothing hangs on it: without it the record is kept for longer."""
    with contextlib.suppress(WrongRevision):
        await store.write(owner, replace(kept.record, webhook=QUEUED_WEBHOOK), kept.revision)
