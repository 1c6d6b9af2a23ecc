"""One at a time, over all processes of the machine: by cluster, and for the images."""

from __future__ import annotations

import fcntl
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.run import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(file: Path, name: str) -> Iterator[None]:
    """One byte a name of a file that stays: to delete a lock is to let two have it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    byte = zlib.crc32(name.encode())
    with file.open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            say(f"another command works on {name}: waiting for it")
            fcntl.lockf(lock, fcntl.LOCK_EX, 1, byte)
        yield
