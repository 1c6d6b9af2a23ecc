"""The answer of a provider as its reader sees it: status, headers, and the body as it comes.

It is fed by a connection (http1). It knows neither how HTTP is framed nor what a body means.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from runestone_sidecar.upstream.faults import BodyTooLarge, LostMidBody, Phase

MAX_PIECES = 64  # body pieces kept apart before they are joined: tiny ones cost objects


class Source(Protocol):
    """Where the bytes come from, while they come."""

    def drained(self) -> None:
        """The reader took all there was."""

    def close(self) -> None:
        """The reader wants no more."""


class Response:
    """The answer to one request.

    Its connection is free for others as soon as the whole body has arrived, read or not. Until
    then the caller holds it: `close` it in a `finally`. One task reads; cancelling that task while
    it waits here closes the connection.
    """

    __slots__ = (
        "_fault",
        "_loop",
        "_pieces",
        "_relay",
        "_source",
        "_waiter",
        "buffered_bytes",
        "complete",
        "headers",
        "status",
    )

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case, order kept
        self.complete = False  # the whole body has arrived
        self.buffered_bytes = 0
        self._pieces: list[bytes] = []
        self._fault: Exception | None = None
        self._relay: Callable[[bytes], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._source: Source | None = source  # None: nothing more will come
        self._loop = loop

    # --- for the reader

    @property
    def phase(self) -> Phase:
        return Phase.BODY if self.status else Phase.HEAD

    def header(self, name: bytes) -> bytes | None:
        """The first value under a lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def opened(self) -> None:
        """Returns once status and headers are there; `send` has awaited it."""
        while not self.status:
            if self._fault is not None:
                raise self._fault
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter  # as in _news: once for every request, so without one more coroutine
            except BaseException:
                self.close()
                raise

    def take_whole(self, limit_bytes: int) -> bytes | None:
        """All of the body in one piece, as most come; None: `read` it."""
        if self.complete and len(self._pieces) == 1 and self.buffered_bytes <= limit_bytes:
            return self._pieces.pop()
        return None

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, or BodyTooLarge as soon as it is known to be over the limit."""
        expected_bytes = 0 if self.complete else int(self.header(b"content-length") or 0)
        parts: list[bytes] = []
        size = 0
        while expected_bytes <= limit_bytes and size <= limit_bytes:
            if self._pieces:
                parts.append(self._take())
                size += len(parts[-1])
            elif self.complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            elif self._fault is not None:
                raise self._fault
            else:
                await self._news()
        self.close()
        raise BodyTooLarge(limit_bytes)

    async def next(self) -> bytes:
        """What has arrived since the last call; b"" at the true end of the body, not before."""
        while not self._pieces:
            if self.complete:
                return b""
            if self._fault is not None:
                raise self._fault
            await self._news()
        return self._take()

    async def relay(self, take: Callable[[bytes], bool]) -> None:
        """Gives `take` what comes when it comes, and wakes the caller only when it is over:

        `take` had enough, or nothing more comes, of which `next` knows why. What it raises is
        raised here. A task that is woken for each piece costs more than most pieces do.
        """
        while self._pieces:
            if not take(self._take()):
                return
        if self._source is None:
            return
        self._relay = take
        try:
            await self._news()
        finally:
            self._relay = None

    async def wait(self, quiet_s: float) -> bool:
        """Whether `next` would answer at once; False after that much silence. Nothing is lost."""
        alarm = self._loop.call_later(quiet_s, self.wake)
        try:
            if not (self._pieces or self.complete or self._fault is not None):
                await self._news()
        finally:
            alarm.cancel()
        return bool(self._pieces or self.complete or self._fault is not None)

    def close(self) -> None:
        """Done with it, wherever it is: idempotent. An unfinished body costs the connection."""
        source = self._source
        if source is not None:
            self.end(LostMidBody("closed on our side"))
            source.close()
        self._pieces.clear()

    # --- for the connection

    def feed(self, piece: bytes) -> None:
        pieces = self._pieces
        pieces.append(piece)
        self.buffered_bytes += len(piece)
        if len(pieces) > MAX_PIECES:
            pieces[:] = [b"".join(pieces)]

    def end(self, fault: Exception | None) -> None:
        """Nothing more will come: without a fault, because the body is whole.

        Else an UpstreamFault, or what ended the upload that it would have answered.
        """
        self._source = None
        self._fault = fault
        self.complete = fault is None
        self.wake()

    def wake(self) -> None:
        if self._relay is not None and self._pieces and self._relayed(self._relay):
            return
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # --- inside

    def _relayed(self, take: Callable[[bytes], bool]) -> bool:
        """Whether it goes on."""
        try:
            wants_more = take(self._take())
        except Exception as error:
            self._relay = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return False
        if not wants_more:
            self._relay = None
        return wants_more and self._source is not None

    async def _news(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            self.close()
            raise

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.buffered_bytes = 0
        if self._source is not None:
            self._source.drained()
        return data
