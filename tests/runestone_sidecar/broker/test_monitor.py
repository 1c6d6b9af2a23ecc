"""Whether a real nats-server syncs what it acknowledges, as its monitoring port tells."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.broker.monitor import Monitor
from runestone_testing.nats import free_port, nats_server

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 30


async def running(monitor: Monitor, until: Callable[[], bool]) -> None:
    task = asyncio.create_task(monitor.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not until():
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("durable", [True, False], ids=["always", "now-and-then"])
async def test_it_says_whether_it_syncs(durable: bool, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with nats_server("--http_port", str(port), durable=durable):
        monitor = Monitor((f"http://127.0.0.1:{port}/",), every_s=0.01)
        await running(monitor, lambda: monitor.syncs is not None)
    assert monitor.syncs is durable
    assert monitor.durable() == durable
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == (
        [] if durable else ["NATS acknowledges what it has not synced: set sync_interval: always"]
    )


async def test_where_nobody_tells_it_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor((f"http://127.0.0.1:{free_port()}",), every_s=0.01)
    await running(monitor, lambda: bool(caplog.records))
    assert monitor.syncs is None
    assert math.isnan(monitor.durable())


async def test_of_several_servers_all_must_sync() -> None:
    one, two = free_port(), free_port()
    with (
        nats_server("--http_port", str(one), durable=True),
        nats_server("--http_port", str(two)),
    ):
        monitor = Monitor(tuple(f"http://127.0.0.1:{port}" for port in (one, two)))
        await running(monitor, lambda: monitor.syncs is not None)
    assert monitor.syncs is False
