"""Gives memory back to the node after a burst, and not before: the sidecar's price is its memory
times the pods.

glibc keeps the holes that thousands of ended streams leave in its heap. Asking for them takes a
millisecond or two, so it is done when nothing is being served. The end of the heap it gives back by
itself, whenever 128 KiB of it are free, and takes it again page by page: each batch of log lines
costs that, unless it is told to leave it to us.
"""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 0.5
AT_MOST_EVERY_LOOKS: Final = 20
RESERVE_BYTES: Final = 8 << 20  # free at the end of the heap
MAPPED_BYTES: Final = 1 << 20  # from here on a piece of memory is the kernel's at once

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3  # it moves by itself only while nothing was set


def find_trim() -> Callable[[int], object] | None:
    """None where the C library has no such thing (musl)."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return trim


def keep_reserve() -> bool:
    """Whether the C library does so."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(
        mallopt(_M_TRIM_THRESHOLD, RESERVE_BYTES) and mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
    )


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
