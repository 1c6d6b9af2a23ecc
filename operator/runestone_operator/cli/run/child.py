"""A child process that is kept running, and that never outlives us: not even when we are killed."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

FIRST_BACKOFF_S: Final = 0.2
LONGEST_BACKOFF_S: Final = 10.0
STEADY_S: Final = 10.0  # a child that ran for so long starts with a short backoff again
MAX_LINE_BYTES: Final = 1024 * 1024

# Runs in the child before the program: 1 is PR_SET_PDEATHSIG, so that the kernel kills the child
# when we die. It is bound to the thread that started it, which here is the main one. Where there is
# no prctl (macOS) a child outlives a killed parent.
_LAUNCH: Final = """
import ctypes, os, signal, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class NeverReadyError(Exception):
    """The program ended before it was of any use: starting it again would not help."""

    def __init__(self, name: str, ending: str) -> None:
        super().__init__(f"{name} {ending} before it was ready")
        self.name = name
        self.ending = ending


@dataclass(slots=True)
class Child:
    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    say: Callable[[str], None]
    take_line: Callable[[bytes], None]  # of its standard output
    is_proven: bool = False  # was ready once: from then on it is started again whenever it ends
    _process: asyncio.subprocess.Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_running(self) -> None:
        """Until `stop`. Raises NeverReadyError, and OSError where it cannot be started at all."""
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            if not self.is_proven:
                raise NeverReadyError(self.name, ending(code))
            if time.monotonic() - started_s >= STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            self.say(f"{self.name} {ending(code)}: starting it again in {backoff_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    async def stop(self, *, grace_s: float) -> None:
        """By SIGTERM; by SIGKILL where it does not go in time."""
        self._stopping.set()
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _run_once(self) -> int:
        launch = [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), *self.command]
        self._process = process = await asyncio.create_subprocess_exec(
            *launch,
            env=dict(self.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us: we stop the children in order
        )
        assert process.stdout is not None
        await _pump(process.stdout, self.take_line)
        return await process.wait()


async def _pump(stream: asyncio.StreamReader, take_line: Callable[[bytes], None]) -> None:
    """Every line until the end of the stream; one that never ends comes in pieces."""
    rest = b""
    while chunk := await stream.read(65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take_line(line)
        if len(rest) > MAX_LINE_BYTES:
            take_line(rest)
            rest = b""
    if rest:
        take_line(rest)


def ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
