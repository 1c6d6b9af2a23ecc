"""The loops of worker and courier while there is no store of jobs to serve."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

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
from runestone_testing.job_store import SEALER

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_sidecar.overflow.rounds import Rounds

DEADLINE_S = 30
TURNS = 100


def starved(*_: object) -> None:
    raise AssertionError("the event loop gets no turn")


def worker_of(space: Space) -> Worker:
    return Worker(
        space,
        admission=SimpleNamespace(),  # type: ignore[arg-type]  # nothing comes to it
        metrics=OverflowMetrics(CollectorRegistry()),
        at_once=1,
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
