"""What one key has used, in a window for each of its limits. Whoever counts it brings the clock."""

from collections.abc import Iterator
from typing import Final

from runestone_contract.config import Limits
from runestone_sidecar.admit.limits import (
    BUDGET,
    CONCURRENT,
    CONCURRENT_REQUESTS,
    REQUESTS,
    REQUESTS_PER_HOUR,
    REQUESTS_PER_MINUTE,
    TOKENS,
    TOKENS_PER_MINUTE,
    Headers,
    LimitState,
    Need,
    headers_of,
)
from runestone_sidecar.admit.window import Window

KEEP_GONE_S: Final = 3600.0  # a key may come back; by then only a budget would still remember

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_PERIODS_S: Final = {"Hour": _HOUR_S, "Day": 86_400}
_MONTH_S: Final = 30 * 86_400

KINDS: Final = (REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR, TOKENS_PER_MINUTE, BUDGET)
_MINUTE, _HOUR, _TOKENS, _SPENT = range(4)  # places in KINDS

Room = tuple[int, int, float]  # the limit, what remains of it, until all of it is there again
Ask = tuple[int, int, int, int]  # place in KINDS, length in seconds, limit, how much of it
NOTHING: Final = Need(tokens=0, cost_picodollars=0)


def asked(limits: Limits, need: Need) -> list[Ask]:
    """Plain tuples and no loop: this runs for every request."""
    found: list[Ask] = []
    if (limit := limits.requests_per_minute) is not None:
        found.append((_MINUTE, _MINUTE_S, limit, 1))
    if (limit := limits.requests_per_hour) is not None:
        found.append((_HOUR, _HOUR_S, limit, 1))
    if (limit := limits.tokens_per_minute) is not None:
        amount = _clamped(need.tokens, need.input_tokens, limit)
        found.append((_TOKENS, _MINUTE_S, limit, amount))
    if (budget := limits.budget) is not None:
        limit = budget.picodollars
        amount = _clamped(need.cost_picodollars, need.input_cost_picodollars, limit)
        found.append((_SPENT, _PERIODS_S.get(budget.period, _MONTH_S), limit, amount))
    return found


def _clamped(amount: int, input_alone: int, limit: int) -> int:
    """At most the limit, for nobody knows whether so much will come of it; but input is certain."""
    return limit if amount > limit >= max(1, input_alone) else amount


class KeyUsage:
    """A window is made when a limit first asks for it."""

    __slots__ = ("gone_since_s", "in_flight", "windows")

    def __init__(self) -> None:
        self.in_flight = 0
        self.gone_since_s: float | None = None  # it is not configured any more
        self.windows: list[Window | None] = [None] * len(KINDS)

    def window(self, which: int, length_s: int, now_s: float) -> Window:
        """As of now."""
        window = self.windows[which]
        if window is None:
            window = self.windows[which] = Window(length_s, now_s)
        elif window.length_s == length_s:
            if now_s >= window.ends_s:
                window.advance(now_s)
        else:  # the budget has another period
            window.stretch(length_s, now_s)
        return window

    def states(self, limits: Limits, now_s: float) -> Iterator[LimitState]:
        for which, length_s, limit, _ in asked(limits, NOTHING):
            window = self.window(which, length_s, now_s)
            remaining, reset_s = max(0, limit - window.total), window.empty_in_s(now_s)
            period = limits.budget.period if which == _SPENT and limits.budget else None
            yield LimitState(KINDS[which], limit, remaining, reset_s, period)
        if (at_once := limits.concurrent_requests) is not None:
            yield LimitState(CONCURRENT_REQUESTS, at_once, max(0, at_once - self.in_flight), 0.0)

    def headers(self, limits: Limits, now_s: float) -> Headers:
        """Those of `states`, a third of the work: nearly every response has them."""
        headers: Headers = []
        if room := self._requests(limits, now_s):
            headers += headers_of(REQUESTS, *room)
        if (tokens := limits.tokens_per_minute) is not None:
            headers += headers_of(TOKENS, *self._room(_TOKENS, _MINUTE_S, tokens, now_s))
        if (at_once := limits.concurrent_requests) is not None:
            headers += headers_of(CONCURRENT, at_once, max(0, at_once - self.in_flight))
        return headers

    def _requests(self, limits: Limits, now_s: float) -> Room | None:
        """Of the limits on requests the one that is nearer, and of two as near the slower."""
        minute = hour = None
        if (limit := limits.requests_per_minute) is not None:
            minute = self._room(_MINUTE, _MINUTE_S, limit, now_s)
        if (limit := limits.requests_per_hour) is not None:
            hour = self._room(_HOUR, _HOUR_S, limit, now_s)
        if minute is None or hour is None:
            return minute or hour
        return minute if (minute[1], -minute[2]) <= (hour[1], -hour[2]) else hour

    def _room(self, which: int, length_s: int, limit: int, now_s: float) -> Room:
        window = self.window(which, length_s, now_s)
        return limit, max(0, limit - window.total), window.empty_in_s(now_s)

    def matters(self, now_s: float) -> bool:
        """False where it is no different from one that was never used."""
        if self.in_flight:
            return True
        if self.gone_since_s is not None and now_s - self.gone_since_s >= KEEP_GONE_S:
            return False
        return any(window is not None and window.empty_in_s(now_s) for window in self.windows)
