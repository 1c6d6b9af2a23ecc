"""Gives memory back to the node after a burst: the sidecar's price is its memory times the pods.

glibc keeps the holes that thousands of ended streams leave in its heap. Asking for them takes a
millisecond or two, so it is done when nothing is being served.
"""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 0.5
AT_MOST_EVERY_LOOKS: Final = 4


def find_trim() -> Callable[[int], object] | None:
    """None where the C library has no such thing (musl)."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return trim


async def give_back_when_idle(in_flight: Callable[[], int], served: Callable[[], int]) -> None:
    """Until cancelled. `served` counts requests since the start."""
    trim = find_trim()
    if trim is None:
        return
    seen, looks = served(), 0
    while True:
        await asyncio.sleep(LOOK_S)
        looks += 1
        if in_flight() == 0 and served() != seen and looks >= AT_MOST_EVERY_LOOKS:
            trim(0)
            seen, looks = served(), 0
