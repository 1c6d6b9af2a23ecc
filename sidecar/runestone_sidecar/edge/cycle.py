"""One request and its response on a connection, as uvicorn has it, with a head rendered in one go.

uvicorn searches each header's name and value by a regular expression, which took longer than all
the limits of a key; here the head as a whole is looked at once for a line too many.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from runestone_sidecar.edge.request import PROBED_BY

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_BODILESS: Final = frozenset({204, 304})


class _ServerLines:
    """Of the headers that the server has anew each second: the date."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._lines = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


_server_lines: Final = _ServerLines()


class LazyEvent:
    """An asyncio.Event, which holds a list of who waits: for hardly any request does anybody, and a
    thousand streams would hold as many lists."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def set(self) -> None:
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        self._is_set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> bool:
        if self._is_set:
            return True
        if self._event is None:
            self._event = asyncio.Event()
        return await self._event.wait()


class Cycle(RequestResponseCycle):
    # Of a stream: sends what is no content, where it may stand. False: not just now.
    probe: Callable[[], bool] | None = None
    is_unframed = False  # of HTTP/1.0, which knows no chunks: the end of the connection is its end

    def take_body(self, most_bytes: int) -> bytes | None:
        """All of the request's body; None: it is larger, or to be waited for, by `receive`."""
        if (
            self.more_body
            or not 0 < len(self.body) <= most_bytes  # 0: it was given out already, or there is none
            or self.disconnected
            or self.response_complete
            or self.waiting_for_100_continue
        ):
            return None
        if self.flow.read_paused:
            self.flow.resume_reading()
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        return body

    def respond(self, status: int, lines: bytes, body: bytes) -> bool:
        """A whole response in one write; False: not just now, or not so, and `send` is to do it.

        `lines` are a head's, but for the first and for the length, rendered of checked values.
        """
        if (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or self.waiting_for_100_continue
            or self.scope["method"] == "HEAD"
        ):
            return False
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            lines += b"connection: close\r\n"
        own = _server_lines.of(self.default_headers)
        self.transport.write_whole(  # type: ignore[attr-defined]  # it is a HeadHolder
            b"%b%b%bcontent-length: %d\r\n\r\n%b"
            % (STATUS_LINE[status], own, lines, len(body), body)
        )
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    async def send(self, message: "ASGISendEvent") -> None:
        if self.is_unframed and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        if (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or message["type"] != "http.response.start"
        ):
            await super().send(message)
            return
        if self.waiting_for_100_continue:
            self.keep_alive = False  # its body may come or not: a next request could be either
        self.probe = message.get(PROBED_BY)  # type: ignore[assignment]
        status = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        self._frame(headers, has_body=status not in _BODILESS and self.scope["method"] != "HEAD")
        lines = [b"%b: %b\r\n" % header for header in headers]
        block = b"".join(lines)
        if not block.count(b"\n") == block.count(b"\r") == len(lines) or b"\0" in block:
            raise ValueError("a header of the response has a control character in it")
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(b"%b%b\r\n" % (STATUS_LINE[status], block))

    def _frame(self, headers: list[tuple[bytes, bytes]], *, has_body: bool) -> None:
        """Adds what tells the client where the body ends."""
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and b"close" in value:
                self.keep_alive = False
        if self.chunked_encoding is None and has_body:
            self.is_unframed = self.scope["http_version"] == "1.0"
            self.chunked_encoding = not self.is_unframed
            if self.chunked_encoding:
                headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            headers.append((b"connection", b"close"))

    def write(self, body: bytes) -> bool:
        """A part of a streamed response as `send` has it, at once; whether more may follow so.

        For whoever has just sent one by `send`, which waits for a client that is slow.
        """
        if self.disconnected:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body) if self.chunked_encoding else body)
        return not self.flow.write_paused
