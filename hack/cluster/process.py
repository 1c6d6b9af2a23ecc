"""The one process that a cluster is known by: process 1 of its namespaces.

A number alone may be another process by now: so when that began, and in which boot, is kept too.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.run import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

PROC = Path("/proc")
STOP_TIMEOUT_S = 60.0


def _stat(pid: int) -> list[str]:
    """The fields behind the program's name, which may hold spaces: state, parent and so on."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """Process 1 of a node, by its number on the machine."""

    pid: int
    began_ticks: str
    boot: str

    @classmethod
    def of(cls, pid: int) -> NodeProcess:
        return cls(pid, _stat(pid)[19], _boot())

    @classmethod
    def recorded_in(cls, file: Path) -> NodeProcess | None:
        try:
            pid, began_ticks, boot = file.read_text().split()
            return cls(int(pid), began_ticks, boot)
        except (FileNotFoundError, ValueError):
            return None

    def record(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.began_ticks} {self.boot}\n")

    @property
    def is_running(self) -> bool:
        try:
            state, began_ticks = (fields := _stat(self.pid))[0], fields[19]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z" and (began_ticks, _boot()) == (self.began_ticks, self.boot)

    def stop(self) -> None:
        """The kernel ends all others of the namespace before this one is gone."""
        if not self.is_running:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_until(
            lambda: not self.is_running,
            what=f"the end of process {self.pid}",
            timeout_s=STOP_TIMEOUT_S,
            why_not=lambda: "a process of the node cannot be killed: it waits for the kernel",
        )

    def inside(self, *namespaces: str) -> Sequence[str]:
        """What to put before a command so that it runs in these namespaces of the node."""
        return ["nsenter", f"--target={self.pid}", *(f"--{name}" for name in namespaces), "--"]


def only_child(parent: int) -> int | None:
    """The child of a process that has one; None where it has none yet."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(_stat(int(folder.name))[1]) == parent:
                return int(folder.name)
    return None
