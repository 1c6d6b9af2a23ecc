"""The upstream client on both event loops: it must block neither, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest_asyncio
import uvloop
from blockbuster import blockbuster_ctx

from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.tunnel import ProxySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest_asyncio.fixture
async def nothing_left() -> AsyncIterator[None]:
    """No blocking call in the test; no task, socket or reported error left when all has ended."""
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(str(context)))
    before = _open_sockets()
    with blockbuster_ctx("runestone_sidecar"):
        yield
    deadline_s = time.monotonic() + 30
    while _open_sockets() > before and time.monotonic() < deadline_s:
        await asyncio.sleep(0.01)
    assert _open_sockets() <= before
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert reported == []


@pytest_asyncio.fixture
async def client(nothing_left: None) -> AsyncIterator[Client]:
    client = Client(proxies=ProxySettings())
    yield client
    await client.close()


def _open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue  # the directory itself
    return count
