"""Calls when something under the given paths may have changed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from runestone_contract.names import DATA_LINK
from runestone_operator.cli.source.files import SUFFIXES

QUIET_MS: Final = 100  # a save is several steps to an editor: wait until it has done them all
LONGEST_WAIT_MS: Final = 1_000
# Not every file system tells (network and bind mounts do not always): look unasked as well.
UNASKED_MS: Final = 3_000


async def watch(paths: Sequence[str], look: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled. `look` is called once for a burst of changes, and now and then without."""
    trees, folders = _places(paths)
    touched = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        if trees:
            group.create_task(_tell(trees, touched, is_tree=True))
        if folders:
            group.create_task(_tell(folders, touched, is_tree=False))
        while True:
            await touched.wait()
            touched.clear()
            await look()


def _places(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders to watch with all that is below, and folders alone.

    An editor replaces a file instead of writing into it, so its folder is what to watch.
    """
    trees = [path for path in paths if Path(path).is_dir()]
    folders = {str(Path(path).resolve().parent) for path in paths if path not in trees}
    return trees, sorted(folders)


async def _tell(places: Sequence[str], touched: asyncio.Event, *, is_tree: bool) -> None:
    async for _ in awatch(
        *places,
        watch_filter=_may_matter,
        recursive=is_tree,
        step=QUIET_MS,
        debounce=LONGEST_WAIT_MS,
        rust_timeout=UNASKED_MS,
        yield_on_timeout=True,
    ):
        touched.set()


def _may_matter(_: Change, path: str) -> bool:
    """Files that are read, folders, and the link by which a mounted volume changes."""
    name = Path(path).name
    if name == DATA_LINK:
        return True
    return not name.startswith(".") and (name.endswith(SUFFIXES) or "." not in name)
