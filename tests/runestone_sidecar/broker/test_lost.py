"""A connection that is lost at the moment at which something is asked over it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from runestone_sidecar.broker.faults import Unsure
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_testing.nats import nats_server

DEADLINE_S = 30


async def until_up(link: Link) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not link.is_up:
            await asyncio.sleep(0.01)


async def lose_and_ask(url: str) -> None:
    link = Link((url,))
    running = asyncio.create_task(link.run())
    try:
        await until_up(link)
        client: Any = link.client
        # What the client does of itself is out of the way: it would notice a moment later.
        client._flusher_task.cancel()
        client._reading_task.cancel()
        client._transport._io_writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(Unsure):
            await Streams(link).state("none", ">")
        assert not running.done()
        async with asyncio.timeout(DEADLINE_S):
            while link.client is client:
                await asyncio.sleep(0.01)
        await until_up(link)
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_under_uvloop_it_is_in_doubt_and_a_new_one_is_made() -> None:
    """uvloop has a RuntimeError for this, and the client hands it on."""
    with nats_server() as server:
        uvloop.run(lose_and_ask(server.url))
