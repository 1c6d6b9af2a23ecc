"""The worker's loop while there is no store of jobs to serve."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress
from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.names import Names
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Store
from runestone_sidecar.overflow.worker import Worker
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing.job_store import SEALER

DEADLINE_S = 30
TURNS = 100


def starved(*_: object) -> None:
    raise AssertionError("the worker gives the event loop no turn")


async def _others_have_their_turn(store: Store | None) -> None:
    """With NATS away, and a wake from before that nobody has seen to."""
    woken = asyncio.Event()
    woken.set()
    space = Space(Streams(Link(())), Holder(Metrics()), 1 << 20, store=store)
    worker = Worker(
        space,
        admission=SimpleNamespace(),  # type: ignore[arg-type]  # nothing comes to it
        metrics=OverflowMetrics(CollectorRegistry()),
        at_once=1,
        rng=random.Random(1),
        _wake=woken,
    )
    signal.signal(signal.SIGALRM, starved)
    signal.alarm(DEADLINE_S)
    task = asyncio.create_task(worker.run())
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
