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

from runestone_sidecar.admit.load import LoadStore, ProviderLoad
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.errors import (
    BadRequest,
    GatewayError,
    NoProvider,
    ProviderRefused,
    RateLimited,
    UpstreamFailed,
    UpstreamTimeout,
)
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.verdicts import (
    Verdict,
    retry_after_s,
    verdict_of_fault,
    verdict_of_status,
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
_LAST_WORD = " No other provider could answer either."


class AttemptFailed(Exception):
    def __init__(
        self,
        verdict: Verdict,
        outcome: str,
        error: GatewayError,
        *,
        wait_s: float | None = None,
        stale: bool = False,
    ) -> None:
        super().__init__(outcome)
        self.verdict = verdict
        self.outcome = outcome  # a closed set: it is a metric's label
        self.error = error
        self.wait_s = wait_s  # as the provider asked
        self.stale = stale  # a kept connection was gone: nobody read the request


class StreamedReply:
    """A stream whose first bytes are here. `next` until b"", `close` in any case."""

    def __init__(self, first: bytes, response: Response, reader: StreamReader) -> None:
        self.first = first
        self.events = first.count(_EVENT_END)  # handed on so far
        self._response = response
        self._reader = reader
        self._ended = False
        self._load: ProviderLoad | None = None

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
            except faults.UpstreamFault:
                if not reader.complete:  # else only the end of the HTTP message is missing
                    raise
                data = b""
            if not data:
                self._ended = True
                return reader.finish()
            if out := reader.feed(data):
                self.events += out.count(_EVENT_END)
                return out
        return b""

    def error_frame(self, surface: Surface, error: GatewayError) -> bytes:
        """What tells the client that no more comes."""
        if isinstance(self._reader, TranslatedStream):
            return self._reader.error_frame(error)
        return surface.error_frame(error, self.events)

    def hold(self, load: ProviderLoad) -> None:
        """The provider counts as busy until `close`."""
        self._load = load
        load.in_flight += 1

    def close(self) -> None:
        self._response.close()
        if self._load is not None:
            self._load.in_flight -= 1
            self._load = None


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
        self._traffic = traffic
        self._random = rng
        self._sleep = sleep

    async def execute(self, plan: Plan, record: Record) -> Answer:
        """Raises GatewayError when no offer answered."""
        offers = plan.decision.offers
        for position, offer in enumerate(offers):
            record.offer = offer
            try:
                return await self._offer(plan, offer, record)
            except AttemptFailed as failure:
                if failure.verdict is Verdict.CLIENT:
                    raise failure.error from failure
                if position == len(offers) - 1 or _time_left(plan) == 0:
                    raise _exhausted(failure, record) from failure
        raise AssertionError("a decision has an offer")  # pragma: no cover

    async def _offer(self, plan: Plan, offer: Offer, record: Record) -> Answer:
        """One provider: its credentials in turn, its retries. Raises AttemptFailed."""
        retry, heads = offer.provider.retry, offer.provider.heads
        tries, credential, fresh = 1, 0, False
        while True:
            try:
                return await self._attempt(plan, offer, heads[credential], record)
            except AttemptFailed as failure:
                record.tried.append(f"{offer.provider.id}: {failure.outcome}")
                self._traffic.attempts[offer.provider.id, failure.outcome] += 1
                if failure.stale and not fresh:
                    fresh = True
                elif failure.verdict is Verdict.CREDENTIAL and credential + 1 < len(heads):
                    credential += 1
                elif failure.verdict is Verdict.RETRY and tries < retry.max_attempts:
                    await self._pause(plan, offer, tries, failure)
                    tries += 1
                else:
                    raise

    async def _pause(self, plan: Plan, offer: Offer, tries: int, failure: AttemptFailed) -> None:
        """Full jitter, or as long as the provider asked; too long a pause ends the tries here."""
        retry = offer.provider.retry
        ceiling_ms = min(retry.max_backoff_ms, retry.initial_backoff_ms * 2 ** (tries - 1))
        wait_s = failure.wait_s
        if wait_s is None:
            wait_s = self._random.uniform(0, ceiling_ms / 1000)
        left_s = _time_left(plan)
        if wait_s * 1000 > retry.max_backoff_ms or (left_s is not None and wait_s >= left_s):
            raise failure
        await self._sleep(wait_s)

    async def _attempt(self, plan: Plan, offer: Offer, head: bytes, record: Record) -> Answer:
        provider = offer.provider
        dialect = provider.dialect
        assert dialect is not None  # routing leaves such providers out
        codec = codec_for(plan.surface, dialect, offer.capabilities)
        rendered = _render(codec, plan, offer)
        record.attempts += 1
        load = self._load.of(provider.id)
        load.in_flight += 1
        started_s = time.perf_counter()
        try:
            response = await self._client.send(
                provider.origin,
                target=provider.base_path + rendered.path,
                headers=head + rendered.headers if rendered.headers else head,
                body=rendered.body,
                deadlines=_deadlines(plan, provider.deadlines),
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
            raise _of_fault(fault) from fault
        except BadReply as error:
            raise AttemptFailed(
                Verdict.PROVIDER, "bad_reply", UpstreamFailed("The provider's answer is not valid.")
            ) from error
        finally:
            load.in_flight -= 1
        if isinstance(reply, StreamedReply):
            reply.hold(load)
        now_s = time.perf_counter()
        load.observe_first_byte(now_s - started_s)
        record.first_byte_s = now_s - record.started_s
        self._traffic.attempts[provider.id, "ok"] += 1
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
            Verdict.PROVIDER, "untranslatable", BadRequest(error.message, param=error.param)
        ) from error
    except orjson.JSONEncodeError as error:
        raise AttemptFailed(
            Verdict.CLIENT, "untranslatable", BadRequest("The request is nested too deeply.")
        ) from error


async def _refusal(dialect: Dialect, response: Response) -> AttemptFailed:
    status = response.status
    try:
        body = await response.read(MAX_ERROR_BYTES)
    except faults.BodyTooLarge:
        body = b""
    said = dialect.read_error(status, body)
    verdict = verdict_of_status(status)
    wait_s = retry_after_s(response.header(b"retry-after"), response.header(b"retry-after-ms"))
    error: GatewayError
    if verdict is Verdict.CLIENT:
        error = ProviderRefused(
            said.message,
            param=said.param,
            code=said.code,
            provider_status=status,
            provider_type=said.type,
        )
    elif status == 429:
        error = RateLimited("The provider's rate limit is reached.", retry_after_s=wait_s)
    else:
        error = UpstreamFailed(f"The provider answered with status {status}.", retry_after_s=wait_s)
    return AttemptFailed(verdict, f"status_{status}", error, wait_s=wait_s)


def _of_fault(fault: faults.UpstreamFault) -> AttemptFailed:
    late = (faults.ConnectTimeout, faults.FirstByteTimeout, faults.IdleTimeout, faults.TotalTimeout)
    error: GatewayError
    if isinstance(fault, late):
        error = UpstreamTimeout("The provider did not answer in time.")
    elif isinstance(fault, faults.PoolExhausted):
        error = NoProvider("All connections to the provider are in use.", retry_after_s=1.0)
    elif isinstance(fault, faults.NotConnected):
        error = UpstreamFailed("The provider could not be reached.")
    else:
        error = UpstreamFailed("The connection to the provider was lost.")
    stale = isinstance(fault, faults.LostBeforeHead) and fault.stale
    return AttemptFailed(verdict_of_fault(fault), fault.kind, error, stale=stale)


def _exhausted(failure: AttemptFailed, record: Record) -> GatewayError:
    error = failure.error
    error.exhausted = True
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
