"""Runs a Plan: offer after offer, try after try, until one answers.

Nothing is tried again once a byte of an answer went to the client: a streamed reply is handed over
only with its first bytes in hand, and from then on its troubles are the stream's.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import orjson

from runestone_sidecar.admit.breaker import State
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.errors import BadRequest, GatewayError, UpstreamFailed
from runestone_sidecar.pipeline.failure import AttemptFailed, of_fault, of_refusal
from runestone_sidecar.pipeline.outcomes import Outcomes, Turn
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.verdicts import (
    BAD_REPLY,
    PASSED_OVER,
    STALE,
    UNREADABLE,
    UNTRANSLATABLE,
    Row,
    Verdict,
    row_of_fault,
)
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    Codec,
    Dialect,
    ProviderError,
    Rendered,
    Reply,
    StreamReader,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.response import Response
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.codec import TranslatedStream, codec_for

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 256 * 1024
LAST_WORDS_S: Final = 0.5  # from the last event to the end of the provider's message
_EVENT_END: Final = b"\n\n"
_OF_THE_KEY: Final = (Verdict.CREDENTIAL, Verdict.LIMITED)
_PASSING: Final = (Verdict.RETRY, Verdict.LIMITED)
_LAST_WORD = " No other provider could answer either."


class StreamedReply:
    """A stream whose first bytes are here. `next` until b"", `close` in any case."""

    def __init__(self, first: bytes, response: Response, reader: StreamReader) -> None:
        self.first = first
        self.events = first.count(_EVENT_END)  # handed on so far
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
                    self.events += out.count(_EVENT_END)
                    return out
            except BadReply:
                self._lost(BAD_REPLY)
                raise
        return b""

    def error_frame(self, surface: Surface, error: GatewayError) -> bytes:
        """What tells the client that no more comes."""
        if isinstance(self._reader, TranslatedStream):
            return self._reader.error_frame(error)
        return surface.error_frame(error, self.events)

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


Answer = Reply | StreamedReply


class Executor:
    def __init__(
        self,
        client: Client,
        load: LoadStore,
        traffic: Traffic,
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._load = load
        self._outcomes = Outcomes(load, traffic)
        self._traffic = traffic
        self._random = rng
        self._sleep = sleep

    async def execute(self, plan: Plan, record: Record) -> Answer:
        """Raises GatewayError when no offer answered."""
        offers = plan.decision.offers
        told: AttemptFailed | None = None  # of the last provider that was called
        for left, offer in zip(range(len(offers) - 1, -1, -1), offers, strict=True):
            record.offer = offer
            try:
                return await self._offer(plan, offer, record, is_last=not left)
            except AttemptFailed as failure:
                if failure.row.verdict is Verdict.CLIENT:
                    raise failure.error from failure
                if told is None or failure.row is not PASSED_OVER:
                    told = failure
                if not left or _time_left(plan) == 0:
                    raise _exhausted(told, record) from told
        raise AssertionError("a decision has an offer")  # pragma: no cover

    async def _offer(self, plan: Plan, offer: Offer, record: Record, *, is_last: bool) -> Answer:
        """One provider: its credentials in turn, its retries. Raises AttemptFailed."""
        provider = offer.provider
        turn = self._outcomes.enter(offer)
        try:
            while True:
                try:
                    return await self._attempt(plan, offer, turn, record)
                except AttemptFailed as failure:
                    record.tried.append(f"{provider.id}: {failure.outcome}")
                    self._traffic.attempts[provider.id, failure.outcome] += 1
                    self._outcomes.failed(
                        provider,
                        turn,
                        failure.row,
                        model=offer.target.upstream,
                        wait_s=failure.wait_s,
                    )
                    if not await self._try_again(plan, offer, turn, failure, is_last=is_last):
                        raise
        finally:
            turn.leave()

    async def _try_again(
        self, plan: Plan, offer: Offer, turn: Turn, failure: AttemptFailed, *, is_last: bool
    ) -> bool:
        """Whether this provider is called once more; waits until it may be."""
        verdict, retry = failure.row.verdict, offer.provider.retry
        if failure.row is STALE and not turn.fresh:
            turn.fresh = True
            return True
        if verdict in _OF_THE_KEY and self._outcomes.next_credential(
            offer.provider, turn, offer.target.upstream
        ):
            return True
        if verdict not in _PASSING or turn.tries >= retry.max_attempts:
            return False
        if turn.load.breaker.state is State.OPEN:
            return False
        ceiling_s = (
            min(retry.max_backoff_ms, retry.initial_backoff_ms * 2 ** (turn.tries - 1)) / 1000
        )
        wait_s, longest_s = failure.wait_s, retry.max_backoff_ms / 1000
        if wait_s is None:
            wait_s = self._random.uniform(0, ceiling_s)  # full jitter
        elif not is_last:
            longest_s = ceiling_s  # rather than wait for long, let another provider serve
        left_s = _time_left(plan)
        if wait_s > longest_s or (left_s is not None and wait_s >= left_s):
            return False
        await self._sleep(wait_s)
        turn.tries += 1
        return True

    async def _attempt(self, plan: Plan, offer: Offer, turn: Turn, record: Record) -> Answer:
        provider, load = offer.provider, turn.load
        dialect = provider.dialect
        assert dialect is not None  # routing leaves such providers out
        codec = codec_for(plan.surface, dialect, offer.capabilities)
        rendered = _render(codec, plan, offer)
        head = provider.heads[turn.credential]
        deadlines = _deadlines(plan, provider.deadlines)
        record.attempts += 1
        load.in_flight += 1
        started_s = time.perf_counter()
        try:
            response = await self._client.send(
                provider.origin,
                target=provider.base_path + rendered.path,
                headers=head + rendered.headers if rendered.headers else head,
                body=rendered.body,
                deadlines=deadlines,
            )
            handed_over = False
            try:
                if response.status != 200:
                    raise await _refusal(dialect, response)
                reply = await _read(codec, plan, response)
                handed_over = isinstance(reply, StreamedReply)
            finally:
                if not handed_over:
                    response.close()
        except faults.UpstreamFault as fault:
            raise of_fault(fault, deadlines, provider.deadlines) from fault
        except BadReply as error:
            raise AttemptFailed(
                BAD_REPLY, "bad_reply", UpstreamFailed("The provider's answer is not valid.")
            ) from error
        finally:
            load.in_flight -= 1
        if isinstance(reply, StreamedReply):
            reply.hold(offer, turn, self._outcomes)
        now_s = time.perf_counter()
        load.observe_first_byte(now_s - started_s)
        record.first_byte_s = now_s - record.started_s
        self._traffic.attempts[provider.id, "ok"] += 1
        self._outcomes.succeeded(provider, turn, offer.target.upstream)
        return reply


async def _read(codec: Codec, plan: Plan, response: Response) -> Answer:
    if not plan.request.stream:
        return codec.read(plan.request, await response.read(MAX_REPLY_BYTES))
    content_type = response.header(b"content-type") or b""
    if not content_type.startswith(b"text/event-stream"):
        raise BadReply("a stream was asked for, something else came")
    reader = codec.stream(plan.request)
    while data := await response.next():
        if first := reader.feed(data):
            return StreamedReply(first, response, reader)
    raise BadReply("the stream ended before it began")


def _render(codec: Codec, plan: Plan, offer: Offer) -> Rendered:
    try:
        return codec.render(plan.request, offer.target)
    except Untranslatable as error:
        raise AttemptFailed(
            UNTRANSLATABLE, "untranslatable", BadRequest(error.message, param=error.param)
        ) from error
    except orjson.JSONEncodeError as error:
        raise AttemptFailed(
            UNREADABLE, "untranslatable", BadRequest("The request is nested too deeply.")
        ) from error


async def _refusal(dialect: Dialect, response: Response) -> AttemptFailed:
    try:
        body = await response.read(MAX_ERROR_BYTES)
    except faults.BodyTooLarge:
        body = b""
    return of_refusal(response, dialect.read_error(response.status, body))


def _exhausted(failure: AttemptFailed, record: Record) -> GatewayError:
    error = failure.error
    error.exhausted = record.attempts > 0  # else it was not us who tried
    providers = {each.partition(": ")[0] for each in record.tried}
    if len(providers) > 1:
        error.message += _LAST_WORD
    return error


def _time_left(plan: Plan) -> float | None:
    if plan.deadline_s is None:
        return None
    return max(0.0, plan.deadline_s - asyncio.get_running_loop().time())


def _deadlines(plan: Plan, deadlines: Deadlines) -> Deadlines:
    left_s = _time_left(plan)
    if left_s is None or left_s >= deadlines.total_s:
        return deadlines
    return replace(deadlines, total_s=left_s)
