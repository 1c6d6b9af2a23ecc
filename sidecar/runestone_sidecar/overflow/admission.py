"""Whether a job that was delivered runs here and now: is it still wanted, may it, is there room?"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson

from runestone_sidecar.admit.auth import usable
from runestone_sidecar.admit.limits import Limiter, Reservation
from runestone_sidecar.admit.route import Router
from runestone_sidecar.broker.faults import WrongRevision
from runestone_sidecar.broker.streams import Delivery
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.errors import BadRequest, GatewayError, Internal, LimitReached, Unauthorized
from runestone_sidecar.overflow.attempt import Attempt, Tools
from runestone_sidecar.overflow.envelope import Envelope, decode_request
from runestone_sidecar.overflow.metrics import EXHAUSTED
from runestone_sidecar.overflow.names import Brought, read_message_id
from runestone_sidecar.overflow.principals import Principals
from runestone_sidecar.overflow.record import (
    CANCELLED,
    EXPIRED,
    FAILED,
    MAX_AGE_REACHED,
    RUNNING,
    UNREADABLE,
    JobRecord,
)
from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.overflow.store import MESSAGE_ID, Kept, Store
from runestone_sidecar.pipeline.aside import aside
from runestone_sidecar.pipeline.plan import Plan, Record, Routing
from runestone_sidecar.pipeline.prepare import Incoming, build_query, prepare
from runestone_sidecar.pipeline.spending import reserve
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.base import Surface

HEAVY_BYTES: Final = 256 * 1024  # of a body: from here on, what is made of it is made aside
LOST_RACE_S: Final = 1.0
MISSED: Final = 3  # deliveries without a record until there is none
LONGEST_WAIT_S: Final = 30.0  # for room: limits may be raised, and others give theirs back
SHORTEST_WAIT_S: Final = 0.05
METHOD: Final = "JOB"  # in the access line

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    attempt: Attempt
    work: Plan | GatewayError

    async def run(self) -> None:
        await self.attempt.run(self.work)


@dataclass(slots=True)
class Admission:
    holder: Holder
    router: Router
    limiter: Limiter
    surfaces: Mapping[str, Surface]  # by path
    tools: Tools
    principals: Principals
    watched: Callable[[Reservation, str], Reservation]  # its end is news to the key's waiters here

    async def admit(self, store: Store, owner: str, delivery: Delivery) -> Admitted | float:
        """A job to run; or for how many seconds there is no room for those of its key (0: this one
        was done with). Raises BrokerError, and then the job comes again."""
        kept = await self._brought(store, owner, delivery)
        if kept is None:
            return 0.0
        job_id = kept.record.id
        if (end := _end_of(kept.record)) is not None:
            return await self._end(store, owner, delivery, kept, *end)
        try:
            envelope = decode_request(store.open_request(job_id, delivery.data))
        except Unreadable:
            return await self._end(store, owner, delivery, kept, FAILED, UNREADABLE)
        snapshot = self.holder.current
        assert snapshot is not None  # else there were no store
        principal = self._principal(envelope.key_id)
        if principal is None:
            return await self._end(store, owner, delivery, kept, CANCELLED, "key_revoked")
        return await self._begin(
            store, owner, delivery, kept, _Asked(envelope, snapshot, principal)
        )

    async def _brought(self, store: Store, owner: str, delivery: Delivery) -> Kept | None:
        """The job, if that is for us to do; what the message needs otherwise is done here."""
        brought = read_message_id(delivery.headers.get(MESSAGE_ID, ""))
        kept = await store.read(owner, brought.job_id) if brought else None
        if kept is None and delivery.delivered < MISSED:  # a promise is not thrown away lightly
            await store.streams.nak(delivery, delay_s=LOST_RACE_S)
            return None
        if kept is not None and brought is not None:
            kept = _as_promised(kept, brought)
        if kept is None or kept.record.has_ended or kept.record.seq not in {0, delivery.seq}:
            # Nobody waits for it, or another message brings it.
            await self.tools.outbox.close(store, owner, delivery, kept.record if kept else None)
            return None
        record, tools = kept.record, self.tools
        if delivery.delivered > 1:
            tools.metrics.redeliveries.inc()
        if record.state == RUNNING and await tools.presence.runs(store.names, record):
            await store.streams.nak(delivery, delay_s=store.ack_wait_s)
            return None
        return kept

    async def _begin(
        self, store: Store, owner: str, delivery: Delivery, kept: Kept, asked: "_Asked"
    ) -> Admitted | float:
        surface = self.surfaces.get(asked.envelope.path)
        record = self._record_of(asked, surface)
        work: Plan | GatewayError
        try:
            with Routing(record):
                work = await self._plan(asked, surface, record)
        except GatewayError as error:
            work = error
        except Exception:  # it must not come again for ever
            log.exception("job %s could not be prepared", kept.record.id)
            work = Internal()
        else:
            try:
                reservation = await reserve(self.limiter, work, record)
                if reservation is not None:
                    record.reservation = self.watched(reservation, asked.principal.id)
            except LimitReached as reached:
                if not math.isinf(reached.wait_s):
                    return await self._wait(store, delivery, reached)
                work = reached  # it is never let in, which is what it ends with
        running = replace(
            kept.record,
            state=RUNNING,
            attempt=kept.record.attempt + 1,
            worker=self.tools.presence.worker,
            seq=delivery.seq,
            error="",
        )
        begun = False
        try:
            revision = await store.write(owner, running, kept.revision)
            begun = True
        except WrongRevision:  # cancelled, or taken by another: it tells when it comes again
            await store.streams.nak(delivery, delay_s=LOST_RACE_S)
            return 0.0
        finally:
            if not begun and record.reservation is not None:
                record.reservation.refund()
        if kept.record.state == RUNNING:
            self.tools.metrics.taken_over.inc()
        mine = Kept(running, revision, owner)
        return Admitted(Attempt(store, owner, delivery, mine, record, self.tools), work)

    async def _wait(self, store: Store, delivery: Delivery, reached: LimitReached) -> float:
        """Back at once: another sidecar may have room. This one looks away for a while."""
        await store.streams.nak(delivery)
        await store.streams.tell(store.names.wake)
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, reached.wait_s))

    async def _plan(self, asked: "_Asked", surface: Surface | None, record: Record) -> Plan:
        """As the edge does it, by the configuration of now. Raises GatewayError."""
        if surface is None:
            raise BadRequest("This sidecar does not serve the URL that the job is for.")
        make = partial(_incoming, asked.envelope, surface, clock=asyncio.get_running_loop().time)
        if len(asked.envelope.body) < HEAVY_BYTES:
            incoming = make()
        else:
            incoming = await aside(make)
            incoming.query = await aside(partial(build_query, incoming))
        record.model = incoming.request.model
        plan = prepare(self.router, asked.snapshot, asked.principal, incoming)
        record.model = plan.decision.model
        record.input_tokens = plan.input_tokens
        return plan

    async def _end(
        self, store: Store, owner: str, delivery: Delivery, kept: Kept, state: str, error: str
    ) -> float:
        ended = kept.record.ended(state, error=error)
        if ended.can_run_anew:
            await store.keep_request(owner, ended, delivery.data)
        try:
            await store.write(owner, ended, kept.revision)
        except WrongRevision:
            await store.streams.nak(delivery, delay_s=LOST_RACE_S)
            return 0.0
        self.tools.metrics.has_ended(ended)
        if error == EXHAUSTED:
            self.tools.metrics.dead_letters.labels(error).inc()
            self.tools.events.emit(EventType.OVERFLOW_DEAD_LETTER, reason=error)
        await self.tools.outbox.close(store, owner, delivery, ended)
        return 0.0

    def _record_of(self, asked: "_Asked", surface: Surface | None) -> Record:
        record = Record(
            request_id=asked.envelope.request_id,
            started_s=time.perf_counter(),
            events=self.tools.events,
            method=METHOD,
            path=asked.envelope.path,
            trace=asked.envelope.trace,
            principal=asked.principal,
            config=asked.snapshot.digest,
        )
        if surface is not None:
            record.surface = surface
        return record

    def _principal(self, key_id: str) -> Principal | None:
        """None where it would not be let in now."""
        found = self.principals.find(key_id)
        with contextlib.suppress(Unauthorized):
            return usable(found, time.time()) if found else None
        return None


@dataclass(frozen=True, slots=True)
class _Asked:
    envelope: Envelope
    snapshot: Snapshot
    principal: Principal


def _as_promised(kept: Kept, brought: Brought) -> Kept | None:
    """None: the message is of a job that is no more. That a job is to be tried anew is promised
    with the message, and written down by whoever comes first."""
    record = kept.record
    if record.can_run_anew and brought == record.anew().brought:
        return replace(kept, record=record.anew())
    return kept if brought == record.brought else None


def _end_of(record: JobRecord) -> tuple[str, str] | None:
    """A state and its reason, for what is not to be tried (again)."""
    if record.is_late():
        return EXPIRED, MAX_AGE_REACHED
    if record.tries >= record.max_attempts:  # whoever made the last one died of it
        return FAILED, EXHAUSTED
    return None


def _incoming(envelope: Envelope, surface: Surface, *, clock: Callable[[], float]) -> Incoming:
    """Raises GatewayError."""
    body = _object(envelope.body)
    surface.check(body)
    request = Request(
        body=body,
        model=body["model"],
        stream=False,
        request_id=envelope.request_id,
        created_s=int(time.time()),
        raw=envelope.body,
        headers=envelope.lines(surface.forwarded),
    )
    return Incoming(
        surface=surface,
        request=request,
        header=envelope.header,
        clock=clock,
        body_bytes=len(envelope.body),
    )


def _object(data: bytes) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(data)  # it was one when it was taken
    return body
