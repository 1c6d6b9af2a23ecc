"""What a test is told, and what happens, when a program it started does not behave."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_testing.child_process import ChildProcess, StartFailedError

if TYPE_CHECKING:
    from pathlib import Path

STUBBORN = (
    "import pathlib, signal, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "pathlib.Path(sys.argv[1]).touch()\n"
    "while True: signal.pause()\n"
)


def test_an_early_end_shows_the_log(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "print('no such flag'); raise SystemExit(7)"]
    child = ChildProcess(program, log=tmp_path / "log")

    with pytest.raises(StartFailedError, match=r"(?s)ended with status 7.*no such flag"):
        child.wait_until(lambda: False, timeout_s=30)


def test_a_late_start_shows_the_log(tmp_path: Path) -> None:
    up, log = tmp_path / "up", tmp_path / "log"
    log.write_text("still loading\n")
    child = ChildProcess([sys.executable, "-c", STUBBORN, str(up)], log=log)
    try:
        with pytest.raises(StartFailedError, match=r"(?s)not ready within 1 s.*still loading"):
            child.wait_until(lambda: False, timeout_s=1)
    finally:
        child.stop(signal.SIGKILL)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    up = tmp_path / "up"
    child = ChildProcess([sys.executable, "-c", STUBBORN, str(up)], log=tmp_path / "log")
    child.wait_until(up.exists, timeout_s=30)

    child.stop(timeout_s=0.1)

    assert not child.is_running


def test_an_unknown_program_is_reported(tmp_path: Path) -> None:
    child = ChildProcess([str(tmp_path / "nothing")], log=tmp_path / "log")

    with pytest.raises(StartFailedError, match=r"(?s)nothing ended.*FileNotFoundError"):
        child.wait_until(lambda: False, timeout_s=30)
