"""Whole replies, streams and errors as ASGI messages, in the words of the client's API."""

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson

from runestone_contract.names import (
    HEADER_ATTEMPTS,
    HEADER_CONFIG,
    HEADER_QUEUED,
    HEADER_REQUEST_ID,
)
from runestone_sidecar.edge.request import CLIENT_GONE, PROBED_BY, Message, Receive, Send
from runestone_sidecar.errors import (
    MAX_RETRY_AFTER_S,
    BodyTooLarge,
    Draining,
    GatewayError,
    Internal,
    LimitReached,
    MethodNotAllowed,
    RateLimited,
    UpstreamFailed,
)
from runestone_sidecar.pipeline.execute import StreamedReply
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.upstream.dialects.base import BadReply, ProviderError, Reply
from runestone_sidecar.upstream.faults import UpstreamFault
from runestone_sidecar.upstream.surfaces.base import Surface

LINGER_S: Final = 2.0
_LOST: Final = "The provider's stream was lost before it was whole."
PING_AFTER_S: Final = 15.0
JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream; charset=utf-8"
NO_CACHE: Final = (b"cache-control", b"no-cache")
PING: Final = {"type": "http.response.body", "body": b": ping\n\n", "more_body": True}

_FIRST: Final = f"content-type: %b\r\n{HEADER_REQUEST_ID}: %b\r\n".encode()
_ANTHROPICS_ID: Final = b"request-id: %b\r\n"  # where its SDKs look
_QUEUED: Final = f"{HEADER_QUEUED}: %d\r\n".encode()
_ANTHROPICS: Final = frozenset({"messages", "count_tokens"})

Header = tuple[bytes, bytes]
Headers = list[Header]
Write = Callable[[bytes], bool]  # see Cycle.write


def reply_lines(record: Record, content_type: bytes) -> bytes:
    """Of the response's head, each with its end."""
    lines = _first_lines(record, content_type)
    if record.config:
        lines += _config_line(record.config)
    if record.offer is not None:
        lines += record.offer.lines + _attempts_line(record.attempts)
    if record.reservation is not None:
        lines += record.reservation.lines
    if record.queued_s is not None:
        lines += _QUEUED % (record.queued_s * 1000)
    if record.stages is not None:
        lines += b"server-timing: %b\r\n" % _server_timing(record).encode()
    return lines


@functools.lru_cache(maxsize=4)
def _config_line(digest: str) -> bytes:
    return f"{HEADER_CONFIG}: {digest[:12]}\r\n".encode()


@functools.lru_cache(maxsize=32)
def _attempts_line(attempts: int) -> bytes:
    return f"{HEADER_ATTEMPTS}: {attempts}\r\n".encode()


def _first_lines(record: Record, content_type: bytes) -> bytes:
    id_ = record.request_id.encode()
    lines = _FIRST % (content_type, id_)
    return lines + _ANTHROPICS_ID % id_ if record.surface.name in _ANTHROPICS else lines


def headers_in(lines: bytes) -> Headers:
    """As ASGI has them."""
    headers: Headers = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return headers


def reply_headers(record: Record, content_type: bytes) -> Headers:
    return headers_in(reply_lines(record, content_type))


def opening_headers(record: Record) -> Headers:
    """Of a stream that is opened before its answer begins. What is not known by then is left out:
    the configuration and the provider that will serve it, what is left of its limits, how long it
    waited."""
    return [*headers_in(_first_lines(record, EVENTS)), NO_CACHE]


def _server_timing(record: Record) -> str:
    """The stages so far, in milliseconds, as browsers' developer tools draw them."""
    began_s, shown = record.started_s, []
    for stage, ended_s in record.stages or ():
        shown.append(f"{stage};dur={(ended_s - began_s) * 1000:.3f}")
        began_s = ended_s
    return ", ".join(shown)


def respond_whole(record: Record, reply: Reply) -> bool:
    """At once, as mostly can be done; False: `send_whole` is to do it."""
    record.note_whole(reply)
    respond = record.respond
    return respond is not None and respond(200, reply_lines(record, JSON), reply.body)


async def send_whole(send: Send, record: Record, reply: Reply) -> None:
    record.note_whole(reply)
    await _send_body(send, record, reply_lines(record, JSON), reply.body)


async def send_json(
    send: Send, record: Record, value: Any, *, status: int = 200, lines: bytes = b""
) -> None:
    body = orjson.dumps(value)
    record.status = status
    await _send_body(send, record, reply_lines(record, JSON) + lines, body)


async def _send_body(send: Send, record: Record, lines: bytes, body: bytes) -> None:
    if record.respond is not None and record.respond(record.status, lines, body):
        return
    headers = [*headers_in(lines), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": record.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, record: Record, error: GatewayError) -> None:
    if record.end_comments is not None:
        await _send_error_in_stream(send, record, error)
        return
    status = record.status = error.told_status
    record.error = error.name
    lines = reply_lines(record, JSON) + _lines_of(error)
    body = orjson.dumps(record.surface.error_body(error))
    if not isinstance(error, BodyTooLarge):
        await _send_body(send, record, lines, body)
        return
    headers = headers_in(lines + b"content-length: %d\r\nconnection: close\r\n" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _lines_of(error: GatewayError) -> bytes:
    lines = b""
    if isinstance(error, LimitReached):
        lines += error.lines
    if error.retry_after_s is not None or isinstance(error, RateLimited | LimitReached):
        wait_s = min(MAX_RETRY_AFTER_S, max(1, math.ceil(error.retry_after_s or 1)))
        lines += b"retry-after: %d\r\n" % wait_s
    if error.exhausted:
        lines += b"x-should-retry: false\r\n"
    if isinstance(error, MethodNotAllowed):
        lines += b"allow: %b\r\n" % error.allow.encode()
    return lines


def end_comments(record: Record, probe: Callable[[], bool] | None = None) -> None:
    """`probe`: of the answer that begins now; None: nothing comes any more."""
    end, record.end_comments = record.end_comments, None
    if end is not None:
        end(probe)


async def _send_error_in_stream(send: Send, record: Record, error: GatewayError) -> None:
    """It was opened while it waited: no status can tell it any more. What follows is a cut."""
    end_comments(record)
    record.error, record.interrupted = error.name, "refused"
    frame = record.surface.error_frame(error, 0)
    await send({"type": "http.response.body", "body": frame, "more_body": True})


async def close_after_discarding(send: Send, receive: Receive) -> None:
    """Ends a response given before the request was read: closing on a client that still writes

    would reset the connection, and the answer would be lost with it.
    """
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):  # it has its answer
        async with asyncio.timeout(LINGER_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    break
    await send({"type": "http.response.body", "body": b""})


async def send_stream(
    send: Send, record: Record, reply: StreamedReply, write: Write | None = None
) -> None:
    """Forwards until the end, by the server's own `write` where it lends it.

    An upstream lost on the way is told by an error frame and a cut: no [DONE], no final chunk, so
    that no SDK takes the part for the whole.
    """
    record.status = 200
    pinger = Pinger(send, reply, write)
    try:
        if record.end_comments is None:
            # In no variable: it would be kept for as long as the stream runs.
            await send(stream_start([*reply_headers(record, EVENTS), NO_CACHE], pinger.probe))
        else:
            end_comments(record, pinger.probe)
        data, reply.first = reply.first, b""  # a quarter of a megabyte that is not kept
        while data:
            pinger.sending = True
            await send({"type": "http.response.body", "body": data, "more_body": True})
            pinger.sent()
            if write is not None:
                await reply.relay(pinger.write)
            data = await reply.next()
        await send({"type": "http.response.body", "body": b""})
    except (Exception, asyncio.CancelledError) as lost:
        left = isinstance(lost, asyncio.CancelledError) and CLIENT_GONE in lost.args
        if left and not pinger.sending and reply.is_handed_on():
            return  # with all of it
        if not await tell_lost(send, record, reply, lost):
            raise
    finally:
        pinger.close()
        record.usage = reply.usage
        record.output_estimate = reply.events
        reply.close()


def stream_start(headers: Headers, probe: Callable[[], bool]) -> Message:
    """`probe` sends what is no content; False: not just now."""
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": headers,
        PROBED_BY: probe,
    }


async def tell_lost(
    send: Send, record: Record, reply: "Unfinished", lost: Exception | asyncio.CancelledError
) -> bool:
    """Of an answer that ends before it is whole: notes why, and says so in a last frame. True: that
    was to be expected, and is all there is to do.
    """
    error: GatewayError
    if isinstance(lost, asyncio.CancelledError):
        if CLIENT_GONE in lost.args:
            return False
        record.interrupted, error = "draining", Draining()
    elif isinstance(lost, UpstreamFault | BadReply):
        kind = lost.kind if isinstance(lost, UpstreamFault) else "bad_reply"
        if reply.error is not None:  # the provider's own frame went out
            record.interrupted = "provider_error"
            return True
        record.interrupted, error = kind, UpstreamFailed(_LOST, code=f"upstream_{kind}")
    elif isinstance(lost, GatewayError):  # of the request's body, which was still on its way
        record.interrupted, error = "request_refused", lost
    else:
        record.interrupted, error = "internal_error", Internal()
    if frame := reply.error_frame(record.surface, error):
        if not reply.at_boundary:
            frame = b"\n\n" + frame
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    return isinstance(lost, UpstreamFault | BadReply | GatewayError)


class Unfinished(Protocol):
    """An answer of which the client has a part."""

    @property
    def at_boundary(self) -> bool:
        """What it has ends between two events."""

    @property
    def error(self) -> ProviderError | None:
        """What the provider ended it with."""

    def error_frame(self, surface: Surface, error: GatewayError) -> bytes:
        """What tells the client that no more comes; b"": nothing can, in this format."""


class Pinger:
    """A comment after each 15 s of silence, between two events: idle proxies keep the stream.

    One timer a stream, looked at when it fires: a chunk costs it one reading of the clock. A ping
    goes out at once or not at all: one that had to wait could come to stand inside an event.
    """

    def __init__(self, send: Send, reply: Unfinished, write: Write | None = None) -> None:
        self.sending = False
        self._send = send
        self._reply = reply
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._timer = self._loop.call_later(PING_AFTER_S, self._look)

    def sent(self) -> None:
        self.sending = False
        self._last_s = self._loop.time()

    def write(self, data: bytes) -> bool:
        self._last_s = self._loop.time()
        assert self._write is not None  # who has none does not ask
        return self._write(data)

    def probe(self) -> bool:
        """A comment now; False: it cannot stand here."""
        if self.sending or not self._reply.at_boundary:
            return False
        self._ping()
        return True

    def close(self) -> None:
        self.sending = True  # so that nothing more is sent
        self._timer.cancel()
        self._write = None
        del self._send  # both hold what holds this

    def _look(self) -> None:
        silent_s = self._loop.time() - self._last_s
        if silent_s >= PING_AFTER_S:
            self.probe()
            self._last_s += silent_s
            silent_s = 0.0
        self._timer = self._loop.call_later(PING_AFTER_S - silent_s, self._look)

    def _ping(self) -> None:
        send_now(self._send, PING)


def send_now(send: Send, message: Message) -> bool:
    """Whether it went out: a client that does not read would make it wait, and then it does not."""
    step = send(message).__await__()
    try:
        next(step)
    except StopIteration:
        return True
    step.close()
    return False
