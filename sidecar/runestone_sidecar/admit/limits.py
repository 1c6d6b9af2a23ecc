"""The limits of a key as the rest of the sidecar sees them, wherever they are counted.

A request is admitted against what it may need at most, then settled to what it used, or undone.
"""

import functools
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
    by_kind = {state.kind: state for state in states}
    requests = [
        by_kind[kind] for kind in (REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR) if kind in by_kind
    ]
    headers: Headers = []
    if requests:
        nearest = min(requests, key=lambda state: (state.remaining, -state.reset_s))
        headers += headers_of(REQUESTS, nearest.limit, nearest.remaining, nearest.reset_s)
    if tokens := by_kind.get(TOKENS_PER_MINUTE):
        headers += headers_of(TOKENS, tokens.limit, tokens.remaining, tokens.reset_s)
    if at_once := by_kind.get(CONCURRENT_REQUESTS):
        headers += headers_of(CONCURRENT, at_once.limit, at_once.remaining)
    return headers


Names = tuple[bytes, bytes, bytes]


def _names(of: str) -> Names:
    limit, remaining, reset = (
        f"x-ratelimit-{what}-{of}".encode() for what in ("limit", "remaining", "reset")
    )
    return limit, remaining, reset


REQUESTS: Final = _names("requests")
TOKENS: Final = _names("tokens")
CONCURRENT: Final = _names("concurrent")


@functools.lru_cache(maxsize=4096)
def _limit(number: int) -> bytes:
    return b"%d" % number


def headers_of(names: Names, limit: int, remaining: int, reset_s: float | None = None) -> Headers:
    """Without a reset, where nobody knows when there is room."""
    headers = [(names[0], _limit(limit)), (names[1], b"%d" % remaining)]
    if reset_s is not None:
        headers.append((names[2], duration(reset_s)))
    return headers


def duration(seconds: float) -> bytes:
    """As OpenAI writes it: 20ms, 1s, 6m0s, 1h0m0s; rounded up."""
    if 0 < seconds <= 0.999:
        return b"%dms" % math.ceil(seconds * 1000)
    return _whole(math.ceil(seconds))


@functools.lru_cache(maxsize=4096)
def _whole(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return b"%ds" % rest
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)
