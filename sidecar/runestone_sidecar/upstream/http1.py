"""One HTTP/1.1 connection to a provider, and the exchange under way on it.

It turns bytes into a Response or a fault, and keeps the deadlines. It knows nothing of pools
(whoever owns the connection is told when it is free or gone), of retries, or of what a body means.
"""

import asyncio
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from runestone_sidecar.upstream.faults import (
    BadResponse,
    FirstByteTimeout,
    IdleTimeout,
    LostBeforeHead,
    LostMidBody,
    Phase,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.heads import MAX_HEAD_BYTES, MAX_HEADERS, judge_head, overgrown
from runestone_sidecar.upstream.outgoing import WRITE_SLICE_BYTES, Slices, Unsent, Upload
from runestone_sidecar.upstream.response import Response

if TYPE_CHECKING:
    from runestone_sidecar.upstream.origin import Deadlines

# A body buffered beyond this pauses the provider; one read is 4 times that.
READ_HIGH_BYTES = 64 * 1024
HELD_UP_S = 5.0  # no provider gives up sooner on who does not read
# A close that had crossed our request is known a round trip later; what comes after that was asked.
STALE_WITHIN_S = 1.0
TIMER_GRAIN_S = 0.002  # loop clocks count in milliseconds: a timer may ring this much too early


class Owner(Protocol):
    """Told by its connection what becomes of it."""

    def release(self, connection: "Connection") -> None:
        """It can serve again."""

    def discard(self, connection: "Connection") -> None:
        """It is of no more use. Said once."""

    def gone(self, connection: "Connection") -> None:
        """And now its socket is closed. Said once, after `discard`."""


class _Stop(Exception):
    """Raised in a parser callback: read no further. The reason is in the connection."""


class Connection(asyncio.Protocol):
    """A socket with a parser on it, serving one exchange after another."""

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_bodiless",
        "_coded",
        "_deadlines",
        "_ended",
        "_flowing",
        "_headers",
        "_heard",
        "_held_up",
        "_keep_alive",
        "_loop",
        "_overhead_bytes",
        "_owner",
        "_parser",
        "_read_paused",
        "_refusal",
        "_response",
        "_served",
        "_since",
        "_total_at",
        "_unsent",
        "_write_paused",
        "closed",
        "idle_since",
        "transport",
    )

    transport: asyncio.Transport
    # Of the exchange under way, set by `start`:
    _deadlines: "Deadlines"
    _total_at: float
    _since: float  # when a byte of either body last moved
    _bodiless: bool  # an answer to HEAD ends with its head
    _heard: bool  # a byte of an answer came
    _held_up: bool  # its reader let it wait for long
    _coded: bool  # its head has a Transfer-Encoding
    _flowing: bool  # a byte of its body came
    _ended: bool  # with its last byte
    _keep_alive: bool
    _overhead_bytes: int  # received since the last byte of a body
    _headers: list[tuple[bytes, bytes]]  # where the parser's go
    _refusal: UpstreamFault | None  # why a callback stopped the parser

    def __init__(self) -> None:
        self.closed = False
        self.idle_since = 0.0  # for the owner to use
        self._loop = asyncio.get_running_loop()
        self._owner: Owner | None = None
        self._parser = HttpResponseParser(self)
        self._response: Response | None = None
        self._served = 0
        self._unsent: Unsent | None = None
        self._write_paused = self._read_paused = False
        # One timer, never moved later: it looks when it rings. At a steady pace of short calls
        # that is one timer in `first_byte_s`, not one a call.
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf  # as long as there is none

    def adopt(self, owner: Owner) -> None:
        self._owner = owner

    @property
    def usable(self) -> bool:
        return not self.closed and not self.transport.is_closing()

    def start(
        self, head: bytes, body: bytes, *, deadlines: "Deadlines", started_at: float, bodiless: bool
    ) -> Response:
        """Writes a request, whose `head` ends with the blank line; the body follows as it can."""
        response = self._response = Response(self, self._loop)
        self._bodiless = bodiless
        self._heard = self._coded = self._flowing = self._ended = False
        self._keep_alive = self._held_up = False
        self._overhead_bytes = 0
        self._headers = response.headers
        self._refusal = None
        self._deadlines = deadlines
        self._total_at = started_at + deadlines.total_s
        self._since = self._loop.time()
        alarm_at = self._alarm_at
        if alarm_at > self._since + deadlines.first_byte_s or alarm_at > self._total_at:
            self._watch()  # asked in line, since the timer of an earlier exchange mostly will do
        if len(body) <= WRITE_SLICE_BYTES:  # in one write with the head
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self._unsent = Slices(self, body)
            self._unsent.pump()
        return response

    def upload(self, body: Upload) -> None:
        """Follows `start`, whose `head` announced it."""
        self._unsent = body
        body.start(self)

    def hang_up(self) -> None:
        """The answer is known: what is not sent of the request is not wanted."""
        if self._unsent is not None:
            self._unsent.stop()
            self._since = self._loop.time()
            self._watch()

    # --- for the rest of a request's body

    @property
    def takes(self) -> bool:
        return not self._write_paused and not self.closed

    def write(self, data: bytes | memoryview) -> None:
        self._since = self._loop.time()
        self.transport.write(data)

    def sent(self) -> None:
        """The whole request is on its way: now the provider has to answer."""
        self._unsent = None
        if not self.closed:
            self._since = self._loop.time()
            self._watch()

    def give_up(self, error: Exception) -> None:
        """The request will never be whole: `error` is raised by whoever waits for its answer."""
        if not self.closed:
            self._fail(error)

    # --- for the reader

    def drained(self) -> None:
        """The reader took all there was."""
        if self._read_paused:
            self._read_paused = False
            silent_s, self._since = self._loop.time() - self._since, self._loop.time()
            self._held_up = self._held_up or silent_s > HELD_UP_S  # and all of it was our own
            self.transport.resume_reading()
            self._watch()

    # --- for the owner

    def abort(self) -> None:
        """Ends whatever is under way, with a fault for who waits for it."""
        self._lost(None, "closed on our side")

    def close(self) -> None:
        """The socket goes at once; the owner hears of it."""
        if self.closed:
            return
        self.closed = True
        self._response = None
        if self._unsent is not None:
            self._unsent.stop()
            self._unsent = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        del self._parser  # it holds our methods: no cycle for the collector to find
        self.transport.abort()
        if self._owner is not None:
            self._owner.discard(self)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # nobody asked: what comes now cannot be told from a later answer
            self.close()
            return
        self._heard = True
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._keep_alive = False  # after the end of an answer: the answer is good all the same
            if not self._ended:
                self._fail(self._refusal or BadResponse(response.phase, str(error)))
                return
        if self._ended:
            self._finish(response)
        elif self._overhead_bytes > MAX_HEAD_BYTES:
            self._fail(overgrown(within_body=response.status > 0))
        elif response.status:
            self._flow(response)

    def eof_received(self) -> None:
        """A clean end: FIN, or over TLS a close_notify, so that nobody on the way can forge it.

        (With uvloop. asyncio's own TLS says the same of a bare FIN.)
        """
        response = self._response
        if response is not None and response.status and self._ends_at_eof(response):
            self._finish(response)
        else:
            self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        if self._owner is not None:
            self._owner.gone(self)

    def pause_writing(self) -> None:
        self._write_paused = True
        if self._unsent is not None:  # so far we may have waited for the client
            self._since = self._loop.time()
            self._watch()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._unsent is not None:
            self._since = self._loop.time()
            self._unsent.pump()

    # --- the parser's callbacks

    def on_message_begin(self) -> None:
        if self._ended:
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding":
            self._judge_coding(value)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        headers = self._headers
        status = self._parser.get_status_code()
        if self._overhead_bytes > MAX_HEAD_BYTES or len(headers) > MAX_HEADERS or status < 200:
            fault = judge_head(status, headers, self._overhead_bytes)
            if fault is not None:
                self._refuse(fault)
        if status < 200:
            headers.clear()  # the next head is the one
            return
        self._headers = []  # trailers go there, to be forgotten
        self._overhead_bytes = 0
        if self._response is not None:
            self._response.status = status
        self._ended = self._bodiless  # whatever its headers say; the parser would wait for a body

    def on_body(self, data: bytes) -> None:
        response = self._response
        if self._ended or response is None:
            raise _Stop
        self._overhead_bytes = 0
        response.feed(data)

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and response.status and not self._ended:
            self._ended = True
            self._keep_alive = self._parser.should_keep_alive()  # only right within this callback

    # --- inside

    def _judge_coding(self, value: bytes) -> None:
        if self._response is None or self._response.status:
            return  # a trailer
        if self._coded or value.strip().lower() != b"chunked":
            self._refuse(BadResponse(Phase.HEAD, "a transfer coding that nobody asked for"))
        self._coded = True

    def _refuse(self, fault: UpstreamFault) -> None:
        """Out of a callback, and out of the parser."""
        self._refusal = fault
        raise _Stop

    def _ends_at_eof(self, response: Response) -> bool:
        return not self._coded and response.header(b"content-length") is None

    def _flow(self, response: Response) -> None:
        """A part of an answer is here, and there is more to come."""
        if response.buffered_bytes:
            self._since = self._loop.time()
            if not self._flowing:
                self._flowing = True
                self._watch()
        response.wake()
        if response.buffered_bytes > READ_HIGH_BYTES and not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def _finish(self, response: Response) -> None:
        """The answer is whole: the connection is free, whenever its body may be read."""
        self._response = None
        self._served += 1
        response.end(None)
        if self._keep_alive and self._unsent is None and self._owner is not None:
            self._owner.release(self)
        else:
            self.close()

    def _lost(self, exc: Exception | None, detail: str = "closed by the provider") -> None:
        if (response := self._response) is None:
            self.close()
            return
        detail = detail if exc is None else type(exc).__name__
        if response.status:
            self._fail(LostMidBody(detail, held_up=self._held_up))
        else:
            is_soon = self._loop.time() - self._since < STALE_WITHIN_S
            stale = self._served > 0 and not self._heard and is_soon
            self._fail(LostBeforeHead(detail, stale=stale, begun=self._heard))

    def _fail(self, fault: Exception) -> None:
        if self._response is not None:
            self._response.end(fault)
        self.close()

    def _due_at(self) -> float:
        if self._read_paused:  # the silence is ours: the reader is slow
            return self._total_at
        if self._unsent is not None and self._unsent.waiting:  # or the client's
            return self._total_at
        limit_s = self._deadlines.idle_s if self._flowing else self._deadlines.first_byte_s
        return min(self._since + limit_s, self._total_at)

    def _watch(self) -> None:
        """Sees to it that the timer rings no later than the next deadline."""
        due_at = self._due_at()
        if self._alarm_at <= due_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due_at
        self._alarm = self._loop.call_at(due_at, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        response = self._response
        if response is None:
            return
        now = self._loop.time() + TIMER_GRAIN_S
        if now >= self._total_at:
            self._fail(TotalTimeout(response.phase, begun=self._flowing))
        elif now >= self._due_at():
            timeout = IdleTimeout if self._flowing else FirstByteTimeout
            self._fail(timeout(response.phase))
        else:
            self._watch()
