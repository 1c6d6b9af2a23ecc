"""A transport that knows what uvicorn does not: that a head and its first bytes belong together."""

import asyncio
from typing import Final

_INTERIM: Final = b"HTTP/1.1 1"  # 100 Continue: the client waits for it


class HeadHolder:
    """A transport that sends a response's head together with what follows it: one system call less.

    uvicorn writes the head by itself. It is held until the next write, the end of the response or
    the close: the endpoints here give a head only with its first bytes in hand.
    """

    __slots__ = ("_transport", "get_extra_info", "held", "holding", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.holding = False  # the next write is a head: to be set with each response
        self.held: bytes | None = None  # a head
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        if self.held is not None:
            data = self.held + data
            self.held = None
        elif self.holding and not data.startswith(_INTERIM):
            self.holding = False
            self.held = data
            return
        self._transport.write(data)

    def write_whole(self, response: bytes) -> None:
        self.holding = False
        self._transport.write(response)

    def flush(self) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            self._transport.write(held)

    def finish(self, last_words: bytes) -> None:
        """Sends nothing after these; what comes in may still be read."""
        self.holding = False
        self.write(last_words)
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)
