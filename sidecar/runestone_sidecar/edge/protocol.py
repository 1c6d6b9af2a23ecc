"""uvicorn's HTTP protocol with what it lacks: a request learns at once that its client is gone.

ASGI tells it only to who awaits `receive`, which would be a task for each request; the transport
knows without one.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runestone_sidecar.edge.request import Scope

_ON_GONE: Final = "runestone.on_client_gone"


def on_client_gone(scope: Scope, call: Callable[[], object]) -> None:
    """`call` runs when the connection is lost before the response is complete."""
    scope[_ON_GONE] = call


class HeadHolder:
    """A transport that sends a response's head together with what follows it: one system call less.

    uvicorn writes the head by itself; it is held until the next write, or until the event loop's
    next turn where nothing follows at once.
    """

    __slots__ = (
        "_flush",
        "_held",
        "_holding",
        "_loop",
        "_transport",
        "get_extra_info",
        "is_closing",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._holding = False
        self._held: bytes | None = None
        self._flush: asyncio.Handle | None = None
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def hold_next(self) -> None:
        self._holding = True

    def write(self, data: bytes) -> None:
        if self._held is not None:
            data = self._held + data
            self._held = None
            if self._flush is not None:
                self._flush.cancel()
        elif self._holding:
            self._holding = False
            self._held = data
            self._flush = self._loop.call_soon(self._write_held)
            return
        self._transport.write(data)

    def _write_held(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)

    def close(self) -> None:
        self._write_held()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_holder = HeadHolder(transport, self.loop)
        super().connection_made(self._head_holder)  # type: ignore[arg-type]

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_holder.hold_next()

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        pending = cycle is not None and not cycle.response_complete
        super().connection_lost(exc)
        if pending:
            scope: Scope = cycle.scope  # type: ignore[assignment]  # uvicorn's own TypedDict
            if (call := scope.get(_ON_GONE)) is not None:
                self.loop.call_soon(call)
