"""Follows the files: what they say now is handed to the sidecar, and told when it serves."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from runestone_operator.cli.load import Loaded
from runestone_operator.cli.mount import BundleDir
from runestone_operator.cli.run.health import Health
from runestone_operator.cli.run.reload import Changed, Refused, Reloader, Unchanged
from runestone_operator.cli.run.say import say, write

_SLOW_APPLY_S: Final = 10
_POLL_S: Final = 0.02


@dataclass(slots=True)
class Follower:
    reloader: Reloader
    bundle: BundleDir
    health: Health
    serving: Loaded

    async def look(self) -> None:
        outcome = await asyncio.to_thread(self.reloader.look)
        match outcome:
            case Refused(lines):
                say("not applied, the last good state keeps serving:")
                write("\n".join(f"  {line}" for line in lines))
            case Unchanged(is_mended=True):
                say("the files are in order again, and say what serves already")
            case Changed():
                await self._apply(outcome)

    async def _apply(self, change: Changed) -> None:
        for line in change.warnings:
            write(f"  {line}")
        what = ", ".join(change.changes)
        digest = change.loaded.build.digest
        started_s = time.monotonic()
        is_applied = await self._hand_over(change.loaded)
        self.serving = change.loaded
        if is_applied:
            seconds = time.monotonic() - started_s
            say(f"{what}: configuration {digest[:12]} serves, after {seconds:.2f} s")
            return
        applied = await self.health.applied()
        why = applied.refused if applied and applied.refused else "no answer"
        say(f"{what}: the sidecar has not taken configuration {digest[:12]} over yet ({why})")

    async def _hand_over(self, loaded: Loaded) -> bool:
        """Whether the sidecar reports that it serves what was written."""
        build, old = loaded.build, self.serving.build
        before = await self.health.applied()
        stale = None
        if before and build.credential_files != old.credential_files:
            stale = before.credentials
        write_all = self.bundle.write
        settle = self._settle(build.digest)
        await asyncio.to_thread(write_all, build.config_files, build.credential_files, settle)
        return await self._in_force(build.digest, stale=stale)

    def _settle(self, digest: str) -> Callable[[], None]:
        """For the thread that writes: returns when the sidecar serves the configuration."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            waiting = self._in_force(digest, stale=None)
            asyncio.run_coroutine_threadsafe(waiting, loop).result()

        return wait

    async def _in_force(self, digest: str, *, stale: str | None) -> bool:
        """`stale`: the credentials that must have gone, where they have to."""
        deadline_s = time.monotonic() + _SLOW_APPLY_S
        while time.monotonic() < deadline_s:
            applied = await self.health.applied()
            if applied and applied.digest == digest and applied.credentials != stale:
                return True
            await asyncio.sleep(_POLL_S)
        return False
