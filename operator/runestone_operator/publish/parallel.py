"""Many requests at once, but not too many, and none left behind when one fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

LIMIT: Final = 8  # of one namespace; the client's own limit is for all of them together
T = TypeVar("T")


async def for_each(
    items: Iterable[T], do: Callable[[T], Awaitable[object]], *, limit: int = LIMIT
) -> None:
    """Does it for every item, and then raises the first error if there was any."""
    remaining = iter(items)
    errors: list[Exception] = []

    async def work() -> None:
        for item in remaining:
            try:
                await do(item)
            except Exception as error:
                errors.append(error)
            await asyncio.sleep(0)  # where `do` had nothing to wait for, others wait for us

    async with asyncio.TaskGroup() as workers:
        for _ in range(limit):
            workers.create_task(work())
    if errors:
        raise errors[0]
