"""The least that a Python sidecar on our stack can do, as the unit to measure ours by.

uvicorn on uvloop and httptools, one raw ASGI function, our upstream client. Bytes are forwarded:
nothing is authenticated, parsed, routed, counted or logged.

    python -m benchmarks.bare PORT PROVIDER_PORT
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from runestone_sidecar.upstream.origin import Deadlines, Origin
from runestone_sidecar.upstream.outgoing import render_headers
from runestone_sidecar.upstream.pool import Client

Message = MutableMapping[str, Any]
FORWARDED = {b"authorization", b"content-type"}
DEADLINES = Deadlines(connect_s=5, first_byte_s=60, idle_s=60, total_s=600)
MAX_BYTES = 64 * 1024 * 1024


class PassThrough:
    def __init__(self, provider_port: int) -> None:
        self._origin = Origin("http", "127.0.0.1", provider_port, max_connections=512, max_idle=512)
        self._client: Client | None = None  # made within the loop that uvicorn starts

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if self._client is None:
            self._client = Client()
        response = await self._client.send(
            self._origin,
            target=scope["raw_path"],
            headers=render_headers(pair for pair in scope["headers"] if pair[0] in FORWARDED),
            body=await _body(receive),
            deadlines=DEADLINES,
        )
        try:
            kind = response.header(b"content-type") or b""
            headers = [(b"content-type", kind)]
            start = {"type": "http.response.start", "status": response.status, "headers": headers}
            if not kind.startswith(b"text/event-stream"):
                body = await response.read(MAX_BYTES)
                headers.append((b"content-length", b"%d" % len(body)))
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
            await send(start)
            while data := await response.next():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            response.close()


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    message = await receive()
    if not message.get("more_body"):
        return bytes(message["body"])
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


if __name__ == "__main__":
    uvicorn.run(
        PassThrough(int(sys.argv[2])),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=4096,
    )
