"""How much was used within the last minute, hour, day or month: a window that slides.

Time is cut into buckets of a 60th of the length. What counts is every bucket that the window
touches, the oldest one whole: in no stretch of time of that length, wherever it begins, is more
admitted than the sum allows, and room comes back at most one bucket late. The clock is the
caller's; it must be monotonic.
"""

import math
from typing import Final

BUCKETS: Final = 60
_SLOTS: Final = BUCKETS + 1  # a window that begins inside a bucket touches one more


class Window:
    __slots__ = ("_counts", "ends_s", "_newest", "_slot", "_width_s", "length_s", "total")

    def __init__(self, length_s: int, now_s: float) -> None:
        self._begin(length_s, now_s)

    def _begin(self, length_s: int, now_s: float) -> None:
        self.total = 0
        self.length_s = length_s
        self._width_s = length_s / BUCKETS
        self._counts = [0] * _SLOTS  # by the bucket's number, modulo
        self._at(int(now_s // self._width_s))

    def _at(self, newest: int) -> None:
        self._newest, self._slot = newest, newest % _SLOTS
        self.ends_s = (newest + 1) * self._width_s

    def advance(self, now_s: float) -> None:
        """Lets go of what has slid out: `total` is true for this moment then."""
        if now_s < self.ends_s:
            return
        newest = int(now_s // self._width_s)
        if newest - self._newest >= _SLOTS:
            self._counts, self.total = [0] * _SLOTS, 0
        else:
            for number in range(self._newest + 1, newest + 1):
                self.total -= self._counts[number % _SLOTS]
                self._counts[number % _SLOTS] = 0
        self._at(newest)

    def add(self, amount: int) -> None:
        """At the moment that it was last advanced to."""
        self._counts[self._slot] += amount
        self.total += amount

    def give_back(self, amount: int, *, added_s: float) -> None:
        """To where it was added, as if it had not been; what has slid out is not given back."""
        number = int(added_s // self._width_s)
        if number > self._newest - _SLOTS:
            self._counts[number % _SLOTS] -= amount
            self.total -= amount

    def room_in_s(self, amount: int, limit: int, now_s: float) -> float:
        """How long until `amount` fits under `limit` if nothing else comes; inf: it never does."""
        if amount > limit:
            return math.inf
        excess = self.total + amount - limit
        if excess <= 0:
            return 0.0
        number = self._newest - _SLOTS
        while excess > 0:
            number += 1
            excess -= self._counts[number % _SLOTS]
        return (number + _SLOTS) * self._width_s - now_s

    def empty_in_s(self, now_s: float) -> float:
        """How long until all of it has slid out if nothing else comes; it need not be advanced."""
        if not self.total:
            return 0.0
        number = self._newest
        if not self._counts[self._slot]:
            number -= 1
            while not self._counts[number % _SLOTS]:  # they add up to the total: one is not empty
                number -= 1
        wait_s = (number + _SLOTS) * self._width_s - now_s
        return wait_s if wait_s > 0.0 else 0.0

    @property
    def width_s(self) -> float:
        return self._width_s

    @property
    def recent(self) -> int:
        """Within the two newest buckets, as of when it was last advanced."""
        counts, newest = self._counts, self._newest
        return counts[newest % _SLOTS] + counts[(newest - 1) % _SLOTS]

    def past(self, now_s: float, *, parts: int) -> tuple[tuple[float, int], ...]:
        """(how long it counts still, amount) in at most so many parts, none of them too early."""
        step = -(-_SLOTS // parts)
        found = []
        for newest in range(self._newest, self._newest - _SLOTS, -step):
            oldest = max(newest - step, self._newest - _SLOTS)
            amount = sum(self._counts[number % _SLOTS] for number in range(newest, oldest, -1))
            if amount:
                found.append(((newest + _SLOTS) * self._width_s - now_s, amount))
        return tuple(found)

    def stretch(self, length_s: int, now_s: float) -> None:
        """Another length for what is remembered: each bucket's as of its end, never too early."""
        remembered = [
            ((number + 1) * self._width_s, self._counts[number % _SLOTS])
            for number in range(self._newest - BUCKETS, self._newest + 1)
        ]
        self._begin(length_s, now_s)
        for end_s, amount in remembered:
            number = min(math.ceil(end_s / self._width_s) - 1, self._newest)
            if number > self._newest - _SLOTS:
                self._counts[number % _SLOTS] += amount
                self.total += amount
