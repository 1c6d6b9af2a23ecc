"""The line of one key's waiting requests: their order, the place of each, how long it may take."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.admit.limits import CONCURRENT_REQUESTS
from runestone_sidecar.errors import LimitReached

PACE_OF: Final = 16  # as many as were let in last tell how fast the line moves

Standing = tuple[int, float]  # its place from 1, and the seconds that it may take


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that may come to wait."""

    key: str
    terms: PolicyOverflow
    body_bytes: int
    ask: Callable[[], Awaitable[None]]  # asks the limiter; raises LimitReached
    begin: Callable[["Waiter"], None] | None = None  # called when it begins to wait
    line: "Line | None" = None  # while it waits
    place: int = 0
    since_s: float = 0.0
    until_s: float = math.inf
    ask_at_s: float = math.inf  # set for the first in line alone
    waited_s: float | None = None  # once it has; None: it did not have to
    _alarm: asyncio.Future[None] | None = None

    def standing(self, now_s: float) -> Standing | None:
        """None: it does not wait any more."""
        if self.line is None:
            return None
        place = self.line.place_of(self)
        return place, self.line.eta_s(place, now_s)

    def wake(self) -> None:
        self.ask_at_s = -math.inf
        if self._alarm is not None:
            _ring(self._alarm)

    async def sleep_until(self, when_s: float) -> None:
        """Or until it is woken."""
        loop = asyncio.get_running_loop()
        self._alarm = alarm = loop.create_future()
        timer = loop.call_at(when_s, _ring, alarm)
        try:
            await alarm
        finally:
            timer.cancel()
            self._alarm = None


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)


class Line:
    """It is there for as long as somebody stands in it."""

    def __init__(self, refusal: LimitReached, now_s: float) -> None:
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._numbered = True
        self._let_in_s = deque([now_s], maxlen=PACE_OF)  # after the moment that it began
        self._longest_s = 0.0  # that the first was told
        self.note_refusal(refusal, now_s)

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def first(self) -> Waiter:
        return next(iter(self._waiters))

    @property
    def waiters(self) -> list[Waiter]:
        return [*self._waiters]

    def add(self, waiter: Waiter) -> None:
        self._waiters[waiter] = None
        waiter.place = len(self._waiters)
        waiter.line = self

    def remove(self, waiter: Waiter) -> None:
        del self._waiters[waiter]
        self._numbered = False
        waiter.line = None

    def note_refusal(self, refusal: LimitReached, now_s: float) -> None:
        """What the first was told last."""
        self.refusal = refusal
        self._room_at_s = now_s + refusal.wait_s
        self._longest_s = max(self._longest_s, refusal.wait_s)

    def note_entry(self, now_s: float) -> None:
        """The first was let in."""
        self._let_in_s.append(now_s)

    def place_of(self, waiter: Waiter) -> int:
        """From 1. All are numbered at once, where somebody left: many ask after each change."""
        if not self._numbered:
            for place, each in enumerate(self._waiters, 1):
                each.place = place
            self._numbered = True
        return waiter.place

    def eta_s(self, place: int, now_s: float) -> float:
        """What the limiter says of the first, and as much again for each before this one, until
        the line has shown how fast it moves."""
        first_s, last_s = self._let_in_s[0], self._let_in_s[-1]
        moved = len(self._let_in_s) - 1
        pace_s = (last_s - first_s) / moved if moved else self._longest_s
        room_at_s = self._room_at_s
        if self.refusal.limit == CONCURRENT_REQUESTS:  # the limiter cannot know
            pace_s = max(pace_s, now_s - last_s)
            room_at_s = last_s + pace_s
        return max(0.0, room_at_s - now_s) + (place - 1) * pace_s
