"""One attempt at a job that is ours: the call, watched and kept alive, and what comes of it.

Its record's revision is the fence. Whoever has lost the job (it was cancelled, or taken over while
this process stood still) drops what it has, and neither writes nor acknowledges anything.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Final

import orjson

from runestone_sidecar.broker.faults import BrokerError, WrongRevision
from runestone_sidecar.broker.streams import Delivery
from runestone_sidecar.errors import (
    GatewayError,
    Internal,
    ProviderRefused,
    RateLimited,
)
from runestone_sidecar.overflow.envelope import encode_result
from runestone_sidecar.overflow.metrics import OverflowMetrics, reason_of
from runestone_sidecar.overflow.presence import Presence
from runestone_sidecar.overflow.record import FAILED, RETRYING, SUCCEEDED
from runestone_sidecar.overflow.store import Kept, Store
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.execute import Executor, StreamedReply
from runestone_sidecar.pipeline.jobs import JobResponse
from runestone_sidecar.pipeline.plan import CANCELLED_STATUS, Plan, Record
from runestone_sidecar.telemetry.events import Events, EventType

STORE_FOR_S: Final = 120.0  # an answer was paid for: NATS may come back
STORE_PAUSE_S: Final = 0.5
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 60.0
GIVE_BACK_S: Final = 1.0

Outcome = JobResponse | GatewayError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all attempts of a process share."""

    executor: Executor
    metrics: OverflowMetrics
    close: Callable[[Record], None]  # settles, counts and logs, as for any request
    events: Events
    rng: random.Random
    outbox: Outbox
    presence: Presence
    took: Callable[[float], None]


@dataclass(slots=True)
class Attempt:
    store: Store
    owner: str
    delivery: Delivery
    mine: Kept  # running, by us
    record: Record
    tools: Tools

    async def run(self, work: Plan | GatewayError) -> None:
        """`work` may be why there is nothing to call. When cancelled, the job is given back."""
        with self.tools.presence.at_work(self.mine.record.id):
            await self._run(work)

    async def _run(self, work: Plan | GatewayError) -> None:
        metrics, job = self.tools.metrics, self.mine.record
        metrics.begun(job)
        self.tools.events.emit(EventType.OVERFLOW_DRAIN_START, self.record)
        started_s = time.monotonic()
        try:
            outcome = await self._watched(self._outcome(work))
            if outcome is None:
                metrics.fenced.inc()
                await self._settle_ended()
                return
            self.tools.took(time.monotonic() - started_s)
            await self._conclude(outcome)
        except asyncio.CancelledError:
            await self._give_back()
            raise
        finally:
            metrics.left(job.id)

    # -- the call --

    async def _outcome(self, work: Plan | GatewayError) -> Outcome:
        record = self.record
        try:
            if isinstance(work, GatewayError):
                raise work
            reply = await self.tools.executor.execute(work, record)
            assert not isinstance(reply, StreamedReply)  # it was not asked for
            record.note_whole(reply)
            return JobResponse(200, record.request_id, reply.body)
        except GatewayError as error:
            record.status, record.error = error.told_status, error.name
            return error
        except asyncio.CancelledError:
            record.status, record.error = CANCELLED_STATUS, "cancelled"
            raise
        except Exception:
            log.exception("job %s failed inside", self.mine.record.id)
            internal = Internal()
            record.status, record.error = internal.status, internal.code
            return internal
        finally:
            self.tools.close(record)

    async def _watched(self, call: Coroutine[None, None, Outcome]) -> Outcome | None:
        """None: the job is not ours any more, and the call was stopped."""
        changed = asyncio.Event()
        task = asyncio.create_task(call)
        async with contextlib.AsyncExitStack() as stack:
            try:
                subject = self.store.names.record(self.owner, self.mine.record.id)
                with contextlib.suppress(BrokerError):  # heartbeats look too
                    await stack.enter_async_context(self.store.streams.heard(subject, changed.set))
                while not await self._done(task, changed):
                    changed.clear()
                    if not await self._is_ours():
                        return None
                return task.result()
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})

    async def _done(self, task: asyncio.Task[Outcome], changed: asyncio.Event) -> bool:
        hearing = asyncio.create_task(changed.wait())
        try:
            await asyncio.wait(
                {task, hearing},
                timeout=self.store.ack_wait_s / 3,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            hearing.cancel()
        return task.done()

    async def _is_ours(self) -> bool:
        try:
            kept = await self.store.read(self.owner, self.mine.record.id)
            if kept is None or kept.revision != self.mine.revision:
                return False
            await self.store.streams.keep(self.delivery)
            self.tools.metrics.kept(self.mine.record.id)
        except BrokerError:
            return True  # nobody can tell now; writing will
        return True

    # -- its end --

    async def _conclude(self, outcome: Outcome) -> None:
        record = self.mine.record
        if isinstance(outcome, JobResponse):
            await self._end(SUCCEEDED, outcome)
            return
        error = outcome
        if is_passing(error) and record.tries < record.max_attempts:
            await self._retry(error)
            return
        code = error.name
        if await self._end(FAILED, response_to(error, self.record), code) and is_passing(error):
            self.tools.metrics.dead_letters.labels(reason_of(error)).inc()
            self.tools.events.emit(EventType.OVERFLOW_DEAD_LETTER, self.record, reason=code)

    async def _end(self, state: str, response: JobResponse, error: str = "") -> bool:
        """Whether that is how it has ended. The result is kept before the message is given up:
        between the two, it comes again and finds that all is done."""
        ended = self.mine.record.ended(state, error=error)
        result = encode_result(response)

        async def write() -> None:
            if ended.can_run_anew:
                await self.store.keep_request(self.owner, ended, self.delivery.data)
            parts = await self.store.put_result(self.owner, ended, result)
            await self.store.write(self.owner, replace(ended, parts=parts), self.mine.revision)

        if not await self._written(write, state):
            return False
        self.tools.metrics.has_ended(ended)
        self.tools.events.emit(EventType.OVERFLOW_DRAIN_STOP, self.record, reason=error or None)
        await self._acknowledge()
        if ended.attempt > 1 and not ended.can_run_anew:  # kept by who lost it, or before
            await self._drop_request()
        return True

    async def _retry(self, error: GatewayError) -> None:
        retrying = replace(self.mine.record, state=RETRYING, error=error.name)

        async def write() -> None:
            await self.store.write(self.owner, retrying, self.mine.revision)

        if await self._written(write, RETRYING):
            longest_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (retrying.tries - 1))
            wait_s = max(self.tools.rng.uniform(0.5, 1.0) * longest_s, error.retry_after_s or 0.0)
            with contextlib.suppress(BrokerError):
                await self.store.streams.nak(self.delivery, delay_s=wait_s)

    async def _written(self, write: Callable[[], Coroutine[None, None, None]], state: str) -> bool:
        """Tries for as long as NATS may come back; False: the job was lost to somebody."""
        until_s = time.monotonic() + STORE_FOR_S
        while True:
            try:
                await write()
                return True
            except WrongRevision:
                if await self._is_our_word(state):
                    return True
                self.tools.metrics.fenced.inc()
                await self._settle_ended()
                return False
            except BrokerError:
                if time.monotonic() >= until_s:
                    log.error("what came of job %s could not be kept", self.mine.record.id)
                    return False
            await asyncio.sleep(STORE_PAUSE_S)
            with contextlib.suppress(BrokerError):
                await self.store.streams.keep(self.delivery)

    async def _is_our_word(self, state: str) -> bool:
        """A write whose answer was lost, and that is tried again, finds itself."""
        with contextlib.suppress(BrokerError):
            kept = await self.store.read(self.owner, self.mine.record.id)
            ours = self.mine.record
            return kept is not None and (
                (kept.record.state, kept.record.attempt, kept.record.worker)
                == (state, ours.attempt, ours.worker)
            )
        return False

    async def _settle_ended(self) -> None:
        """What was cancelled needs no message any more; what was taken over has a new owner."""
        with contextlib.suppress(BrokerError):
            kept = await self.store.read(self.owner, self.mine.record.id)
            if kept is None or kept.record.has_ended:
                await self._acknowledge()
            if kept is None or (kept.record.has_ended and not kept.record.can_run_anew):
                await self._drop_request()

    async def _drop_request(self) -> None:
        """What has its answer needs it no more."""
        with contextlib.suppress(BrokerError):  # it has a time to live
            await self.store.drop_request(self.owner, self.mine.record.id)

    async def _acknowledge(self) -> None:
        with contextlib.suppress(BrokerError):  # it comes again, and is found to have ended
            await self.tools.outbox.close(self.store, self.owner, self.delivery, self.mine.record)

    async def _give_back(self) -> None:
        """This sidecar stops: another one takes it now, not when the ack wait is over."""
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                back = replace(self.mine.record, state=RETRYING, error="sidecar_stopped")
                await self.store.write(self.owner, back, self.mine.revision)
                await self.store.streams.nak(self.delivery)
                await self.store.streams.tell(self.store.names.wake)


def is_passing(error: GatewayError) -> bool:
    """It may go better later; anything else is a judgement on the request."""
    return not isinstance(error, ProviderRefused) and (
        error.status >= 500 or isinstance(error, RateLimited)
    )


def response_to(error: GatewayError, record: Record) -> JobResponse:
    body = orjson.dumps(record.surface.error_body(error))
    return JobResponse(error.told_status, record.request_id, body)
