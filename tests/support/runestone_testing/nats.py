"""A real nats-server with JetStream, on a port of its own: to stop, to freeze, to bring back."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runestone_testing.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_S = 30
STORE = "4GB"  # promised, however little the disk has left


class NatsServer:
    """Its port stays the same however often it is started; so does its store, unless wiped."""

    def __init__(
        self, folder: Path, *options: str, jetstream: bool = True, durable: bool = False
    ) -> None:
        """`durable`: what it acknowledges is on the disk, as jobs need it."""
        self.port = free_port()
        self._folder = folder
        self._options = options
        if jetstream:
            self._options += ("--jetstream", "--store_dir", str(folder / "store"))
        if durable:  # there is no option for it
            file = folder / "nats.conf"
            file.write_text(f"jetstream {{ sync_interval: always, max_file_store: {STORE} }}\n")
            self._options += ("--config", str(file))
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None

    @property
    def store(self) -> Path:
        return self._folder / "store"

    def start(self) -> None:
        program = str(Path(sys.executable).with_name("nats-server"))
        argv: Sequence[str] = [
            *(program, "--addr", "127.0.0.1", "--port", str(self.port)),
            *self._options,
        ]
        self._child = ChildProcess(argv, log=self._folder / "nats.log")
        self._child.wait_until(self._greets, timeout_s=START_S)

    def stop(self, by: signal.Signals = signal.SIGKILL) -> None:
        if self._child is not None:
            self._child.stop(by)
            self._child = None

    def send_signal(self, number: signal.Signals) -> None:
        """SIGSTOP: its connections stand, and nothing comes of them."""
        assert self._child is not None
        self._child.send_signal(number)

    def wipe(self) -> None:
        shutil.rmtree(self._folder / "store", ignore_errors=True)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def nats_server(
    *options: str, started: bool = True, jetstream: bool = True, durable: bool = False
) -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder), *options, jetstream=jetstream, durable=durable)
        try:
            if started:
                server.start()
            yield server
        finally:
            server.stop()
