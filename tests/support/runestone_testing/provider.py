"""A provider at the network boundary: a server on 127.0.0.1 whose every byte is scripted.

    async with Provider(json_reply({"id": "x"})) as provider:   # the same answer each time
        ...  # call provider.url
    assert provider.requests[0].json()["model"] == "gpt-4o"

An answer is bytes (a whole response: json_reply, sse_reply, reply, chunked), or a list of steps,
each bytes or an action (hang, reset, close, drip, until, pause), or a function from the request
to either. So any fault at any byte is a slice away:

    [json_reply({"id": "x"})[:70], reset()]                        lost within the body
    [head(content_type=SSE), chunk(event({"a": 1})), hang()]       a stream that goes silent
    provider.queue(json_reply(ERROR, status=500), json_reply(OK))  first this, then that

After its answer a connection is kept for the next request. `on_connect` runs before anything is
read, for faults earlier than a request. Provider.requests has what came; Peer is a connection and
knows when the other side closed it. With no answer left, the provider answers 599.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from runestone_testing.peer import PATIENCE_S, Bell, Peer, PeerGoneError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

HOST = "127.0.0.1"
SSE = "text/event-stream"
LAST_CHUNK = b"0\r\n\r\n"
Headers: TypeAlias = Iterable[tuple[str, str]]
Action: TypeAlias = Callable[[Peer], Awaitable[None]]
Script: TypeAlias = bytes | Sequence[bytes | Action]
Answer: TypeAlias = "Script | Callable[[Request], Script]"


# --- what to send


def head(status: int = 200, headers: Headers = (), *, content_type: str | None = None) -> bytes:
    """The head of a chunked response, unless `headers` say how the body is framed."""
    lines = [("content-type", content_type)] if content_type else []
    lines += headers
    framed = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in lines)
    if not framed and status not in (204, 304):
        lines.append(("transfer-encoding", "chunked"))
    rendered = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 {status} Status\r\n{rendered}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: object, name: str | None = None) -> bytes:
    """One server-sent event; a `data` that is no str is sent as JSON."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    lines = [f"event: {name}"] if name else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def reply(
    body: bytes, status: int = 200, headers: Headers = (), *, content_type: str = "text/plain"
) -> bytes:
    """A response with Content-Length."""
    sized = [*headers, ("content-length", str(len(body)))]
    return head(status, sized, content_type=content_type) + body


def json_reply(obj: object, status: int = 200, headers: Headers = ()) -> bytes:
    return reply(json.dumps(obj).encode(), status, headers, content_type="application/json")


def chunked(
    *pieces: bytes, status: int = 200, headers: Headers = (), content_type: str = "text/plain"
) -> bytes:
    """A response whose body is these chunks."""
    start = head(status, headers, content_type=content_type)
    return start + b"".join(map(chunk, pieces)) + LAST_CHUNK


def sse_reply(events: Iterable[object], status: int = 200, headers: Headers = ()) -> bytes:
    """A whole stream, a chunk for each event. An event is data, or a pair of name and data."""
    pieces = [event(e[1], e[0]) if isinstance(e, tuple) else event(e) for e in events]
    return chunked(*pieces, status=status, headers=headers, content_type=SSE)


# --- what to do


def hang() -> Action:
    """Nothing more, until the other side closes."""
    return lambda peer: peer.closed(within_s=None)


def reset() -> Action:
    """RST, at once."""

    async def act(peer: Peer) -> None:
        peer.reset()

    return act


def close() -> Action:
    """FIN, after what was sent so far."""

    async def act(peer: Peer) -> None:
        peer.close()

    return act


def pause(seconds: float) -> Action:
    return lambda _: asyncio.sleep(seconds)


def until(gate: asyncio.Event) -> Action:
    """Goes on when the test sets the event."""

    async def act(_: Peer) -> None:
        await gate.wait()

    return act


def drip(data: bytes, every_s: float, size: int = 1) -> Action:
    """Sends so many bytes at a time, each on its own."""

    async def act(peer: Peer) -> None:
        for at in range(0, len(data), size):
            await peer.send(data[at : at + size])
            await asyncio.sleep(every_s)

    return act


def read_head() -> Action:
    """For on_connect: reads as far as a request's blank line, and leaves its body unread."""

    async def act(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        peer.stop_reading()

    return act


def tunnel(host: str, port: int) -> Action:
    """For a proxy's answer to CONNECT: carries bytes both ways until either side closes."""

    async def act(peer: Peer) -> None:
        reader, writer = await asyncio.open_connection(host, port)

        async def back() -> None:
            while data := await reader.read(65536):
                await peer.send(data)
            peer.close()

        task = asyncio.create_task(back())
        try:
            while data := await peer.read():
                writer.write(data)
                await writer.drain()
        finally:
            task.cancel()
            writer.transport.abort()
            with suppress(asyncio.CancelledError, OSError, PeerGoneError):
                await task
            with suppress(OSError):
                await writer.wait_closed()

    return act


# --- the provider


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]  # in order, names as they were written
    body: bytes
    raw_head: bytes
    peer: Peer = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value under a name, in any case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Provider:
    """A server with a script; use it as an async context manager.

    A script that fails (not one whose client left) fails the test when the block ends.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        on_connect: Script = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer  # to every request that nothing was queued for; may be set anew
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self._on_connect = on_connect
        self._tls = tls
        self._queue: deque[Answer] = deque()
        self._bell = Bell()
        self._server: asyncio.Server

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Scheme, host and port. Over TLS the host is localhost: certificates are for names."""
        return f"http://{HOST}:{self.port}" if not self._tls else f"https://localhost:{self.port}"

    @property
    def open_peers(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.is_open]

    def queue(self, *answers: Answer) -> None:
        """One answer for each of the next requests, on whichever connection they come."""
        self._queue.extend(answers)

    async def requested(self, count: int = 1, within_s: float = PATIENCE_S) -> Request:
        """Waits until so many requests have come whole, and gives the last of these."""
        await self._bell.until(
            lambda: len(self.requests) >= count, f"{count} requests", within_s=within_s
        )
        return self.requests[count - 1]

    async def connected(self, count: int = 1, within_s: float = PATIENCE_S) -> Peer:
        """Waits until so many connections were made, and gives the last of these."""
        await self._bell.until(
            lambda: len(self.peers) >= count, f"{count} connections", within_s=within_s
        )
        return self.peers[count - 1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, HOST, 0, ssl=self._tls, backlog=1024
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.task.cancel()
        ends = await asyncio.gather(*(peer.task for peer in self.peers), return_exceptions=True)
        for peer in self.peers:
            peer.abort()
            await peer.closed()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    # --- inside

    def _accept(self) -> Peer:
        return Peer(self._serve)

    def _serve(self, peer: Peer) -> Coroutine[None, None, None]:
        self.peers.append(peer)
        self._bell.ring()
        return self._talk(peer)

    async def _talk(self, peer: Peer) -> None:
        await _play(self._on_connect, peer)
        while True:
            request = await _read_request(peer)
            peer.requests += 1
            self.requests.append(request)
            self._bell.ring()
            answer = self._queue.popleft() if self._queue else self.answer
            if answer is None:
                answer = reply(b"the script has no answer left", 599)
            await _play(answer(request) if callable(answer) else answer, peer)


async def _play(script: Script, peer: Peer) -> None:
    for step in [script] if isinstance(script, bytes) else script:
        if isinstance(step, bytes):
            await peer.send(step)
        else:
            await step(peer)


async def _read_request(peer: Peer) -> Request:
    raw_head = await peer.read_until(b"\r\n\r\n")
    first, *lines = raw_head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Request(method, target, headers, b"", raw_head, peer)
    if request.header("transfer-encoding"):
        return replace(request, body=await _read_chunks(peer))
    size = int(request.header("content-length") or 0)
    return replace(request, body=await peer.read_exactly(size))


async def _read_chunks(peer: Peer) -> bytes:
    body = b""
    while size := int((await peer.read_until(b"\r\n")).split(b";")[0], 16):
        body += (await peer.read_exactly(size + 2))[:-2]
    await peer.read_until(b"\r\n")
    return body


# --- where there is no provider


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: held by us, so that nobody else takes it."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        yield held.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 where a SYN gets no answer, as behind a firewall that drops."""
    with socket.socket() as held, ExitStack() as fillers:
        held.bind((HOST, 0))
        held.listen(0)  # room for one connection, never accepted: Linux then drops further SYNs
        for _ in range(2):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(held.getsockname())
        yield held.getsockname()[1]
