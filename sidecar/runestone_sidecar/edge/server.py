"""A server of the process: uvicorn's, at our door, woken once a second, told when to leave."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from runestone_sidecar.edge.bounds import Bounds
from runestone_sidecar.edge.door import Door, connections_within, limit_of_files
from runestone_sidecar.edge.protocol import Protocol
from runestone_sidecar.edge.request import App
from runestone_sidecar.settings import Settings, SettingsError

BACKLOG: Final = 4096
LAST_WORDS_S: Final = 1.0  # for requests that are told that the time to drain is over
KEEPALIVE_S: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15}  # finds clients that vanished


class Server(uvicorn.Server):
    """One of the process's two servers; signals are the process's business."""

    def __init__(
        self,
        app: App,
        *,
        host: str,
        port: int,
        drain_s: float,
        bounds: Bounds | None = None,
        refused: dict[str, int] | None = None,
    ) -> None:
        self.door = Door(bounds or Bounds(), refused)
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol.behind(self.door),  # type: ignore[arg-type]
                interface="asgi3",
                ws="none",
                lifespan="off",
                loop="none",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, int(drain_s)),
            )
        )
        self.listener = listen(host, port, stalled_s=self.door.bounds.stalled_s)
        self._leaving = asyncio.Event()

    @property
    def should_exit(self) -> bool:
        return self._leaving.is_set()

    @should_exit.setter
    def should_exit(self, wanted: bool) -> None:
        if wanted:
            self._leaving.set()

    async def main_loop(self) -> None:
        """Wakes once a second; uvicorn's does ten times, in every pod of the cluster."""
        loop, state = asyncio.get_running_loop(), self.server_state
        while not await self.on_tick(0):  # the date in the responses' heads
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.door.bounds.look_every_s):
                    await self._leaving.wait()
            self.door.look(state.connections, loop.time())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"{host}:{port}"

    async def cut(self) -> None:
        """Ends what the drain did not wait for; each tells its client."""
        tasks = [*self.server_state.tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)


def api_bounds(settings: Settings) -> Bounds:
    return Bounds(
        connections=connections_within(limit_of_files(), settings.max_connections),
        idle_s=settings.idle_timeout_s,
        head_s=settings.header_timeout_s,
        body_s=settings.body_timeout_s,
        stalled_s=settings.write_timeout_s,
        head_bytes=settings.max_header_bytes,
        header_fields=settings.max_headers,
    )


def listen(host: str, port: int, *, stalled_s: float) -> socket.socket:
    """Raises SettingsError where the address is taken or not ours.

    A client that takes nothing for `stalled_s` is cut off by the kernel.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    _guard(listener, stalled_s)
    return listener


def _guard(listener: socket.socket, stalled_s: float) -> None:
    """What the kernel watches for us on each connection: it inherits this from its listener."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {**KEEPALIVE_S, "TCP_USER_TIMEOUT": int(stalled_s * 1000)}
    for name, value in options.items():
        if hasattr(socket, name):  # not everywhere
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def lift_file_limit() -> None:
    """The soft limit of 1,024 files is for programs that use select(); a connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
