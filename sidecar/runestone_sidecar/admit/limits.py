"""The limits of a key as the rest of the sidecar sees them, wherever they are counted.

A request is admitted against what it may need at most, then settled to what it used, or undone.
"""

import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol

from runestone_sidecar.config.snapshot import Principal

REQUESTS_PER_MINUTE: Final = "requests_per_minute"
REQUESTS_PER_HOUR: Final = "requests_per_hour"
TOKENS_PER_MINUTE: Final = "tokens_per_minute"
CONCURRENT_REQUESTS: Final = "concurrent_requests"
BUDGET: Final = "budget"

# Of a response's head, each with its end: rendered where they are known, and never apart again.
Lines = bytes


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
    def lines(self) -> Lines:
        """x-ratelimit-* as things stand now."""


class Limiter(Protocol):
    def take(self, principal: Principal, need: Need) -> Reservation | None:
        """All that is needed, where there is room here and now; None: `reserve` it."""

    async def reserve(self, principal: Principal, need: Need) -> Reservation | None:
        """All that is needed or nothing. None: this key has no limits. Raises LimitReached."""

    def state(self, principal: Principal) -> list[LimitState]: ...

    def prune(self, keep: Collection[str]) -> None:
        """Only these keys are configured now."""


def rate_limit_lines(states: Iterable[LimitState]) -> Lines:
    """x-ratelimit-* as OpenAI's; of the two limits on requests, the one that is nearer."""
    by_kind = {state.kind: state for state in states}
    requests = [
        by_kind[kind] for kind in (REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR) if kind in by_kind
    ]
    lines = b""
    if requests:
        nearest = min(requests, key=lambda state: (state.remaining, -state.reset_s))
        lines = REQUESTS % (nearest.limit, nearest.remaining, duration(nearest.reset_s))
    if tokens := by_kind.get(TOKENS_PER_MINUTE):
        lines += TOKENS % (tokens.limit, tokens.remaining, duration(tokens.reset_s))
    if at_once := by_kind.get(CONCURRENT_REQUESTS):
        lines += CONCURRENT % (at_once.limit, at_once.remaining)
    return lines


# The limit, what remains of it, until all of it is there again: which nobody knows of slots.
REQUESTS: Final = (
    b"x-ratelimit-limit-requests: %d\r\n"
    b"x-ratelimit-remaining-requests: %d\r\n"
    b"x-ratelimit-reset-requests: %b\r\n"
)
TOKENS: Final = REQUESTS.replace(b"-requests:", b"-tokens:")
CONCURRENT: Final = b"x-ratelimit-limit-concurrent: %d\r\nx-ratelimit-remaining-concurrent: %d\r\n"


def duration(seconds: float) -> bytes:
    """As OpenAI writes it: 20ms, 1s, 6m0s, 1h0m0s; rounded up."""
    if 0 < seconds <= 0.999:
        return b"%dms" % ceil(seconds * 1000)
    return _whole(ceil(seconds))


@functools.lru_cache(maxsize=4096)
def _whole(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return b"%ds" % rest
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)
