"""Server processes of a test: they log to a file, end by their own pid, and die with the test.

Knows nothing of what it runs. Nothing outlives the test process, not even when that one is killed:
the kernel then kills each child (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_S = 0.02
LOG_TAIL_BYTES = 6000

# Runs in the child before the program: 1 is PR_SET_PDEATHSIG. Where there is no prctl (macOS) the
# child only ends with stop().
_LAUNCH = """
import ctypes, os, signal, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the test process is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

# The death signal comes when the *thread* that started the child ends, and a test may start one
# from a short-lived thread; so all of them are started from this one, which lasts to the end.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawn-child")


class StartFailedError(Exception):
    """A program ended, or was not ready in time."""

    def __init__(self, program: str, reason: str, *, log_tail: str) -> None:
        super().__init__(f"{program} {reason}; the end of its log:\n{log_tail}")
        self.program = program
        self.reason = reason
        self.log_tail = log_tail


class ChildProcess:
    """One running program; `stop` ends it, whatever it does."""

    def __init__(self, argv: Sequence[str], *, log: Path) -> None:
        self.program = argv[0].rpartition("/")[2]
        self._log = log
        launch = [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), *argv]
        with log.open("ab") as output:
            self._process = _SPAWNER.submit(
                subprocess.Popen,
                launch,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C ends the test, and the test ends the program
            ).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def status(self) -> int | None:
        """As the program has ended; None while it runs."""
        return self._process.poll()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_ready():
            if time.monotonic() > deadline_s:
                raise self._failure(f"was not ready within {timeout_s:.0f} s")
            if self._ends_within(POLL_S):
                raise self._failure(f"ended with status {self._process.returncode}")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, by: signal.Signals = signal.SIGTERM, *, timeout_s: float = 30) -> None:
        """End it by this signal, or by SIGKILL where it does not go in time."""
        if self.is_running:
            self._process.send_signal(by)
            if not self._ends_within(timeout_s):
                self._process.kill()
                self._process.wait()

    def _ends_within(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _failure(self, reason: str) -> StartFailedError:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_TAIL_BYTES))
            tail = log.read().decode(errors="replace")
        return StartFailedError(self.program, reason, log_tail=tail)
