"""Requests that wait until their key's limit lets them in: first come, first served.

Of a key's line only the first asks the limiter: when a request of the key has ended, when the
limiter said that there would be room, and now and then, for room may come from other replicas. All
others sleep. Whoever leaves leaves nothing behind, and takes nothing.
"""

import asyncio
import math
from typing import Final

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.admit.limits import (
    BUDGET,
    REQUESTS_PER_HOUR,
    REQUESTS_PER_MINUTE,
    Lines,
    Reservation,
)
from runestone_sidecar.admit.line import Line, Waiter
from runestone_sidecar.admit.refusal import no_waiting, queue_full, waited_in_vain
from runestone_sidecar.errors import Draining, LimitReached
from runestone_sidecar.telemetry import waits
from runestone_sidecar.telemetry.waits import Waits

WAIT: Final = "Wait"  # the mode of overflow
LOOK_EVERY_S: Final = 5.0
SHORTEST_S: Final = 0.01  # between two questions that nothing has happened between
CLOCK_TICK_S: Final = 0.001  # by so much a timer may fire early
WAITER_BYTES: Final = 32 * 1024  # of connection, task and request, beside the body

# What was taken of these comes back when it slides out of the window. Of the others much may be
# given back at once, when a request ends: then how long it takes is a guess.
_SLIDING: Final = frozenset({REQUESTS_PER_MINUTE, REQUESTS_PER_HOUR, BUDGET})


class WaitingRoom:
    def __init__(self, counts: Waits, *, max_bytes: int) -> None:
        self._counts = counts
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lines: dict[str, Line] = {}  # by key; none is empty
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def held_bytes(self) -> int:
        return self._bytes

    async def admit(self, waiter: Waiter, *, fits: bool) -> None:
        """Returns when `waiter.ask` has, which is asked at once where nobody waits, or where
        waiting is no use (it never `fits`).

        Raises what it raises, but for LimitReached only where it is not to wait, or not any more;
        Draining.
        """
        line = self._lines.get(waiter.key)
        if line is None or not fits:
            try:
                await waiter.ask()
            except LimitReached as refusal:
                if _is_hopeless(refusal, waiter.terms):
                    raise
                line = self._lines.get(waiter.key)
                if line is None:
                    now_s = asyncio.get_running_loop().time()
                    line = Line(refusal, now_s)
                    waiter.ask_at_s = now_s + _pause_s(refusal)
            else:
                return
        self._join(line, waiter)
        await self._wait(line, waiter)

    def check_nobody_waits(self, key: str) -> None:
        """For a request that cannot stand in line. Raises LimitReached."""
        if line := self._lines.get(key):
            wait_s = line.eta_s(len(line) + 1, asyncio.get_running_loop().time())
            raise no_waiting(line.refusal, wait_s=wait_s)

    def watched(self, reservation: Reservation, key: str) -> Reservation:
        return _Watched(reservation, self, key)

    def nudge(self, key: str) -> None:
        """There may be room for it."""
        if line := self._lines.get(key):
            line.first.wake()

    def look_again(self) -> None:
        """The configuration has changed."""
        for line in self._lines.values():
            line.first.wake()

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        for line in self._lines.values():
            for waiter in line.waiters:
                waiter.wake()

    def _join(self, line: Line, waiter: Waiter) -> None:
        """Raises LimitReached where there is no place for it, or Draining."""
        if self._closed:
            raise Draining()
        now_s = asyncio.get_running_loop().time()
        held_bytes = self._bytes + _size_bytes(waiter)
        if len(line) >= waiter.terms.max_queued or held_bytes > self._max_bytes:
            self._counts.turn_away(waiter.key)
            raise queue_full(line.refusal, wait_s=line.eta_s(len(line) + 1, now_s))
        self._bytes = held_bytes
        self._lines[waiter.key] = line
        line.add(waiter)
        waiter.since_s = now_s
        waiter.until_s = now_s + waiter.terms.max_age_ms / 1000
        self._counts.begin(waiter.key)

    async def _wait(self, line: Line, waiter: Waiter) -> None:
        outcome = waits.LEFT  # a cancellation says no more than that
        try:
            if waiter.begin is not None:
                waiter.begin(waiter)
            await self._turn(line, waiter)
            outcome = waits.ADMITTED
        except _TooLong:
            outcome = waits.TIMED_OUT
            now_s = asyncio.get_running_loop().time()
            raise waited_in_vain(
                line.refusal,
                waited_s=now_s - waiter.since_s,
                wait_s=line.eta_s(len(line) + 1, now_s),
            ) from None
        except Draining:
            outcome = waits.DRAINING
            raise
        except Exception:
            outcome = waits.REFUSED
            raise
        finally:
            self._leave(line, waiter, outcome)

    async def _turn(self, line: Line, waiter: Waiter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._closed:
                raise Draining()
            now_s = loop.time() + CLOCK_TICK_S
            if waiter.ask_at_s <= now_s:
                waiter.ask_at_s = math.inf
                try:
                    await waiter.ask()
                except LimitReached as refusal:
                    if _is_hopeless(refusal, waiter.terms):
                        raise
                    now_s = loop.time()
                    line.note_refusal(refusal, now_s)
                    # Earlier where it was woken meanwhile.
                    waiter.ask_at_s = min(waiter.ask_at_s, now_s + _pause_s(refusal))
                else:
                    line.note_entry(loop.time())
                    return
            elif waiter.until_s <= now_s:
                raise _TooLong
            else:
                await waiter.sleep_until(min(waiter.ask_at_s, waiter.until_s))

    def _leave(self, line: Line, waiter: Waiter, outcome: str) -> None:
        was_first = waiter is line.first
        line.remove(waiter)
        self._bytes -= _size_bytes(waiter)
        waiter.waited_s = asyncio.get_running_loop().time() - waiter.since_s
        self._counts.end(waiter.key, outcome, waiter.waited_s)
        if not line:
            del self._lines[waiter.key]
        elif was_first:
            line.first.wake()


class _TooLong(Exception):
    """It has waited for as long as it may."""


class _Watched:
    """A Reservation of a key whose requests wait: its end is news to the first of them."""

    __slots__ = ("_key", "_reservation", "_room")

    def __init__(self, reservation: Reservation, room: WaitingRoom, key: str) -> None:
        self._reservation = reservation
        self._room = room
        self._key = key

    def commit(self, *, tokens: int, cost_picodollars: int) -> None:
        self._reservation.commit(tokens=tokens, cost_picodollars=cost_picodollars)
        self._room.nudge(self._key)

    def refund(self) -> None:
        self._reservation.refund()
        self._room.nudge(self._key)

    @property
    def lines(self) -> Lines:
        return self._reservation.lines


def _is_hopeless(refusal: LimitReached, terms: PolicyOverflow) -> bool:
    """There is never room, or only when it would have had to leave."""
    if math.isinf(refusal.wait_s):
        return True
    return refusal.limit in _SLIDING and refusal.wait_s * 1000 > terms.max_age_ms


def _pause_s(refusal: LimitReached) -> float:
    return min(max(refusal.wait_s, SHORTEST_S), LOOK_EVERY_S)


def _size_bytes(waiter: Waiter) -> int:
    """A body is there as it came, and decoded."""
    return WAITER_BYTES + 2 * waiter.body_bytes
