"""What one key has used, in a window for each of its limits. Whoever counts it brings the clock."""

from collections.abc import Iterator
from typing import Final

from runestone_contract.config import Limits
from runestone_sidecar.admit.limits import (
    BUDGET,
    CONCURRENT_REQUESTS,
    REQUESTS_PER_HOUR,
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    LimitState,
    Need,
)
from runestone_sidecar.admit.window import Window

KEEP_GONE_S: Final = 3600.0  # a key may come back; by then only a budget would still remember

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_PERIODS_S: Final = {"Hour": _HOUR_S, "Day": 86_400}
_MONTH_S: Final = 30 * 86_400

KINDS: Final = (REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR, TOKENS_PER_MINUTE, BUDGET)
_MINUTE, _HOUR, _TOKENS, _SPENT = range(4)  # places in KINDS

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

    def matters(self, now_s: float) -> bool:
        """False where it is no different from one that was never used."""
        if self.in_flight:
            return True
        if self.gone_since_s is not None and now_s - self.gone_since_s >= KEEP_GONE_S:
            return False
        return any(window is not None and window.empty_in_s(now_s) for window in self.windows)
