"""A client that sends any bytes, and reads whole HTTP/1.1 answers from one connection."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case, the last of each
    body: bytes

    @property
    def content(self) -> bytes:
        """As httpx calls it."""
        return self.body

    @property
    def status_code(self) -> int:
        return self.status

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection. What should come within PATIENCE_S and does not fails the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, buffer_bytes: int = 1 << 20) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=buffer_bytes))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, bodiless: bool = False, within_s: float = PATIENCE_S) -> Answer:
        """The next answer, whole; interim ones (1xx) are passed over."""
        async with asyncio.timeout(within_s):
            while True:
                head = await self.reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
                pairs = (line.partition(":") for line in lines)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                status = int(first.split(" ")[1])
                if status >= 200:
                    body = b"" if bodiless else await self._body(headers)
                    return Answer(status, headers, body)

    async def closed(self, *, within_s: float = PATIENCE_S) -> bytes:
        """What came until the other side closed."""
        rest = b""
        async with asyncio.timeout(within_s):
            with suppress(ConnectionError):
                while data := await self.reader.read(1 << 16):
                    rest += data
        return rest

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        return body
