"""uvicorn's HTTP protocol with what it lacks: a request learns at once that its client is gone.

ASGI tells it only to who awaits `receive`, which would be a task for each request; the transport
knows without one. And bytes that are not HTTP are refused as everything else is.
"""

import asyncio
from typing import Final

import orjson
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from runestone_sidecar.edge.request import CLIENT_GONE
from runestone_sidecar.errors import BadRequest
from runestone_sidecar.upstream.surfaces.envelope import envelope

_INTERIM: Final = b"HTTP/1.1 1"  # 100 Continue: the client waits for it
_REFUSAL: Final = orjson.dumps(envelope(BadRequest("The request is not valid HTTP.")))
_NOT_HTTP: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
)


class HeadHolder:
    """A transport that sends a response's head together with what follows it: one system call less.

    uvicorn writes the head by itself. It is held until the next write, the end of the response or
    the close: the endpoints here give a head only with its first bytes in hand.
    """

    __slots__ = ("_held", "_holding", "_transport", "get_extra_info", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._holding = False
        self._held: bytes | None = None
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def hold_next(self) -> None:
        self._holding = True

    def write(self, data: bytes) -> None:
        if self._held is not None:
            data = self._held + data
            self._held = None
        elif self._holding and not data.startswith(_INTERIM):
            self._holding = False
            self._held = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """A request whose connection is lost before its response is complete is cancelled."""

    _running: RequestResponseCycle | None = None  # uvicorn's `cycle` is the one read last
    _task: asyncio.Task[None]
    _upgrading = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_holder = HeadHolder(transport)
        super().connection_made(self._head_holder)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._stay(memoryview(data)[upgrade.args[0] :])
        except HttpParserError:
            self._refuse()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrading = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        super().on_message_complete()
        if self.flow.read_paused and not self.pipeline:
            # The last part of a large body came all at once. Whoever does not read will not
            # notice that the client leaves.
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self._head_holder.flush()  # of a response without a body, to HEAD say
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        running = self._running
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset too: it holds all of this
        self.pipeline.clear()
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            self._task.cancel(CLIENT_GONE)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._head_holder.hold_next()
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _stay(self, rest: memoryview) -> None:
        """A wish for another protocol is answered in this one, as RFC 9110 lets a server do.

        Java's HttpClient wishes for h2c with the first request of each connection. The parser
        takes the body for the other protocol's, so the head is read again without the wish.
        """
        while True:
            self._upgrading = False
            try:
                self.parser.feed_data(self._head_without_upgrade())
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except HttpParserError:
                self._refuse()
                return
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        first = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%b %b HTTP/%b" % first]
        for name, value in self.headers:
            if name not in {b"connection", b"upgrade"}:
                lines.append(b"%b: %b" % (name, value))
            elif b"close" in value.lower():
                lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self) -> None:
        """Bytes that are not HTTP: they end the connection, but no answer to an earlier request."""
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                running.keep_alive = False
                return
            running.disconnected = True  # its own body is broken: nothing else may answer it
            if running.response_started:
                self.transport.close()
                return
        self.transport.write(_NOT_HTTP)
        self.transport.close()
