"""One request from its first byte to its access line: what all endpoints share.

Refusals become envelopes, a client that leaves cancels the work, and whatever happens the record
is closed once.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runestone_contract.names import HEADER_DEBUG, HEADER_REQUEST_ID
from runestone_sidecar.admit.auth import shown_key
from runestone_sidecar.admit.plugin import Authenticator
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.edge.audited import audited
from runestone_sidecar.edge.request import (
    CLIENT_GONE,
    CYCLE,
    ClientGone,
    Receive,
    Scope,
    Send,
    headers_of,
)
from runestone_sidecar.edge.respond import close_after_discarding, end_comments, send_error
from runestone_sidecar.errors import (
    BodyTooLarge,
    Draining,
    GatewayError,
    Internal,
    NotFound,
    NotReady,
    Unauthorized,
    UnknownKey,
)
from runestone_sidecar.pipeline.plan import CANCELLED_STATUS, Record
from runestone_sidecar.pipeline.spending import settle
from runestone_sidecar.telemetry import trace_context
from runestone_sidecar.telemetry.audit import AuditLog
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.telemetry.log import Clock, LineWriter, mask
from runestone_sidecar.telemetry.trace_context import NO_TRACE, read_trace
from runestone_sidecar.telemetry.traffic import NONE, Traffic
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT

MAX_LOGGED_PATH: Final = 200
MAX_LOGGED_MODEL: Final = 100

_KNOWN: Final = EventType.AUTH_SUCCESS  # an Enum's own look-up is as dear as telling
_REQUEST_ID: Final = HEADER_REQUEST_ID.encode()
_DEBUG: Final = HEADER_DEBUG.encode()
_TRACE_PARENT: Final = trace_context.PARENT.encode()
_TRACE_STATE: Final = trace_context.STATE.encode()
_FIT_FOR_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Caller:
    """Who asks, by which configuration: read once, kept for the whole request."""

    snapshot: Snapshot
    principal: Principal


Answer = Callable[[Scope, Receive, Send, Record, Caller], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exchanges:
    holder: Holder
    traffic: Traffic
    lines: LineWriter
    authenticator: Authenticator
    clock: Clock
    rng: random.Random
    audit: AuditLog | None = None

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, answer: Answer, surface: Surface
    ) -> None:
        record = self._open(scope, surface)
        self.traffic.in_flight += 1
        try:
            caller = self.caller_of(scope, record)
            record.events.emit(_KNOWN, record)
            if record.stages is not None:
                record.mark("auth")
            await answer(scope, receive, send, record, caller)
        except GatewayError as error:
            await send_error(send, record, error)
            if isinstance(error, BodyTooLarge):
                await close_after_discarding(send, receive)
        except ClientGone:
            record.client_gone = True
        except asyncio.CancelledError as cancelled:
            record.client_gone = CLIENT_GONE in cancelled.args
            if not record.client_gone and _is_unanswered(record):  # the time to drain is over
                await send_error(send, record, Draining())
        except Exception:
            log.exception("request %s failed", record.request_id)
            if _is_unanswered(record):
                await send_error(send, record, Internal())
        finally:
            self.traffic.in_flight -= 1
            self.close(record)

    async def refuse(
        self, scope: Scope, send: Send, error: GatewayError, surface: Surface = OPENAI_CHAT
    ) -> None:
        """What no endpoint answers: no key is asked for, nothing is told."""
        record = self._open(scope, surface)
        try:
            await send_error(send, record, error)
        finally:
            self.close(record, is_ours=not isinstance(error, NotFound))

    def _open(self, scope: Scope, surface: Surface) -> Record:
        cycle, headers = scope.get(CYCLE), headers_of(scope)
        parent = headers.get(_TRACE_PARENT)
        given, path = headers.get(_REQUEST_ID), scope["path"]
        if given and not _FIT_FOR_ID.fullmatch(given):  # to be logged; both sides search for it
            given = None
        return Record(
            given.decode() if given else "req_" + self.rng.randbytes(12).hex(),
            time.perf_counter(),
            self.traffic.events,
            scope["method"],
            _shown(path) if len(path) > MAX_LOGGED_PATH or "sk-" in path else path,
            surface,
            read_trace(parent, headers.get(_TRACE_STATE)) if parent else NO_TRACE,
            [] if headers.get(_DEBUG) == b"timing" else None,
            None if cycle is None else cycle.respond,
        )

    def caller_of(self, scope: Scope, record: Record) -> Caller:
        """By the configuration as it is now. Raises Unauthorized, BadRequest or NotReady."""
        snapshot = self.holder.current
        if snapshot is None:
            raise NotReady("The gateway has no configuration yet.")
        record.config = snapshot.digest
        try:
            principal = self.authenticator.principal_of(
                snapshot, scope["headers"], now_s=time.time()
            )
        except UnknownKey:
            if self.audit is not None:
                record.presented = shown_key(scope["headers"])
            record.events.emit(EventType.AUTH_INVALID_KEY, record)
            raise
        except GatewayError as error:
            if isinstance(error, Unauthorized):
                record.presented = error.who
            record.events.emit(EventType.AUTH_FAILURE, record)
            raise
        record.principal = principal
        return Caller(snapshot, principal)

    def close(self, record: Record, *, is_ours: bool = True) -> None:
        """Once: settles, counts and logs what became of it, a job's attempt too. `is_ours`: its
        path is one of the API's."""
        seconds = time.perf_counter() - record.started_s
        if record.end_comments is not None:
            end_comments(record)
        if record.client_gone:
            record.status = CANCELLED_STATUS
            self.traffic.clients_gone += 1
        settle(record)
        self._count(record, seconds)
        if record.stream and record.answered:
            self._tell_stream(record)
        line = self._line(record, seconds)
        self.lines.write(line)
        if self.audit is not None and is_ours:
            self.audit.write(audited(record, line))

    def _tell_stream(self, record: Record) -> None:
        """All of it at its end: a chunk is not worth a call."""
        events = record.events
        events.count(EventType.STREAM_CHUNK, record.output_estimate)
        provider = record.offer.provider.id if record.offer else None
        if record.interrupted is None and not record.client_gone:
            events.emit(EventType.STREAM_COMPLETE, record, provider=provider)
        else:
            reason = record.interrupted or "client_gone"
            events.emit(EventType.STREAM_ERROR, record, provider=provider, reason=reason)

    def _count(self, record: Record, seconds: float) -> None:
        traffic = self.traffic
        key = record.principal.id if record.principal else NONE
        provider = record.offer.provider.id if record.offer else NONE
        model = record.offer.model if record.offer else NONE  # what was asked for may be anything
        traffic.requests[key, model, provider, record.status] += 1
        traffic.duration[model, provider].observe(seconds)
        if record.first_byte_s is not None:
            traffic.first_byte[model, provider].observe(record.first_byte_s)
        if record.usage is not None:
            spent = traffic.spent[key, model, provider]
            spent.input_tokens += record.usage.input_tokens
            spent.output_tokens += record.usage.output_tokens
            spent.cost_picodollars += record.cost_picodollars or 0
        if record.interrupted is not None:
            traffic.interrupted[provider, record.interrupted] += 1

    def _line(self, record: Record, seconds: float) -> dict[str, object]:
        line: dict[str, object] = {
            "time": self.clock.stamp(time.time()),
            "level": "info",
            "message": "request",
            "request_id": record.request_id,
            "method": record.method,
            "path": record.path,
            "status": record.status,
            "duration_ms": _ms(seconds),
            "config": record.config[:12],
        }
        if record.trace.trace_id:
            line["trace_id"] = record.trace.trace_id
        if record.principal is not None:
            line["api_key"] = record.principal.id
            line["tenant"] = record.principal.tenant
        if record.offer is not None:
            model = record.model or ""  # any text, where a rule sends its own model instead
            is_ours = model == record.offer.model
            line["model"] = _printable(model) if is_ours else _shown_model(model)
            line["provider"] = record.offer.provider.id
            line["upstream_model"] = record.offer.target.upstream
            line["attempts"] = record.attempts
            line["stream"] = record.stream
        elif record.model is not None:  # refused, and any text may be asked for as a model
            line["model"] = _shown_model(record.model)
        if record.tried:
            line["tried"] = record.tried
        _add_times(line, record)
        if record.usage is not None:
            line["input_tokens"] = record.usage.input_tokens
            line["output_tokens"] = record.usage.output_tokens
            if record.usage_estimated:
                line["usage_estimated"] = True
        if record.error is not None:
            line["error"] = record.error
        if record.interrupted is not None:
            line["interrupted"] = record.interrupted
        return line


def _add_times(line: dict[str, object], record: Record) -> None:
    if record.queued_s is not None:
        line["queued_ms"] = _ms(record.queued_s)
    if record.first_byte_s is not None:
        line["first_byte_ms"] = _ms(record.first_byte_s)


def _ms(seconds: float) -> float:
    """To the microsecond; `round` takes three times as long."""
    return int(seconds * 1e6 + 0.5) / 1000


def _is_unanswered(record: Record) -> bool:
    return not record.status or record.end_comments is not None


def _shown(path: str) -> str:
    """Some put their key there."""
    return mask(path[:MAX_LOGGED_PATH])


def _shown_model(model: str) -> str:
    return mask(_printable(model[:MAX_LOGGED_MODEL]))


def _printable(name: str) -> str:
    """JSON lets some characters stand that others take for the end of a line."""
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
