"""Delivers webhooks of any key that has some waiting, some at once, and no key all the places.

What is not delivered goes back into the queue for a while that grows with its age: no count of
attempts is needed, so that none can be lost. Workers know nothing of it, and wait for none of it.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter, deque
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Missing
from runestone_sidecar.broker.streams import Delivery
from runestone_sidecar.overflow.rounds import Rounds
from runestone_sidecar.overflow.seal import Unreadable
from runestone_sidecar.overflow.store import Store
from runestone_sidecar.overflow.webhooks.deliver import Delivering
from runestone_sidecar.overflow.webhooks.event import KIND, Webhook, decode_webhook
from runestone_sidecar.overflow.webhooks.metrics import Outcome, WebhookMetrics
from runestone_sidecar.overflow.webhooks.post import Answer
from runestone_sidecar.telemetry.events import Events, EventType

SPAN_S: Final = 24 * 3600.0
FIRST_BACKOFF_S: Final = 5.0
LONGEST_BACKOFF_S: Final = 3600.0
LOOK_S: Final = 5.0  # whoever queues one wakes us
BUSY_LOOK_S: Final = 1.0
SHORTEST_REST_S: Final = 0.02
LATE_S: Final = 2.0
LATE_LOOK_S: Final = 0.1
GIVE_BACK_S: Final = 1.0
PART_OF_ONE_KEY: Final = 4  # a fourth of the places

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pacing:
    first_s: float = FIRST_BACKOFF_S
    longest_s: float = LONGEST_BACKOFF_S
    span_s: float = SPAN_S

    def pause_s(self, age_s: float, asked_s: float | None, rng: random.Random) -> float:
        """As long again as it is late, with jitter: exponential without a count."""
        longest_s = min(self.longest_s, max(self.first_s, age_s))
        asked_s = min(asked_s or 0.0, self.longest_s)
        return max(rng.uniform(0.5, 1.0) * longest_s, asked_s)


@dataclass(slots=True)
class Courier(Rounds):
    delivering: Delivering
    metrics: WebhookMetrics
    events: Events
    at_once: int
    rng: random.Random
    pacing: Pacing = field(default_factory=Pacing)
    _of_key: Counter[str] = field(default_factory=Counter)  # running, by owner
    _look_at_s: dict[str, float] = field(default_factory=dict)  # by owner: not before
    _due_s: dict[str, float] = field(default_factory=dict)  # by owner: the next that we put back

    def __post_init__(self) -> None:
        self._leaving = not self.at_once  # then it never begins

    def _woken_by(self, store: Store) -> AbstractAsyncContextManager[None]:
        return store.streams.heard(store.names.webhook_wake, self._heard)

    def _heard(self) -> None:
        self._look_at_s.clear()
        self._wake.set()

    async def _serve(self, store: Store) -> None:
        if self._of is not store:
            self._of = store
            self._consumers.clear()
            self._look_at_s.clear()
            self._due_s.clear()
        while self.space.store is store and not self._leaving:
            self._wake.clear()
            state = await store.webhooks_waiting()
            self.metrics.waiting.set(state["messages"])
            owners = [subject.rpartition(".")[2] for subject in state.get("subjects") or {}]
            await self._take_turns(store, owners)
            await self._rest(self._pause_s() if state["messages"] else LOOK_S)

    async def _take_turns(self, store: Store, owners: list[str]) -> None:
        """One of each key after the other, while there are any and places for them."""
        self.rng.shuffle(owners)
        turns = deque(owners)
        most = max(1, self.at_once // PART_OF_ONE_KEY)
        while turns and len(self._running) < self.at_once and not self._leaving:
            owner = turns.popleft()
            rests = self._look_at_s.get(owner, 0.0) > time.monotonic()
            if rests or self._of_key[owner] >= most:
                continue
            delivery = await self._next(store, owner)
            if delivery is None:
                self._look_at_s[owner] = self._next_look_s(owner)
                continue
            self._start(store, owner, delivery)
            turns.append(owner)

    def _next_look_s(self, owner: str) -> float:
        """Where others put something back, only looking tells; and NATS may be a little late."""
        now_s = time.monotonic()
        due_s = self._due_s.get(owner, math.inf)
        if due_s + LATE_S <= now_s:
            del self._due_s[owner]
            due_s = math.inf
        return min(now_s + LOOK_S, max(due_s, now_s + LATE_LOOK_S))

    def _pause_s(self) -> float:
        look_s = min(self._look_at_s.values(), default=math.inf) - time.monotonic()
        return max(SHORTEST_REST_S, min(BUSY_LOOK_S, look_s))

    async def _next(self, store: Store, owner: str) -> Delivery | None:
        try:
            if owner not in self._consumers:
                self._consumers[owner] = await store.ensure_webhook_consumer(owner)
            return await store.streams.next(store.names.webhooks, self._consumers[owner])
        except Missing:
            if self._consumers.pop(owner, None) is None:
                raise
            return None  # it was not used for long, and is made anew

    def _start(self, store: Store, owner: str, delivery: Delivery) -> None:
        task = asyncio.create_task(self._handle(store, owner, delivery))
        self._running.add(task)
        self._of_key[owner] += 1
        self.metrics.running.set(len(self._running))

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._of_key[owner] -= 1
            if not self._of_key[owner]:
                del self._of_key[owner]
            self._look_at_s.pop(owner, None)
            self.metrics.running.set(len(self._running))
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a webhook failed inside", exc_info=error)

        task.add_done_callback(ended)

    # -- one of them --

    async def _handle(self, store: Store, owner: str, delivery: Delivery) -> None:
        id_ = delivery.headers.get("Nats-Msg-Id", "")
        try:
            webhook = decode_webhook(id_, store.sealer.open(KIND, id_, delivery.data))
        except Unreadable:
            self.metrics.given_up.labels("unreadable").inc()
            await self._acknowledge(store, delivery)
            return
        try:
            answer = await self._kept_alive(store, delivery, webhook)
        except asyncio.CancelledError:
            await self._nak(store, delivery, 0.0)
            raise
        self.metrics.attempts.labels(answer.outcome.value).inc()
        await self._conclude(store, owner, delivery, webhook, answer)

    async def _kept_alive(self, store: Store, delivery: Delivery, webhook: Webhook) -> Answer:
        """Nobody else takes it meanwhile, unless this process dies."""
        task = asyncio.create_task(self.delivering.deliver(webhook))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=store.ack_wait_s / 3)
                if not task.done():
                    with contextlib.suppress(BrokerError):
                        await store.streams.keep(delivery)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _conclude(
        self, store: Store, owner: str, delivery: Delivery, webhook: Webhook, answer: Answer
    ) -> None:
        age_s = max(0.0, time.time() - webhook.ended_ms / 1000)
        reason = answer.outcome.value
        if answer.outcome in {Outcome.DELIVERED, Outcome.GONE} or age_s >= self.pacing.span_s:
            if answer.outcome is not Outcome.DELIVERED:
                given_up = reason if answer.outcome is Outcome.GONE else "late"
                self.metrics.given_up.labels(given_up).inc()
            log.info("webhook of job %s: %s", webhook.job_id, reason)
            self.events.emit(
                EventType.OVERFLOW_WEBHOOK,
                webhook,
                reason=None if answer.outcome is Outcome.DELIVERED else reason,
            )
            await self._acknowledge(store, delivery)
            return
        pause_s = self.pacing.pause_s(age_s, answer.retry_after_s, self.rng)
        log.warning(
            "webhook of job %s is not delivered: %s %s; again in %d s",
            *(webhook.job_id, reason, answer.status or "-", pause_s),
        )
        await self._nak(store, delivery, pause_s)
        due_s = time.monotonic() + pause_s
        self._due_s[owner] = min(self._due_s.get(owner, math.inf), due_s)

    async def _acknowledge(self, store: Store, delivery: Delivery) -> None:
        with contextlib.suppress(BrokerError):  # it comes again, under the same id
            await store.streams.ack(delivery)

    async def _nak(self, store: Store, delivery: Delivery, delay_s: float) -> None:
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                await store.streams.nak(delivery, delay_s=delay_s)
