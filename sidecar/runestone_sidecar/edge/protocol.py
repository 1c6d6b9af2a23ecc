"""The protocol of both ports: it learns at once that a client is gone, and waits for none too long.

ASGI tells a lost client only to who awaits `receive`, which would be a task for each request; the
transport knows without one. No connection has a timer: the server calls `look` of all of them.
"""

import asyncio
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from runestone_sidecar.edge.bounds import BODY_BYTES_PER_S
from runestone_sidecar.edge.cycle import Cycle
from runestone_sidecar.edge.half_close import (
    ANSWERED_S,
    PROBE,
    SILENT_S,
    can_tell,
    sends_no_more,
    sent_within,
    was_reset,
)
from runestone_sidecar.edge.head import Refused
from runestone_sidecar.edge.refusal import FULL, LATE, NOT_HTTP, reason_of, render_refusal
from runestone_sidecar.edge.request import CLIENT_GONE, CYCLE, REFUSED
from runestone_sidecar.edge.strict import ANSWER, BODY, HEAD, IDLE, LEAVING, StrictProtocol
from runestone_sidecar.edge.transport import HeadHolder
from runestone_sidecar.errors import GatewayError

_FULL: Final = render_refusal(FULL)
LINGER_S: Final = 2.0  # closing on a client that still sends would take its answer from it


class Protocol(StrictProtocol):
    """A request whose connection is lost before its response is complete is cancelled."""

    _running: Cycle | None = None  # uvicorn's `cycle` is the one read last
    _task: asyncio.Task[None]
    _upgrading = False
    _sends_no_more = False
    _stalled_since_s: float | None = None

    # --- what the server calls

    def look(self, now_s: float) -> None:
        """Ends a connection whose client takes longer than it may."""
        stage = self._stage
        waited_s = now_s - self._since_s
        if self._stalled_since_s is not None:
            if now_s - self._stalled_since_s > self._bounds.stalled_s:
                self.transport.abort()
        elif self._sends_no_more and stage == ANSWER:
            self._probe()
        elif stage == IDLE:
            if waited_s > self._bounds.idle_s:
                self._leave()
        elif stage == LEAVING:
            unsent = self.transport.get_write_buffer_size() > 0
            if waited_s > (self._bounds.stalled_s if unsent else LINGER_S):
                self.transport.abort()
        elif stage in {HEAD, BODY}:
            self._look_at_request(now_s)

    def leave_if_idle(self, since_s: float) -> None:
        if self._stage == IDLE and self._since_s <= since_s:
            self._leave()

    # --- what the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_holder = HeadHolder(transport)
        super().connection_made(self._head_holder)  # type: ignore[arg-type]
        self._since_s = self.loop.time()
        if len(self.connections) > self._bounds.connections:
            self._turn_away()

    def data_received(self, data: bytes) -> None:
        if self._stage == LEAVING:
            return
        try:
            self.feed(data)
        except HttpParserUpgrade as upgrade:
            self._stay(memoryview(data)[upgrade.args[0] :])
        except (HttpParserError, Refused) as error:
            self._refuse(_said_by(error))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the client may still be there, waiting for its answer."""
        running = self._running
        if self._stage != ANSWER or running is None:
            return False
        if running.response_started and running.probe is None:
            return False
        if self.scope["http_version"] != "1.1" or not can_tell():
            return False
        self.cycle.keep_alive = False
        self._sends_no_more = True
        if not self._probe():
            self.loop.call_later(SILENT_S, self._end_if_silent)
        return True

    def pause_writing(self) -> None:
        self._stalled_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since_s = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        running = self._running
        super().connection_lost(exc)
        self.pipeline.clear()
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            self._task.cancel(CLIENT_GONE)

    # --- what the parser calls

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrading = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        cycle = self.cycle
        if cycle.response_complete:  # it needed no body to be answered
            self._await(IDLE)
            return
        cycle.more_body = False
        cycle.message_event.set()
        self._stage = ANSWER
        if self.flow.read_paused and not self.pipeline:
            # The last part of a large body came all at once. Whoever does not read will not
            # notice that the client leaves.
            self.flow.resume_reading()

    # --- what the responses call

    def on_response_complete(self) -> None:
        """uvicorn's, but for its timer."""
        if self._head_holder.held is not None:  # of a response without a body, to HEAD say
            self._head_holder.flush()
        self.server_state.total_requests += 1
        if (running := self._running) is not None:
            running.probe = None  # it holds the answer, and so may the request
            running.scope.pop(CYCLE, None)  # type: ignore[typeddict-item]  # holds what holds it
        if self.transport.is_closing():
            self._await(LEAVING)
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._since_s = self.loop.time()  # for what was sent ahead, too
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._stage == ANSWER:
            self._stage = IDLE

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle  # type: ignore[assignment]  # uvicorn's own are not made here
        self._head_holder.holding = True
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- another protocol

    def _stay(self, rest: memoryview) -> None:
        """A wish for another protocol is answered in this one, as RFC 9110 lets a server do.

        Java's HttpClient wishes for h2c with the first request of each connection. The parser
        takes the body for the other protocol's, so the head is read again without the wish.
        """
        while True:
            self._upgrading = False
            try:
                self.feed(self._head_without_upgrade())
                self.feed(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except (HttpParserError, Refused) as error:
                self._refuse(_said_by(error))
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

    # --- the end of a connection

    def _probe(self) -> bool:
        """Of a client that sends no more: is it gone? False: that cannot be found out just now."""
        self._end_if_reset()
        running = self._running
        if running is None or self.transport.is_closing() or self.flow.write_paused:
            return True  # what it has not taken yet will tell
        if running.response_started:
            if running.probe is None or not running.probe():
                return False
        elif self.scope["http_version"] == "1.1":
            self.transport.write(PROBE)
        self.loop.call_later(ANSWERED_S, self._end_if_reset)
        return True

    def _end_if_silent(self) -> None:
        """It stopped sending within an event: if more of that was sent, this has told by now."""
        if not self._probe() and not sent_within(self.transport, SILENT_S):
            self.transport.abort()

    def _end_if_reset(self) -> None:
        if not self.transport.is_closing() and was_reset(self.transport):
            self.transport.abort()

    def _look_at_request(self, now_s: float) -> None:
        waited_s = now_s - self._since_s
        if self._stage == HEAD:
            if waited_s > self._bounds.head_s and not self._owes_another():
                self._refuse(LATE)
        elif self.flow.read_paused or self._owes_another():  # then it is we who let it wait
            self._since_s = now_s - self._body_bytes / BODY_BYTES_PER_S
            if self.flow.read_paused and sends_no_more(self.transport):  # which we do not read
                self._probe()
        elif waited_s > self._bounds.body_s + self._body_bytes / BODY_BYTES_PER_S:
            if self.cycle.response_complete:
                self._leave()
            else:
                self._refuse(LATE)

    def _owes_another(self) -> bool:
        """Whether an answer is under way that is not to what is being read."""
        running = self._running
        if running is None or running.response_complete:
            return False
        return self._stage == HEAD or running is not self.cycle

    def _refuse(self, error: GatewayError) -> None:
        """Ends the connection with this, but no answer to an earlier request."""
        self._door.refused[reason_of(error)] += 1
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                running.keep_alive = False
                self.flow.resume_reading()  # to notice that the client leaves
                self._await(LEAVING)
                self._since_s = float("inf")  # not before the answer is out
                return
            running.disconnected = True  # its own body is broken: nothing else may answer it
            running.scope[REFUSED] = error  # type: ignore[typeddict-unknown-key]
            running.message_event.set()
            if running.response_started:
                self._leave()
                return
        self._finish(error)

    def _turn_away(self) -> None:
        self._stage = LEAVING
        self._door.make_room(self.connections, self._since_s)
        if self._door.is_crowded(self.connections):  # it may not get to read this
            self.transport.write(_FULL)
            self._leave()
        else:
            self._finish(FULL)

    def _finish(self, error: GatewayError) -> None:
        self._head_holder.finish(render_refusal(error))
        self._await(LEAVING)

    def _leave(self) -> None:
        self.transport.close()
        self._await(LEAVING)

    def _await(self, stage: int) -> None:
        self._stage = stage
        self._since_s = self.loop.time()


def _said_by(error: Exception) -> GatewayError:
    refused = error if isinstance(error, Refused) else error.__context__
    return refused.error if isinstance(refused, Refused) else NOT_HTTP
