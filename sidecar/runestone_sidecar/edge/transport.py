"""A transport that knows what uvicorn does not: that a head and its first bytes belong together."""

import asyncio
from typing import Final

_INTERIM: Final = b"HTTP/1.1 1"  # 100 Continue: the client waits for it


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

    def write_whole(self, response: bytes) -> None:
        self._holding = False
        self._transport.write(response)

    def flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)

    def finish(self, last_words: bytes) -> None:
        """Sends nothing after these; what comes in may still be read."""
        self._holding = False
        self.write(last_words)
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)
