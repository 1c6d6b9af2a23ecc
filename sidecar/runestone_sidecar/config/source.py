"""Notices that the mounted files changed, and has them loaded.

Polls two links or a few stat calls: it works on every volume, needs no inotify watch to survive a
remount, and costs microseconds.
"""

import asyncio
import gc
import logging
import os
from pathlib import Path
from typing import Final

from runestone_contract.bundle import BundleError
from runestone_contract.names import DATA_LINK
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.loader import Loader

POLL_S: Final = 0.1
UNREADABLE: Final = "the files could not be read; the log has the reason"
RETRY_S: Final = 1.0  # files that were refused may have been half-written

log = logging.getLogger(__name__)


class Source:
    def __init__(self, config_dir: Path, credentials_dir: Path, holder: Holder) -> None:
        self._dirs = (config_dir, credentials_dir)
        self._loader = Loader(config_dir, credentials_dir)
        self._holder = holder
        self._seen: object = None  # what the files looked like when they were last read

    async def refresh(self) -> None:
        """Loads the files as they stand; a refusal leaves the serving Snapshot as it is."""
        holder = self._holder
        self._seen = signature(self._dirs)  # before reading: what changes meanwhile is seen again
        gc.disable()  # a walk over thousands of objects half-made is a stall for nothing
        try:
            snapshot = await self._loader.load(holder.current)
        except BundleError as error:
            if error.reason != holder.refused:
                log.warning("configuration refused, the last good one serves: %s", error.reason)
            holder.refuse(error.reason)
            return
        except Exception:
            # A fault of ours must not end the watch: no later configuration would ever serve.
            if holder.refused != UNREADABLE:
                log.exception("configuration refused, the last good one serves")
            holder.refuse(UNREADABLE)
            return
        finally:
            gc.enable()
        if snapshot is holder.current:
            holder.accept()
            return
        first = holder.current is None
        holder.swap(snapshot)
        if first:
            gc.freeze()  # modules and the first configuration are here to stay
        log.info(
            "configuration %s serves: %d pools, %d keys, %d policies",
            snapshot.digest[:12],
            len(snapshot.pools),
            len(snapshot.keys),
            len(snapshot.policies),
        )

    async def watch(self) -> None:
        """Until cancelled."""
        idle_s = 0.0
        while True:
            await asyncio.sleep(POLL_S)
            idle_s += POLL_S
            again = self._holder.refused is not None and idle_s >= RETRY_S
            if again or signature(self._dirs) != self._seen:
                idle_s = 0.0
                await self.refresh()


def signature(directories: tuple[Path, ...]) -> tuple[object, ...]:
    """Changes whenever a file in the directories was swapped, added, removed or written."""
    return tuple(_signature(directory) for directory in directories)


def _signature(directory: Path) -> object:
    try:
        return os.readlink(directory / DATA_LINK)
    except OSError:
        pass
    try:
        with os.scandir(directory) as entries:
            return tuple(sorted(_look(entry) for entry in entries))
    except OSError:
        return None


def _look(entry: "os.DirEntry[str]") -> tuple[object, ...]:
    try:
        stat = entry.stat()
    except OSError:  # a link to nowhere, as editors leave them
        return (entry.name,)
    return (entry.name, stat.st_mtime_ns, stat.st_size, stat.st_ino)
