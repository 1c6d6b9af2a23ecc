"""The store of jobs where NATS is there and cannot keep any."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing.nats import nats_server

if TYPE_CHECKING:
    import pytest

DEADLINE_S = 30
TRIES = 5


class CountedStreams(Streams):
    """How often the space asked whether it is worth trying."""

    asked = 0

    @property
    def is_up(self) -> bool:
        self.asked += super().is_up
        return super().is_up


async def test_it_is_told_once_that_nothing_can_be_kept(caplog: pytest.LogCaptureFixture) -> None:
    with nats_server(jetstream=False) as server:
        link = Link((server.url,))
        holder = Holder(Metrics())
        key = base64.b64encode(bytes(32)).decode()
        holder.current = SimpleNamespace(namespace="shop", overflow_key=key)  # type: ignore[assignment]
        streams = CountedStreams(link)
        space = Space(streams, holder, 1 << 20, again_s=0.01)
        tasks = [asyncio.create_task(space.run()), asyncio.create_task(link.run())]
        try:
            async with asyncio.timeout(DEADLINE_S):
                while streams.asked < TRIES:
                    await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    told = [record.message for record in caplog.records if "no jobs" in record.message]
    assert len(told) == 1, told
    assert space.store is None
