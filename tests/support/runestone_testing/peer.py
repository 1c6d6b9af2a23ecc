"""One connection to a scripted server: what came over it, what is sent, when the client left.

Used through provider.py; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATIENCE_S = 30.0
SLICE_BYTES = 64 * 1024


class PeerGoneError(Exception):
    """The client left while a script had more to do: the script ends there."""


class Bell:
    """Lets a coroutine wait until something holds that others bring about."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()
        self._rung = asyncio.Event()

    async def until(
        self, holds: Callable[[], bool], what: str, *, within_s: float | None = PATIENCE_S
    ) -> None:
        """AssertionError, which says what did not happen, after `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while not holds():
                    await self._rung.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {within_s} s") from None


class Peer(asyncio.Protocol):
    """Ends by itself when the client leaves; then `closed_at` says when."""

    def __init__(self, serve: Callable[[Peer], Coroutine[None, None, None]]) -> None:
        self.requests = 0
        self.sent_bytes = (
            0  # taken by the transport: little more than the client took, and the kernel
        )
        self.received_bytes = 0
        self.closed_at: float | None = None  # time.monotonic() of the client's FIN or RST
        self.was_reset = False  # by the client
        self.is_open = True
        self.task: asyncio.Task[None]
        self._transport: asyncio.Transport
        self._serve = serve
        self._received = bytearray()
        self._bell = Bell()
        self._writable = True

    # --- for tests

    async def closed(self, within_s: float | None = PATIENCE_S) -> None:
        """Returns once the connection is closed, mostly by the client."""
        await self._bell.until(lambda: not self.is_open, "connection closed", within_s=within_s)

    # --- for scripts

    async def send(self, data: bytes) -> None:
        """Returns when the client takes more: where it stalls, so does the script."""
        for at in range(0, max(len(data), 1), SLICE_BYTES):
            self._check()
            if self._transport.is_closing():  # a write failed: all others would seem to go out
                raise PeerGoneError
            piece = data[at : at + SLICE_BYTES]
            self.sent_bytes += len(piece)
            self._transport.write(piece)
            await self._bell.until(lambda: self._writable or not self.is_open, "", within_s=None)

    async def read(self) -> bytes:
        """What has come since the last call; b"" when the client has left."""
        await self._bell.until(lambda: bool(self._received) or not self.is_open, "", within_s=None)
        return self._cut(len(self._received))

    async def read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            await self._more()
        return self._cut(self._received.index(mark) + len(mark))

    async def read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._more()
        return self._cut(size)

    def stop_reading(self) -> None:
        """From here on the client's writes back up. Its leaving is then seen only as far as RST."""
        self._transport.pause_reading()

    def start_reading(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        """FIN, after what was sent so far."""
        self._transport.close()

    def abort(self) -> None:
        """Closes at once, without what is not sent yet."""
        with suppress(AttributeError):  # Python 3.11.2: of a TLS transport that is closed
            self._transport.abort()

    def reset(self) -> None:
        """RST, at once; nothing where the client was faster."""
        if not self.is_open:
            return
        linger = struct.pack("ii", 1, 0)
        tcp = self._transport.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with suppress(AttributeError):  # Python 3.11.2: of a TLS transport that is closed
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.task = asyncio.create_task(self._run(self._serve(self)))

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._received += data
        self._bell.ring()

    def eof_received(self) -> None:
        self._left()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if exc is not None:
            self.was_reset = True
            self._left()
        self._bell.ring()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._bell.ring()

    # --- inside

    def _left(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()

    def _check(self) -> None:
        if not self.is_open or self.closed_at is not None:
            raise PeerGoneError

    async def _more(self) -> None:
        self._check()
        size = len(self._received)
        await self._bell.until(
            lambda: len(self._received) > size or not self.is_open, "", within_s=None
        )

    def _cut(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _run(self, script: Coroutine[None, None, None]) -> None:
        try:
            await script
        except PeerGoneError:
            pass
        finally:
            self._transport.close()
