"""Work on a request that is too much for the event loop: done aside, while others are served."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

_T = TypeVar("_T")

# One thread for all: each more would be one more that the event loop has to share its time with.
_THREAD: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")


async def aside(work: Callable[[], _T]) -> _T:
    """Only for what is pure: all else goes on meanwhile. Raises what `work` does."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
