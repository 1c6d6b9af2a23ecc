"""The stand that the faults are tried on, with the event loop that the sidecar really runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
import uvloop

from runestone_testing.stand import Stand, standing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """One provider in one pool, one key; `standing` makes others."""
    async with standing(tmp_path) as found:
        yield found
