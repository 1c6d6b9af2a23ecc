"""Offer after offer, try after try, until one answers: what calls to providers have in common."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final, Generic, TypeVar

import orjson

from runestone_sidecar.admit.availability import all_held
from runestone_sidecar.admit.breaker import State
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.snapshot import Offer, Provider
from runestone_sidecar.errors import GatewayError, ProviderRefused
from runestone_sidecar.pipeline.aside import aside
from runestone_sidecar.pipeline.failure import AttemptFailed, of_refusal
from runestone_sidecar.pipeline.outcomes import Outcomes, Turn
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.verdicts import (
    PASSED_OVER,
    STALE,
    UNTRANSLATABLE,
    USAGE_REFUSED,
    Row,
    Verdict,
)
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import ProviderError, Untranslatable
from runestone_sidecar.upstream.dialects.provider_error import details_in
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.response import Response
from runestone_sidecar.upstream.surfaces.codec import codec_for

BESIDE: Final = frozenset({"passthrough", "count_tokens"})  # names of surfaces
MAX_ERROR_BYTES: Final = 256 * 1024

_OF_THE_KEY: Final = (Verdict.CREDENTIAL, Verdict.LIMITED)
_PASSING: Final = (Verdict.RETRY, Verdict.LIMITED)
_START: Final = EventType.PROVIDER_REQUEST_START  # an Enum's own look-up is as dear as telling
_STOP: Final = EventType.PROVIDER_REQUEST_STOP
_UNCALLED: Final = (UNTRANSLATABLE, PASSED_OVER)  # the lighter first
_LAST_WORD = " No other provider could answer either."

P = TypeVar("P", bound=Plan)
A = TypeVar("A")


class Tries(Generic[P, A]):
    """The loop; what one call is, and what comes of it, is its heirs'."""

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

    async def execute(self, plan: P, record: Record) -> A:
        """Raises GatewayError when no offer answered."""
        offers, peers = plan.decision.offers, plan.decision.peers
        if peers is not None:
            offers = peers.put_in_order(offers)
        left = len(offers)
        has_choice = left > 1
        told: AttemptFailed | None = None
        for offer in offers:
            left -= 1
            record.offer = offer
            if has_choice:
                self._load.take_turn(offer, offers[0], plan.surface.name)
            try:
                return await self._offer(plan, offer, record, is_last=not left)
            except AttemptFailed as failure:
                if failure.row.verdict is Verdict.CLIENT or failure.final:
                    raise failure.error from failure
                if told is None or _weight(failure) >= _weight(told):
                    told = failure
                if not left or _time_left(plan) == 0:
                    raise await _last_word(plan, told, record) from told
        raise AssertionError("a decision has an offer")  # pragma: no cover

    async def _offer(self, plan: P, offer: Offer, record: Record, *, is_last: bool) -> A:
        """One provider: its credentials in turn, its retries. Raises AttemptFailed."""
        provider, events = offer.provider, record.events
        turn = self._outcomes.enter(offer, plan.likeness)
        try:
            while True:
                events.emit(_START, record, provider=provider.id)
                try:
                    answer = await self._attempt(plan, offer, turn, record)
                except AttemptFailed as failure:
                    record.tried.append(f"{provider.id}: {failure.outcome}")
                    self._traffic.attempts[provider.id, failure.outcome] += 1
                    events.emit(
                        EventType.PROVIDER_REQUEST_ERROR,
                        record,
                        provider=provider.id,
                        reason=failure.outcome,
                    )
                    self._learn(plan, offer, turn, failure)
                    if failure.final or not await self._try_again(
                        plan, offer, turn, failure, is_last=is_last
                    ):
                        raise
                else:
                    events.emit(_STOP, record, provider=provider.id)
                    return answer
        finally:
            if turn.probe is not None:
                turn.leave()

    def _learn(self, plan: P, offer: Offer, turn: Turn, failure: AttemptFailed) -> None:
        """What comes of an API beside chats tells of chats only where nobody was reached at all.

        They have rate limits and rights of their own, may take minutes, or be missing: else one
        client with a loop over them takes a provider from all others.
        """
        if plan.surface.name not in BESIDE or isinstance(failure.__cause__, faults.NotConnected):
            self._outcomes.failed(
                offer.provider,
                turn,
                failure.row,
                model=offer.target.upstream,
                wait_s=failure.wait_s,
            )

    def _succeeded(self, plan: P, offer: Offer, turn: Turn) -> None:
        if plan.surface.name in BESIDE:
            self._outcomes.answered(offer.provider, turn)
        else:
            self._outcomes.succeeded(offer.provider, turn, offer.target.upstream)
        if turn.unasked:
            self._outcomes.answered_unasked(offer, turn)

    async def _try_again(
        self, plan: P, offer: Offer, turn: Turn, failure: AttemptFailed, *, is_last: bool
    ) -> bool:
        """Whether this provider is called once more; waits until it may be."""
        if self._otherwise(offer, turn, failure.row):
            return True
        verdict, retry = failure.row.verdict, offer.provider.retry
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

    def _otherwise(self, offer: Offer, turn: Turn, row: Row) -> bool:
        """Whether it is called at once in another way, in which this cannot be the matter."""
        if row is STALE and not turn.fresh:
            turn.fresh = True
            self._client.drop_idle(offer.provider.origin)
            return True
        if row is USAGE_REFUSED:
            turn.unasked = True
            return True
        return row.verdict in _OF_THE_KEY and self._outcomes.next_credential(
            offer.provider, turn, offer.target.upstream
        )

    async def _attempt(self, plan: P, offer: Offer, turn: Turn, record: Record) -> A:
        """One call. Raises AttemptFailed."""
        raise NotImplementedError


def _weight(failure: AttemptFailed) -> int:
    """Of several the last of those that weigh most is told. What the request itself is at fault for
    weighs least: it is only where nobody could take it."""
    return _UNCALLED.index(failure.row) if failure.row in _UNCALLED else len(_UNCALLED)


async def _last_word(plan: Plan, failure: AttemptFailed, record: Record) -> GatewayError:
    error = failure.error
    if failure.row is UNTRANSLATABLE:
        able = [held for held in plan.decision.held if await _can_be_said(plan, held.offer)]
        if able:
            error = all_held(able, plan.decision.model)
    error.exhausted = record.attempts > 0  # else it was not us who tried
    providers = {each.partition(": ")[0] for each in record.tried}
    if len(providers) > 1:
        error.message += _LAST_WORD
    return error


async def _can_be_said(plan: Plan, offer: Offer) -> bool:
    """In the format of its provider."""
    assert offer.provider.dialect is not None  # routing leaves such providers out
    codec = codec_for(plan.surface, offer.provider.dialect, offer.capabilities)
    render = partial(codec.render, plan.request, offer.target)
    try:
        await aside(render) if plan.request.is_heavy else render()
    except (Untranslatable, orjson.JSONEncodeError):
        return False
    return True


def _time_left(plan: Plan) -> float | None:
    if plan.deadline_s is None:
        return None
    return max(0.0, plan.deadline_s - asyncio.get_running_loop().time())


def within(deadline_s: float, own: Deadlines) -> Deadlines:
    """What is left of a provider's own until then, on the event loop's clock."""
    left_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
    return own if left_s >= own.total_s else replace(own, total_s=left_s)


async def read_refusal(
    provider: Provider,
    response: Response,
    as_asked: Callable[[ProviderError], ProviderError] = lambda told: told,
    *,
    asks_usage: bool = False,
    is_native: bool = False,
) -> AttemptFailed:
    """`as_asked` says it in words of what the client asked; `asks_usage`: it was also asked for the
    usage of a stream, which the client did not do; `is_native`: it was asked in the client's own
    API, and what it tells of the cause is for the client's code."""
    try:
        body = await response.read(MAX_ERROR_BYTES)
    except faults.UpstreamFault:  # too large, cut, silent: its status says enough
        body = b""
    for secret in provider.secrets:  # some quote what they refuse, and not all keys look like one
        body = body.replace(secret, b"***")
    dialect = provider.dialect
    assert dialect is not None  # routing leaves such providers out
    failure = of_refusal(response, as_asked(dialect.read_error(response.status, body)))
    if is_native and isinstance(failure.error, ProviderRefused):
        failure.error.details = details_in(body)
    if asks_usage and response.status in {400, 422} and b"stream_options" in body:
        failure.row = USAGE_REFUSED
    return failure
