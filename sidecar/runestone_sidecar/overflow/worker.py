"""Takes jobs of any key that has some waiting, as many at once as may be, and has them run.

A key whose limits have no room here is left alone until they may have; its jobs wait in the queue,
where another sidecar may have room for them, and hold up no other key.
"""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Missing
from runestone_sidecar.broker.streams import Delivery
from runestone_sidecar.overflow.admission import Admission, Admitted
from runestone_sidecar.overflow.metrics import AWAY, LEAVING, OFF, SERVING, OverflowMetrics
from runestone_sidecar.overflow.rounds import Rounds
from runestone_sidecar.overflow.store import Store

BUSY_LOOK_S: Final = 1.0
IDLE_LOOK_S: Final = 5.0  # whoever submits a job wakes us
FAULT_S: Final = 5.0
SHORTEST_REST_S: Final = 0.02
SIDE_BY_SIDE: Final = 4

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker(Rounds):
    admission: Admission
    metrics: OverflowMetrics
    at_once: int
    rng: random.Random
    _full_until_s: dict[str, float] = field(default_factory=dict)  # by owner
    _in_a_row: Counter[str] = field(default_factory=Counter)  # taken, by owner

    def leave(self) -> None:
        self.metrics.worker_is(LEAVING)
        Rounds.leave(self)

    def _is_away(self) -> None:
        self.metrics.show_nothing()
        self.metrics.worker_is(AWAY if self.at_once else OFF)

    def _woken_by(self, store: Store) -> AbstractAsyncContextManager[None]:
        return store.streams.heard(store.names.wake, self._wake.set)

    async def _serve(self, store: Store) -> None:
        if self._of is not store:
            self._of = store
            self._consumers.clear()
            self._in_a_row.clear()
        self.metrics.worker_is(SERVING if self.at_once else OFF)
        while self.space.store is store and not self._leaving:
            self._wake.clear()
            state = await store.waiting()
            self.metrics.show(state, _age_s(state["first_ts"]) if state["messages"] else 0.0)
            owners = [subject.rpartition(".")[2] for subject in state.get("subjects") or {}]
            await self._take_turns(store, owners)
            waiting = state["messages"] > len(self._running)
            await self._rest(self._pause_s(owners) if waiting else IDLE_LOOK_S)

    async def _take_turns(self, store: Store, owners: list[str]) -> None:
        """Some jobs of each key after the other, while there are any and places for them."""
        self.rng.shuffle(owners)
        turns = deque(owners)
        while turns and len(self._running) < self.at_once and not self._leaving:
            owner = turns.popleft()
            if self._full_until_s.get(owner, 0.0) <= time.monotonic() and await self._take_some(
                store, owner
            ):
                turns.append(owner)

    async def _take_some(self, store: Store, owner: str) -> bool:
        """Whether there may be more. To take one is some round trips in line, so some are taken
        side by side: as many as found room in a row before, since what finds none goes back."""
        free = self.at_once - len(self._running)
        side_by_side = max(1, min(SIDE_BY_SIDE, free, self._in_a_row[owner]))
        took = await asyncio.gather(
            *(self._take(store, owner) for _ in range(side_by_side)),
            return_exceptions=True,  # what is under way comes to its end first
        )
        for error in took:
            if isinstance(error, BaseException):
                raise error
        if not all(took):
            del self._in_a_row[owner]
            return False
        self._in_a_row[owner] += side_by_side
        return True

    async def _take(self, store: Store, owner: str) -> bool:
        """Whether there may be more."""
        try:
            if owner not in self._consumers:
                self._consumers[owner] = await store.ensure_consumer(owner)
            delivery = await store.streams.next(store.names.queue, self._consumers[owner])
        except Missing:
            if self._consumers.pop(owner, None) is None:
                raise
            return True  # it was not used for long, and is made anew
        if delivery is None:
            return False
        admitted = await self._admit(store, owner, delivery)
        if isinstance(admitted, Admitted):
            self._start(admitted)
            self._full_until_s.pop(owner, None)
            return True
        if admitted > 0:
            self._full_until_s[owner] = time.monotonic() + admitted
            return False
        return True

    async def _admit(self, store: Store, owner: str, delivery: Delivery) -> Admitted | float:
        try:
            return await self.admission.admit(store, owner, delivery)
        except BrokerError:
            raise
        except Exception:  # one job that we cannot cope with must not end the work on all others
            log.exception("a job could not be admitted")
            return FAULT_S

    def _start(self, admitted: Admitted) -> None:
        task = asyncio.create_task(admitted.run())
        self._running.add(task)
        self.metrics.running.set(len(self._running))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.metrics.running.set(len(self._running))
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a job failed inside", exc_info=error)

    def _pause_s(self, owners: list[str]) -> float:
        """Until a key may have room again, and no longer than others may need."""
        now_s = time.monotonic()
        until_s = [self._full_until_s[owner] for owner in owners if owner in self._full_until_s]
        room_s = min(until_s, default=now_s + BUSY_LOOK_S) - now_s
        return max(SHORTEST_REST_S, min(BUSY_LOOK_S, room_s))


def _age_s(stamp: str) -> float:
    """Of a time as NATS writes it, with nanoseconds that Python does not read."""
    whole = stamp.partition(".")[0].removesuffix("Z")
    return max(0.0, time.time() - datetime.fromisoformat(f"{whole}+00:00").timestamp())
