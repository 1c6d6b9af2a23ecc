from __future__ import annotations

import asyncio

import pytest

from runestone_operator.publish.parallel import for_each


async def test_does_every_one_and_not_too_many_at_once() -> None:
    done: list[int] = []
    running = most = 0

    async def do(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    await for_each(range(50), do, limit=4)

    assert sorted(done) == list(range(50))
    assert most == 4


async def test_the_first_error_comes_after_all_is_done() -> None:
    done: list[int] = []

    async def do(item: int) -> None:
        if item in (3, 7):
            raise LookupError(item)
        done.append(item)

    with pytest.raises(LookupError, match="3"):
        await for_each(range(10), do, limit=2)
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 8, 9]


async def test_what_never_waits_lets_others_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def do(_: int) -> None:
        pass

    task = asyncio.create_task(count())
    await for_each(range(1000), do, limit=8)
    task.cancel()
    assert turns > 100
