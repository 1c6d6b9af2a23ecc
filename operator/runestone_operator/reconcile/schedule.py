"""When a pass over a name runs: debounced, never two at once for one name, retried with backoff.

A pass is level-triggered: it reads the state of the world when it starts, so marks that arrive
before are served by it and marks that arrive during it lead to one more. Knows nothing of passes.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from runestone_operator.errors import OperatorError

log = logging.getLogger(__name__)

UNFORESEEN_S: Final = 60.0  # at least so often a pass is tried again that fails by our own mistake

Pass = Callable[[str], Awaitable[float | None]]
"""Serves one name; returns in how many seconds it wants to be run again, None for not by itself."""


@dataclass(frozen=True, slots=True)
class Pace:
    quiet_s: float = 0.1  # a pass waits until marks have ceased for so long
    cap_s: float = 1.0  # but no longer than this after the first one
    parallel: int = 4  # names served at once
    backoff_s: float = 0.25  # after a first failure, and doubled by each further one
    hurry_s: float = 2.0  # a mark shortens a longer backoff to this

    def retry_s(self, failures: int, within_s: float) -> float:
        """Half of it is jitter, so that namespaces that failed together do not return together."""
        longest_s: float = min(within_s, self.backoff_s * 2 ** min(failures, 16))
        return longest_s * (0.5 + random.random() / 2)


@dataclass(slots=True)
class _Turn:
    """What one name waits for. All times are the loop's."""

    first_mark_s: float | None = None
    last_mark_s: float = 0.0
    again_at_s: float | None = None
    not_before_s: float = 0.0
    failures: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def due_s(self, pace: Pace) -> float | None:
        dues = [] if self.again_at_s is None else [self.again_at_s]
        if self.first_mark_s is not None:
            dues.append(min(self.last_mark_s + pace.quiet_s, self.first_mark_s + pace.cap_s))
        return max(min(dues), self.not_before_s) if dues else None

    def begin(self) -> None:
        self.first_mark_s = self.again_at_s = None


class Schedule:
    """`mark` from anywhere on the loop; passes run while `serve` does."""

    def __init__(self, name: str, run: Pass, *, pace: Pace | None = None) -> None:
        self._name = name
        self._run = run
        self._pace = Pace() if pace is None else pace
        self._slots = asyncio.Semaphore(self._pace.parallel)
        self._turns: dict[str, _Turn] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def waiting(self) -> int:
        """Names that a pass is due for or running on."""
        return len(self._turns)

    def mark(self, name: str) -> None:
        """Something that concerns this name has changed."""
        now_s = asyncio.get_running_loop().time()
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = _Turn()
            if self._tasks is not None:
                self._start(name, turn)
        if turn.first_mark_s is None:
            turn.first_mark_s = now_s
        turn.last_mark_s = now_s
        turn.wake.set()

    async def serve(self) -> None:
        """Run the passes, those marked before too, until cancelled. Can be begun again."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for name, turn in self._turns.items():
                    self._start(name, turn)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    async def drain(self) -> None:
        """Wait for the passes that run; no other begins from now on."""
        for _ in range(self._pace.parallel):
            await self._slots.acquire()

    def _start(self, name: str, turn: _Turn) -> None:
        assert self._tasks is not None
        self._tasks.create_task(self._take_turns(name, turn), name=f"{self._name} {name}")

    async def _take_turns(self, name: str, turn: _Turn) -> None:
        while await self._is_due(turn):
            async with self._slots:
                turn.begin()
                await self._pass(name, turn)
        del self._turns[name]  # nothing awaited since it was found idle, so no mark is lost

    async def _is_due(self, turn: _Turn) -> bool:
        loop = asyncio.get_running_loop()
        while (due_s := turn.due_s(self._pace)) is not None:
            if due_s <= loop.time():
                return True
            turn.wake.clear()
            try:
                async with asyncio.timeout_at(due_s):
                    await turn.wake.wait()
            except TimeoutError:
                continue
        return False

    async def _pass(self, name: str, turn: _Turn) -> None:
        loop = asyncio.get_running_loop()
        try:
            again_s = await self._run(name)
        except Exception as error:
            turn.failures += 1
            within_s = error.retry_within_s if isinstance(error, OperatorError) else UNFORESEEN_S
            again_s = self._pace.retry_s(turn.failures, within_s)
            turn.not_before_s = loop.time() + min(again_s, self._pace.hurry_s)
            self._report(error, name=name, failures=turn.failures, again_s=again_s)
        else:
            turn.failures = 0
            turn.not_before_s = 0.0
        if again_s is not None:
            turn.again_at_s = loop.time() + again_s

    def _report(self, error: Exception, *, name: str, failures: int, again_s: float) -> None:
        if failures.bit_count() > 1:
            return  # the 1st, 2nd, 4th, 8th … time will do
        expected = isinstance(error, OperatorError)
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s failed, will be tried again",
            self._name,
            exc_info=None if expected else error,
            extra={
                "namespace": name,
                "error": str(error) if expected else type(error).__name__,
                "failures": failures,
                "again_s": round(again_s, 2),
            },
        )
