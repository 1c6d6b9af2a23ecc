"""Memory goes back to the node when nothing is being served, and not more often than it pays."""

import asyncio
import ctypes

import pytest

from runestone_sidecar.telemetry import memory


def test_glibc_can_trim() -> None:
    trim = memory.find_trim()
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        assert trim is None
    else:
        assert trim is not None
        assert trim(0) in (0, 1)


async def test_it_trims_once_after_work_and_only_when_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trims: list[int] = []
    looks = 0
    in_flight, served = 1, 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return in_flight

    async def many_looks() -> None:
        enough = looks + 3 * memory.AT_MOST_EVERY_LOOKS
        async with asyncio.timeout(30):
            while looks < enough:
                await asyncio.sleep(0.001)

    monkeypatch.setattr(memory, "find_trim", lambda: trims.append)
    monkeypatch.setattr(memory, "LOOK_S", 0.001)
    task = asyncio.create_task(memory.give_back_when_idle(look, lambda: served))
    await asyncio.sleep(0)
    served = 5
    await many_looks()
    assert trims == [], "while something is being served"
    in_flight = 0
    await many_looks()
    assert trims == [0], "once, for nothing was served since"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
