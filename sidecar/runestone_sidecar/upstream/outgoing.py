"""A request on its way out: header lines, and a body that is here or is passed on as it comes.

Bodies are written to a connection (http1) as far as its socket takes them. What is written here
knows neither where the bytes come from, nor what they mean.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

WRITE_SLICE_BYTES = 64 * 1024  # a body up to this leaves in one write with the head


def render_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block as `send` takes it. ValueError if a name or value could end its line."""
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    block = b"".join(lines)
    if not block.count(b"\n") == block.count(b"\r") == len(lines) or b"\0" in block:
        raise ValueError("a header has a control character in it")
    return block


class Sink(Protocol):
    """Where the bytes go."""

    @property
    def takes(self) -> bool:
        """False: it holds enough for now, and calls `pump` when it does no more."""

    def write(self, data: bytes | memoryview) -> None: ...

    def sent(self) -> None:
        """That was the last of it."""

    def give_up(self, error: Exception) -> None:
        """There will be no more, and the request is not whole."""


class Unsent(Protocol):
    """What is left of a request's body."""

    @property
    def waiting(self) -> bool:
        """For whoever makes it: the silence is not the provider's."""

    def pump(self) -> None:
        """The sink takes more."""

    def stop(self) -> None:
        """It takes no more: idempotent."""


class Slices:
    """The rest of a body that is here as a whole; what the socket does not take waits in it."""

    __slots__ = ("_rest", "_sink")

    waiting = False

    def __init__(self, sink: Sink, body: bytes) -> None:
        self._sink = sink
        self._rest = memoryview(body)

    def pump(self) -> None:
        rest, sink = self._rest, self._sink
        while rest and sink.takes:
            sink.write(rest[:WRITE_SLICE_BYTES])
            rest = rest[WRITE_SLICE_BYTES:]
        self._rest = rest
        if not rest:
            sink.sent()

    def stop(self) -> None:
        self._rest = memoryview(b"")


class Upload:
    """A body that is passed on as it comes: no more of it is here than is just being written.

    `length_bytes` None: not known before its end, so it goes in chunks. It is sent once: a second
    try would find the iterator used up. What the iterator raises ends the call and is raised by it.
    """

    __slots__ = ("_pieces", "_room", "_task", "length_bytes", "waiting")

    def __init__(self, pieces: AsyncIterator[bytes], length_bytes: int | None) -> None:
        self.length_bytes = length_bytes
        self.waiting = False
        self._pieces = pieces
        # The provider may answer at any time, so it takes a task beside the one that waits for it.
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def framing(self) -> bytes:
        """The header that says how long it is."""
        if self.length_bytes is None:
            return b"Transfer-Encoding: chunked\r\n"
        return b"Content-Length: %d\r\n" % self.length_bytes

    def start(self, sink: Sink) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(sink))

    def pump(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def stop(self) -> None:
        self.waiting = False
        if self._task is not None:
            self._task.cancel()

    async def _run(self, sink: Sink) -> None:
        left_bytes = self.length_bytes
        try:
            while (piece := await self._next()) is not None:
                if left_bytes is None:
                    await self._write(sink, _chunk(piece))
                    continue
                left_bytes -= len(piece)
                if left_bytes < 0:
                    break
                await self._write(sink, piece)
            if left_bytes:
                raise ValueError("a body that is not as long as it was said to be")
            if left_bytes is None:
                sink.write(b"0\r\n\r\n")
            sink.sent()
        except Exception as error:
            sink.give_up(error)

    async def _next(self) -> bytes | None:
        self.waiting = True
        try:
            return await anext(self._pieces, None)
        finally:
            self.waiting = False

    async def _write(self, sink: Sink, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            while not sink.takes:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            sink.write(rest[:WRITE_SLICE_BYTES])
            rest = rest[WRITE_SLICE_BYTES:]


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
