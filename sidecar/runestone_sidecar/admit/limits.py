"""The limits of a key as the rest of the sidecar sees them, wherever they are counted.

A request is admitted against what it may need at most, then settled to what it used, or undone.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from runestone_sidecar.config.snapshot import Principal

REQUESTS_PER_MINUTE: Final = "requests_per_minute"
REQUESTS_PER_HOUR: Final = "requests_per_hour"
TOKENS_PER_MINUTE: Final = "tokens_per_minute"
CONCURRENT_REQUESTS: Final = "concurrent_requests"
BUDGET: Final = "budget"

Headers = list[tuple[bytes, bytes]]

_REQUESTS, _TOKENS, _CONCURRENT = (
    (b"x-ratelimit-limit-" + of, b"x-ratelimit-remaining-" + of, b"x-ratelimit-reset-" + of)
    for of in (b"requests", b"tokens", b"concurrent")
)


@dataclass(slots=True)
class Need:
    """What a request may use at most. The part that its input alone takes is never clamped."""

    tokens: int
    cost_picodollars: int
    input_tokens: int = 0
    input_cost_picodollars: int = 0


@dataclass(slots=True)  # not frozen: that makes it thrice as dear, and five go into an answer
class LimitState:
    kind: str
    limit: int  # requests, tokens or pico-dollars
    remaining: int
    reset_s: float  # until all of it is there again, if nothing more is used
    period: str | None = None  # of a budget


class Reservation(Protocol):
    """The first of commit and refund counts, whatever is called after it does nothing."""

    def commit(self, *, tokens: int, cost_picodollars: int) -> None:
        """Used so much, which may be more than was needed at most; the request is over."""

    def refund(self) -> None:
        """Nothing was used: as if it had not been asked for."""

    @property
    def headers(self) -> Headers:
        """As things stand now."""


class Limiter(Protocol):
    async def reserve(self, principal: Principal, need: Need) -> Reservation | None:
        """All that is needed or nothing. None: this key has no limits. Raises LimitReached."""

    def state(self, principal: Principal) -> list[LimitState]: ...

    def prune(self, keep: Collection[str]) -> None:
        """Only these keys are configured now."""


def rate_limit_headers(states: Iterable[LimitState]) -> Headers:
    """x-ratelimit-* as OpenAI's; of the two limits on requests, the one that is nearer."""
    headers: Headers = []
    requests: LimitState | None = None
    for state in states:
        if state.kind == TOKENS_PER_MINUTE:
            headers += _headers_of(state, *_TOKENS)
        elif state.kind == CONCURRENT_REQUESTS:  # when there is room again nobody knows
            headers += _headers_of(state, *_CONCURRENT)[:2]
        elif state.kind != BUDGET and (requests is None or _is_nearer(state, requests)):
            requests = state
    if requests is not None:
        headers += _headers_of(requests, *_REQUESTS)
    return headers


def _is_nearer(state: LimitState, than: LimitState) -> bool:
    return (state.remaining, -state.reset_s) < (than.remaining, -than.reset_s)


def _headers_of(state: LimitState, limit: bytes, remaining: bytes, reset: bytes) -> Headers:
    return [
        (limit, b"%d" % state.limit),
        (remaining, b"%d" % state.remaining),
        (reset, duration(state.reset_s)),
    ]


def duration(seconds: float) -> bytes:
    """As OpenAI writes it: 20ms, 1s, 6m0s, 1h0m0s; rounded up."""
    if 0 < seconds <= 0.999:
        return b"%dms" % math.ceil(seconds * 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    if not minutes:
        return b"%ds" % rest
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)
