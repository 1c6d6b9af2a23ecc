"""What one key has used, in a window for each of its limits. Whoever counts it brings the clock."""

import sys
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
    LimitState,
    Lines,
    Need,
    duration,
)
from runestone_sidecar.admit.window import Window

KEEP_GONE_S: Final = 3600.0  # a key may come back; by then only a budget would still remember

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_PERIODS_S: Final = {"Hour": _HOUR_S, "Day": 86_400}
_MONTH_S: Final = 30 * 86_400

KINDS: Final = (REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR, TOKENS_PER_MINUTE, BUDGET)
_MINUTE, _HOUR, _TOKENS, _SPENT = range(4)  # places in KINDS
SLOTS: Final = len(KINDS)  # the place of requests at once, behind these
PLACES: Final = SLOTS + 1

Room = tuple[int, int, bytes]  # the limit, what remains of it, until all of it is there again
Row = tuple[int, int, int]  # place in KINDS, length in seconds, limit
Ask = tuple[int, int, int, int]  # these, and how much of it
Hold = tuple[int, Window, int]  # place in KINDS, what was taken from, how much


def rows_of(limits: Limits) -> list[Row]:
    """Of the limits that there are, in the order of KINDS."""
    found: list[Row] = []
    if (limit := limits.requests_per_minute) is not None:
        found.append((_MINUTE, _MINUTE_S, limit))
    if (limit := limits.requests_per_hour) is not None:
        found.append((_HOUR, _HOUR_S, limit))
    if (limit := limits.tokens_per_minute) is not None:
        found.append((_TOKENS, _MINUTE_S, limit))
    if (budget := limits.budget) is not None:
        found.append((_SPENT, _PERIODS_S.get(budget.period, _MONTH_S), budget.picodollars))
    return found


def asked(limits: Limits, need: Need) -> list[Ask]:
    return [(*row, _amount(row[0], need, row[2])) for row in rows_of(limits)]


def _amount(which: int, need: Need, limit: int) -> int:
    """At most the limit, for nobody knows whether so much will come of it; but input is certain."""
    if which == _TOKENS:
        amount, input_alone = need.tokens, need.input_tokens
    elif which == _SPENT:
        amount, input_alone = need.cost_picodollars, need.input_cost_picodollars
    else:
        return 1
    return limit if amount > limit >= max(1, input_alone) else amount


def lengths_of(limits: Limits) -> tuple[int, ...]:
    """Of the windows, in the order of KINDS; of a budget that there is none of, the longest."""
    period = limits.budget.period if limits.budget else ""
    return (_MINUTE_S, _HOUR_S, _MINUTE_S, _PERIODS_S.get(period, _MONTH_S))


def limits_of(limits: Limits) -> list[int | None]:
    """By place; None: there is none."""
    found: list[int | None] = [None] * PLACES
    for which, _, limit in rows_of(limits):
        found[which] = limit
    found[SLOTS] = limits.concurrent_requests
    return found


def never_fits(limits: Limits, need: Need) -> bool:
    """Whatever else is used or not."""
    if limits.concurrent_requests == 0:
        return True
    return any(amount > limit for _, _, limit, amount in asked(limits, need))


class KeyUsage:
    """A window is made when a limit first asks for it."""

    __slots__ = (
        "_bounds",
        "_limits",
        "_lines",
        "_rows",
        "elsewhere",
        "gone_since_s",
        "in_flight",
        "usable",
        "windows",
    )

    def __init__(self) -> None:
        # What it was held against last: to read a model's fields is dear, and they seldom change.
        self._limits: Limits | None = None
        self._rows: list[Row] = []
        self._bounds: list[int | None] = []
        self._lines = b""  # of a reply's head, but for the figures
        # By place: how much of each limit may be used here, and is held by others.
        self.usable = [sys.maxsize] * PLACES
        self.elsewhere = [0] * PLACES
        self.in_flight = 0
        self.gone_since_s: float | None = None  # it is not configured any more
        self.windows: list[Window | None] = [None] * len(KINDS)

    def window(self, which: int, length_s: int, now_s: float) -> Window:
        """As of now."""
        window = self.windows[which]
        if window is None:
            window = self.windows[which] = Window(length_s, now_s)
        elif window.length_s != length_s:  # the budget has another period
            window.stretch(length_s, now_s)
        elif now_s >= window.ends_s:
            window.advance(now_s)
        return window

    def take(self, limits: Limits, need: Need, now_s: float) -> list[Hold] | None:
        """All that is needed or nothing."""
        if limits is not self._limits:
            self._learn(limits)
        usable = self.usable
        at_once = self._bounds[SLOTS]
        fits = at_once is None or self.in_flight < at_once and self.in_flight < usable[SLOTS]
        holds: list[Hold] = []
        for which, length_s, limit in self._rows:
            amount = 1
            if which > _HOUR:
                amount = need.tokens if which == _TOKENS else need.cost_picodollars
                if amount > limit:
                    amount = _amount(which, need, limit)
            window = self.windows[which]  # in line: mostly it is as of now
            if window is None or window.length_s != length_s or now_s >= window.ends_s:
                window = self.window(which, length_s, now_s)
            if amount:
                total = window.total + amount
                if total > limit or total > usable[which]:
                    fits = False
            holds.append((which, window, amount))
        if not fits:
            return None
        for _, window, amount in holds:
            window.add(amount)
        self.in_flight += 1
        return holds

    def _learn(self, limits: Limits) -> None:
        self._limits, self._rows, self._bounds = limits, rows_of(limits), limits_of(limits)
        minute, hour, tokens, _, at_once = self._bounds
        self._lines = b"" if minute is None and hour is None else REQUESTS
        if tokens is not None:
            self._lines += TOKENS
        if at_once is not None:
            self._lines += CONCURRENT

    def room_in_s(
        self, which: int, length_s: int, limit: int, amount: int, *, now_s: float
    ) -> float:
        """How long until `amount` fits, as far as is known here; inf: it never does."""
        window = self.window(which, length_s, now_s)
        if window.total + amount <= min(limit, self.usable[which]) or amount > limit:
            return window.room_in_s(amount, limit, now_s)
        ours = limit - self.elsewhere[which]
        wait_s = window.room_in_s(amount, ours, now_s) if amount <= ours else 0.0
        return wait_s or window.width_s  # what others use slides out too

    def states(self, limits: Limits, now_s: float) -> Iterator[LimitState]:
        for which, length_s, limit in rows_of(limits):
            window = self.window(which, length_s, now_s)
            remaining = self._left(which, limit, window)
            reset_s = window.empty_in_s(now_s)
            period = limits.budget.period if which == _SPENT and limits.budget else None
            yield LimitState(KINDS[which], limit, remaining, reset_s, period)
        if (at_once := limits.concurrent_requests) is not None:
            yield LimitState(CONCURRENT_REQUESTS, at_once, self._slots(at_once), 0.0)

    def lines(self, limits: Limits, now_s: float) -> Lines:
        """Those of `states`, a fifth of the work: nearly every response has them."""
        if limits is not self._limits:
            self._learn(limits)
        told: tuple[int | bytes, ...] = ()
        minute, hour, tokens, _, at_once = self._bounds
        if hour is not None:
            told = self._nearer(minute, hour, now_s)
        elif minute is not None:
            told = self._room(_MINUTE, _MINUTE_S, minute, now_s)
        if tokens is not None:
            told += self._room(_TOKENS, _MINUTE_S, tokens, now_s)
        if at_once is not None:
            free = at_once - self.in_flight - self.elsewhere[SLOTS]
            told += (at_once, free if free > 0 else 0)
        return self._lines % told

    def _slots(self, at_once: int) -> int:
        return max(0, at_once - self.in_flight - self.elsewhere[SLOTS])

    def _nearer(self, minute: int | None, hour: int, now_s: float) -> Room:
        """Of the limits on requests the one that is nearer, and of two as near the slower."""
        if minute is not None:
            at_minute = self.window(_MINUTE, _MINUTE_S, now_s)
            at_hour = self.window(_HOUR, _HOUR_S, now_s)
            more = self._left(_HOUR, hour, at_hour) - self._left(_MINUTE, minute, at_minute)
            if more > 0 or not more and at_minute.empty_in_s(now_s) >= at_hour.empty_in_s(now_s):
                return self._room(_MINUTE, _MINUTE_S, minute, now_s)
        return self._room(_HOUR, _HOUR_S, hour, now_s)

    def _room(self, which: int, length_s: int, limit: int, now_s: float) -> Room:
        window = self.window(which, length_s, now_s)
        return limit, self._left(which, limit, window), duration(window.empty_in_s(now_s))

    def _left(self, which: int, limit: int, window: Window) -> int:
        left = limit - window.total - self.elsewhere[which]
        return left if left > 0 else 0

    def matters(self, now_s: float) -> bool:
        """False where it is no different from one that was never used."""
        if self.in_flight:
            return True
        if self.gone_since_s is not None and now_s - self.gone_since_s >= KEEP_GONE_S:
            return False
        return any(window is not None and window.empty_in_s(now_s) for window in self.windows)
