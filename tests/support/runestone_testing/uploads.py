"""What a client sends while it sends it, for tests that hold it up or cut it short."""

from __future__ import annotations

import asyncio
from typing import Self


class Pieces:
    """What a client sends; each piece counts as held from when it is asked for the next."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event) -> None:
        self._pieces = list(pieces)
        self.asked = 0
        self.cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.asked += 1
        while self._pieces and isinstance(gate := self._pieces[0], asyncio.Event):
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            del self._pieces[0]
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        assert isinstance(piece, bytes)
        return piece


class Endless(Pieces):
    """A body of so many pieces, made as they are asked for."""

    def __init__(self, count: int, size_bytes: int = 64 * 1024) -> None:
        super().__init__()
        self._left = count
        self._piece = bytes(size_bytes)

    async def __anext__(self) -> bytes:
        self.asked += 1
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return self._piece
