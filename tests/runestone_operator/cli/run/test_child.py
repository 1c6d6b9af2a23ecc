"""A child is kept running, stopped in order, and taken along when its parent is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.run.child import Child, NeverReadyError, ending
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 20.0


class Told:
    """What a child wrote and what was said about it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.said: list[str] = []

    def child(self, program: str, *, is_proven: bool = True) -> Child:
        return Child(
            name="the program",
            command=[sys.executable, "-c", program],
            env=os.environ,
            say=self.said.append,
            take_line=self.lines.append,
            is_proven=is_proven,
        )


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


async def test_its_lines_are_handed_over_and_it_is_stopped_by_sigterm() -> None:
    told = Told()
    child = told.child(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n"
        "print('one\\ntwo', flush=True)\n"
        "while True: signal.pause()\n"
    )
    running = asyncio.create_task(child.keep_running())
    await until(lambda: len(told.lines) == 2)

    await child.stop(grace_s=DEADLINE_S)
    await running

    assert told.lines == [b"one", b"two", b"bye"]
    assert told.said == []


async def test_one_that_does_not_go_is_killed() -> None:
    told = Told()
    child = told.child(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()\n"
    )
    running = asyncio.create_task(child.keep_running())
    await until(lambda: told.lines)

    await child.stop(grace_s=0.05)

    await running


async def test_one_that_crashes_is_started_again_ever_later() -> None:
    told = Told()
    child = told.child("raise SystemExit(3)")
    running = asyncio.create_task(child.keep_running())
    await until(lambda: len(told.said) == 2)
    await child.stop(grace_s=0)
    await running

    assert told.said == [
        "the program ended with exit code 3: starting it again in 0.2 s",
        "the program ended with exit code 3: starting it again in 0.4 s",
    ]


async def test_one_that_was_never_ready_is_given_up() -> None:
    child = Told().child("raise SystemExit(3)", is_proven=False)

    with pytest.raises(NeverReadyError, match="ended with exit code 3 before it was ready"):
        await child.keep_running()


async def test_a_line_without_an_end_comes_in_pieces() -> None:
    told = Told()
    child = told.child("print('x' * 3_000_000, end='')", is_proven=False)
    with pytest.raises(NeverReadyError):
        await child.keep_running()

    assert sum(map(len, told.lines)) == 3_000_000
    assert max(map(len, told.lines)) < 1_200_000


def test_the_end_of_a_program_is_told_in_words() -> None:
    assert ending(1) == "ended with exit code 1"
    assert ending(-signal.SIGKILL) == "was ended by SIGKILL"


CHILD = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
PARENT = f"""
import asyncio, os, sys
from runestone_operator.cli.run.child import Child
child = Child(
    name="child",
    command=[sys.executable, "-c", {CHILD!r}],
    env=os.environ,
    say=print,
    take_line=lambda line: print(line.decode(), flush=True),
)
asyncio.run(child.keep_running())
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_alive(pid)

        parent.kill()

        wait_until("the child is gone", lambda: not is_alive(pid))
