"""Runs a Plan: a call to a provider in its format, and its answer in the client's.

Nothing is tried again once a byte of an answer went to the client: a streamed reply is handed over
only with its first bytes in hand, and from then on its troubles are the stream's.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import orjson

from runestone_sidecar.config.snapshot import Offer, Provider
from runestone_sidecar.errors import BadRequest, GatewayError, StateNotFound, UpstreamFailed
from runestone_sidecar.pipeline.aside import aside
from runestone_sidecar.pipeline.failure import AttemptFailed, of_fault
from runestone_sidecar.pipeline.outcomes import Outcomes, Turn
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.tries import Tries, read_refusal, within
from runestone_sidecar.pipeline.verdicts import (
    UNREADABLE,
    UNTRANSLATABLE,
    Row,
    row_of_fault,
    row_of_reply,
)
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import (
    AsksUsage,
    BadReply,
    Codec,
    Missing,
    ProviderError,
    Rendered,
    Reply,
    Request,
    StreamReader,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.response import Response
from runestone_sidecar.upstream.sse import is_event_stream
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.codec import (
    TranslatedStream,
    Translation,
    as_asked,
    asks_usage_itself,
    codec_for,
)

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
LAST_WORDS_S: Final = 0.5  # from the last event to the end of the provider's message


class StreamedReply:
    """A stream whose first bytes are here. `next` until b"", `close` in any case."""

    def __init__(self, first: bytes, response: Response, reader: StreamReader) -> None:
        self.first = first
        self.events = events_in(first)  # handed on so far
        self._response = response
        self._reader = reader
        self._ended = False
        self._from: tuple[Offer, Turn, Outcomes] | None = None

    @property
    def at_boundary(self) -> bool:
        return self._reader.at_boundary

    @property
    def error(self) -> ProviderError | None:
        return self._reader.error

    @property
    def usage(self) -> Usage | None:
        return self._reader.usage

    def is_handed_on(self) -> bool:
        """What came so far is all of it, and the client was given that: SDKs leave then, and wait
        for no end of the HTTP message. To be asked once nothing is read any more."""
        reader = self._reader
        return reader.complete and (self._ended or not reader.finish())

    async def next(self) -> bytes:
        """Client bytes; b"" when the reply is whole. Raises UpstreamFault or BadReply."""
        reader, response = self._reader, self._response
        while not self._ended:
            try:
                if reader.complete and not (response.complete or await response.wait(LAST_WORDS_S)):
                    data = b""
                else:
                    data = await response.next()
            except faults.UpstreamFault as fault:
                if not reader.complete:  # else only the end of the HTTP message is missing
                    self._lost(row_of_fault(fault))
                    raise
                data = b""
            try:
                if not data:
                    self._ended = True
                    return reader.finish()
                if out := reader.feed(data):
                    self.events += events_in(out)
                    return out
            except BadReply as bad:
                self._lost(row_of_reply(bad))
                raise
        return b""

    async def relay(self, write: Callable[[bytes], bool]) -> None:
        """Gives `write` what comes as it comes, until it is to be waited for (see `next`)."""
        reader = self._reader

        def take(data: bytes) -> bool:
            if out := reader.feed(data):
                self.events += events_in(out)
                return write(out) and not reader.complete
            return not reader.complete

        if self._ended or reader.complete:
            return
        try:
            await self._response.relay(take)
        except BadReply as bad:
            self._lost(row_of_reply(bad))
            raise

    def error_frame(self, surface: Surface, error: GatewayError) -> bytes:
        """What tells the client that no more comes."""
        if isinstance(self._reader, TranslatedStream):
            return self._reader.error_frame(error)
        return surface.error_frame(error, self.events)

    def watch(self, tell: Callable[[int], None]) -> None:
        """`tell` is called with the number of events in each piece; else no piece pays for it."""
        unwatched = self.next

        async def watched() -> bytes:
            before = self.events
            data = await unwatched()
            if self.events != before:
                tell(self.events - before)
            return data

        self.next = watched  # type: ignore[method-assign]
        tell(self.events)

    def hold(self, offer: Offer, turn: Turn, outcomes: Outcomes) -> None:
        """The provider counts as busy until `close`, and for what becomes of the stream."""
        self._from = (offer, turn, outcomes)
        turn.load.in_flight += 1

    def close(self) -> None:
        self._response.close()
        if self._from is not None:
            self._from[1].load.in_flight -= 1
            self._from = None

    def _lost(self, row: Row) -> None:
        if self._from is not None:
            offer, turn, outcomes = self._from
            outcomes.failed(offer.provider, turn, row, model=offer.target.upstream)


def events_in(data: bytes) -> int:
    """How many end within these bytes: lines may end in three ways."""
    ends = data.count(b"\n\n")
    if b"\r" in data:
        ends += data.count(b"\r\n\r\n") + data.count(b"\r\r")
    return ends


Answer = Reply | StreamedReply


class Executor(Tries[Plan, Answer]):
    """For requests whose answer goes through a codec."""

    async def _attempt(self, plan: Plan, offer: Offer, turn: Turn, record: Record) -> Answer:
        provider, load = offer.provider, turn.load
        dialect = provider.dialect
        assert dialect is not None  # routing leaves such providers out
        codec = codec_for(plan.surface, dialect, offer.capabilities)
        request = plan.request
        if turn.unasked or load.unasked:
            request = self._unasked(request, offer, turn)
        if request.is_heavy:
            rendered = await aside(partial(_render, codec, request, offer))
        else:
            rendered = _render(codec, request, offer)
        own = provider.deadlines if plan.request.stream else provider.deadlines_unstreamed
        deadlines = own if plan.deadline_s is None else within(plan.deadline_s, own)
        record.attempts += 1
        load.in_flight += 1
        started_s = time.perf_counter()
        try:
            response = await self._client.send(
                provider.origin,
                target=provider.base_path + rendered.path,
                headers=provider.heads[turn.credential] + rendered.headers + record.trace.lines,
                body=rendered.body,
                deadlines=deadlines,
            )
            # What is here whole already, as most answers are, takes no coroutine.
            is_plain = response.status == 200 and not request.stream
            body = response.take_whole(MAX_REPLY_BYTES) if is_plain else None
            if body is not None:
                reply: Answer = codec.read(request, body)
            else:
                reply = await _read(provider, codec, request, response)
        except faults.UpstreamFault as fault:
            raise of_fault(fault, deadlines, own) from fault
        except BadReply as error:
            raise AttemptFailed(
                row_of_reply(error),
                "bad_reply",
                UpstreamFailed("The provider's answer is not valid."),
            ) from error
        finally:
            load.in_flight -= 1
        if isinstance(reply, StreamedReply):
            reply.hold(offer, turn, self._outcomes)
        now_s = time.perf_counter()
        load.observe_first_byte(now_s - started_s)
        record.first_byte_s = now_s - record.started_s
        record.answered = True
        self._traffic.attempts[provider.id, "ok"] += 1
        self._succeeded(plan, offer, turn)
        return reply

    def _unasked(self, request: Request, offer: Offer, turn: Turn) -> Request:
        """As this provider can be asked, which refused to be asked for usage."""
        model, now_s = offer.target.upstream, self._load.now_s()
        if turn.unasked or not turn.load.may_ask_usage(model, now_s):
            return replace(request, asks_usage=AsksUsage.NOBODY)
        return request


async def _read(provider: Provider, codec: Codec, request: Request, response: Response) -> Answer:
    """Raises AttemptFailed, UpstreamFault or BadReply."""
    handed_over = False
    try:
        if response.status != 200:
            raise await read_refusal(
                provider,
                response,
                lambda told: as_asked(codec, request, told),
                asks_usage=asks_usage_itself(codec, request),
                is_native=not isinstance(codec, Translation),
            )
        if not request.stream:
            return codec.read(request, await response.read(MAX_REPLY_BYTES))
        reply = await _begin_stream(codec, request, response)
        handed_over = True
        return reply
    finally:
        if not handed_over:
            response.close()


async def _begin_stream(codec: Codec, request: Request, response: Response) -> StreamedReply:
    content_type = response.header(b"content-type") or b""
    if not is_event_stream(content_type):
        raise BadReply("a stream was asked for, something else came")
    reader = codec.stream(request)
    while data := await response.next():
        if first := reader.feed(data):
            return StreamedReply(first, response, reader)
    raise BadReply("the stream ended before it began")


def _render(codec: Codec, request: Request, offer: Offer) -> Rendered:
    try:
        return codec.render(request, offer.target)
    except Untranslatable as error:
        kind = StateNotFound if isinstance(error, Missing) else BadRequest
        told = kind(error.message, param=error.param, details=error.details)
        raise AttemptFailed(UNTRANSLATABLE, "untranslatable", told) from error
    except orjson.JSONEncodeError as error:
        raise AttemptFailed(
            UNREADABLE, "untranslatable", BadRequest("The request is nested too deeply.")
        ) from error
