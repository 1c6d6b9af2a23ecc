"""The loops of worker and courier: without a store of jobs, and how many jobs are taken at once."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from runestone_sidecar.broker.faults import Away, BrokerError
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.names import Names
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Store
from runestone_sidecar.overflow.webhooks.courier import Courier
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.worker import Worker
from runestone_sidecar.telemetry.events import Events
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing.job_store import OWNER, SEALER, job_record, job_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_sidecar.broker.streams import Delivery
    from runestone_sidecar.overflow.rounds import Rounds

DEADLINE_S = 30
TURNS = 100


def starved(*_: object) -> None:
    raise AssertionError("the event loop gets no turn")


def worker_of(space: Space, admission: object = None, *, at_once: int = 1) -> Worker:
    return Worker(
        space,
        admission=admission,  # type: ignore[arg-type]
        metrics=OverflowMetrics(CollectorRegistry()),
        at_once=at_once,
        rng=random.Random(1),
    )


def courier_of(space: Space) -> Courier:
    return Courier(
        space,
        delivering=SimpleNamespace(),  # type: ignore[arg-type]
        metrics=WebhookMetrics(CollectorRegistry()),
        events=Events(),
        at_once=1,
        rng=random.Random(1),
    )


async def _others_have_their_turn(
    store: Store | None, make: Callable[[Space], Rounds] = worker_of
) -> None:
    """With NATS away, and a wake from before that nobody has seen to."""
    rounds = make(Space(Streams(Link(())), Holder(Metrics()), 1 << 20, store=store))
    rounds._wake.set()
    signal.signal(signal.SIGALRM, starved)
    signal.alarm(DEADLINE_S)
    task = asyncio.create_task(rounds.run())
    try:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not task.done()
    finally:
        signal.alarm(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_without_a_store_others_have_their_turn() -> None:
    await _others_have_their_turn(None)


async def test_E2_with_a_store_that_was_just_lost_others_have_their_turn() -> None:
    await _others_have_their_turn(Store(Streams(Link(())), Names("shop"), SEALER, 1 << 20))


@pytest.mark.parametrize("lost", [False, True], ids=["none", "just-lost"])
async def test_a_courier_gives_others_their_turn_too(lost: bool) -> None:
    store = Store(Streams(Link(())), Names("shop"), SEALER, 1 << 20) if lost else None
    await _others_have_their_turn(store, courier_of)


@dataclass
class Doorkeeper:
    """Lets in, and is done with it at once; or answers what it is told to, once."""

    came: int = 0
    word: float | BrokerError = 0.0

    async def admit(self, store: Store, owner: str, delivery: Delivery) -> float:
        word, self.word = self.word, 0.0
        if isinstance(word, BrokerError):
            self.came += 1
            raise word
        await store.waiting(owner)  # as long as what is asked of NATS takes
        await store.streams.ack(delivery)
        self.came += 1
        return word

    async def taken(self, worker: Worker, store: Store) -> int:
        """At one turn of a key's."""
        before = self.came
        await worker._take_some(store, OWNER)
        return self.came - before


@pytest.mark.parametrize(
    ("at_once", "turns"),
    [
        pytest.param(16, [1, 1, 2, 4, 4], id="much-room"),
        pytest.param(3, [1, 1, 2, 3, 3], id="less"),
    ],
)
async def test_as_many_are_taken_side_by_side_as_found_room_before(
    at_once: int, turns: list[int]
) -> None:
    async with job_store() as store:
        for _ in range(2 * sum(turns)):
            await store.enqueue(OWNER, job_record(), b"sealed")
        space = Space(store.streams, Holder(Metrics()), 1 << 20, store=store)
        keeper = Doorkeeper()
        worker = worker_of(space, keeper, at_once=at_once)
        assert [await keeper.taken(worker, store) for _ in turns] == turns
        keeper.word = 5.0  # no room for one of them: the others are let in all the same
        assert [await keeper.taken(worker, store) for _ in turns[:-1]] == [turns[-1], *turns[:3]]


async def test_where_nats_fails_one_the_others_come_to_their_end() -> None:
    async with job_store() as store:
        for _ in range(8):
            await store.enqueue(OWNER, job_record(), b"sealed")
        space = Space(store.streams, Holder(Metrics()), 1 << 20, store=store)
        keeper = Doorkeeper()
        worker = worker_of(space, keeper, at_once=16)
        for _ in range(3):
            assert await worker._take_some(store, OWNER)
        keeper.word = Away()
        with pytest.raises(Away):
            await worker._take_some(store, OWNER)
        assert keeper.came == 8
