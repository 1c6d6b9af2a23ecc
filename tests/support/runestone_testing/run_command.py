"""`runestone run` and its demo provider, `llmock`, as child processes on ports of the kernel's."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runestone_testing.child_process import ChildProcess
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Gateway:
    """What it printed (stdout and stderr), without the sidecar's own log lines."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._log = log
        self._child = ChildProcess(argv, log=log)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.is_running

    @property
    def exit_code(self) -> int | None:
        return self._child.exit_code

    def keeps(self, name: str) -> bool:
        """Whether this is left among what it works with."""
        return any(self._log.parent.glob(f"state/run/*/{name}"))

    @property
    def text(self) -> str:
        lines = self._log.read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("{"))

    @property
    def folder(self) -> Path:
        """What it works with."""
        (found,) = (self._log.parent / "state" / "run").iterdir()
        return found

    @property
    def base_url(self) -> str:
        found = re.search(r"Base URL  (\S+)", self.text)
        assert found
        return found[1]

    @property
    def health_url(self) -> str:
        found = re.search(r"Health    (\S+)/health/providers", self.text)
        assert found
        return found[1]

    def wait_until_greeted(self) -> None:
        self._child.wait_until(lambda: "Ctrl-C" in self.text, timeout_s=START_TIMEOUT_S)

    def wait_for(self, words: str, *, within_s: float = 60.0) -> None:
        wait_until(
            f"it says {words!r}; it said:\n{self.text}",
            lambda: words in self.text,
            within_s=within_s,
        )

    def wait_for_end(self) -> None:
        wait_until("it ends", lambda: not self.is_running, within_s=STOP_TIMEOUT_S)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        self._child.stop(timeout_s=STOP_TIMEOUT_S)


@contextmanager
def running_gateway(folder: Path, *arguments: str, **env: str) -> Iterator[Gateway]:
    """`folder` is for its log and its state."""
    options = ["--port", "0", "--health-port", "0", "--state-dir", str(folder / "state")]
    with started_gateway(folder, *options, *arguments, **env) as gateway:
        gateway.wait_until_greeted()
        yield gateway


@contextmanager
def started_gateway(folder: Path, *arguments: str, **env: str) -> Iterator[Gateway]:
    """Not awaited: it may end at once. It gets no provider keys but those in `env`."""
    withheld = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "RUNESTONE_API_KEY")
    clean = [option for name in withheld for option in ("-u", name)]
    variables = [f"{name}={value}" for name, value in env.items()]
    program = [sys.executable, "-m", "runestone_operator.cli.main", "run", *arguments]
    gateway = Gateway(["/usr/bin/env", *clean, *variables, *program], folder / "run.log")
    try:
        yield gateway
    finally:
        gateway.stop()


@contextmanager
def running_llmock(folder: Path, *options: str) -> Iterator[str]:
    """Its URL: OpenAI's API under /v1, Anthropic's under /anthropic."""
    port = free_port()
    program = str(Path(sys.executable).with_name("llmock"))
    argv = [program, "serve", "--host", "127.0.0.1", "--port", str(port), *options]
    child = ChildProcess(argv, log=folder / "llmock.log")
    try:
        url = f"http://127.0.0.1:{port}"
        child.wait_until(lambda: answers(f"{url}/health"), timeout_s=START_TIMEOUT_S)
        yield url
    finally:
        child.stop(signal.SIGKILL)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def children_of(pid: int) -> dict[int, str]:
    """Living child processes, with their command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent_of(int(entry.name)) == pid:
            command = _read(entry / "cmdline").replace("\0", " ")
            found[int(entry.name)] = command.strip()
    return found


def parent_of(pid: int) -> int | None:
    """None for a process that is gone or a zombie."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[1]) if fields and fields[0] != "Z" else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
