from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from runestone_operator.errors import RefusedError, StaleInputsError, UnreachableError
from runestone_operator.reconcile.schedule import Pace, Schedule
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PACE = Pace(quiet_s=0.1, cap_s=1.0, parallel=2, backoff_s=1.0)


@dataclass
class Passes:
    """What ran, and when it began."""

    begun: list[tuple[str, float]] = field(default_factory=list)
    takes_s: float = 0.0
    again_s: float | None = None
    errors: list[Exception] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    most_running: int = 0

    async def run(self, name: str) -> float | None:
        assert name not in self.running
        self.begun.append((name, round(asyncio.get_running_loop().time(), 3)))
        self.running.append(name)
        self.most_running = max(self.most_running, len(self.running))
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.running.remove(name)
        if self.errors:
            raise self.errors.pop(0)
        return self.again_s

    @property
    def times(self) -> list[float]:
        return [time_s for _, time_s in self.begun]


@contextlib.asynccontextmanager
async def served(passes: Passes, pace: Pace = PACE) -> AsyncIterator[Schedule]:
    schedule = Schedule("test", passes.run, pace=pace)
    task = asyncio.create_task(schedule.serve())
    await asyncio.sleep(0)
    try:
        yield schedule
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def scenario(
    passes: Passes, steps: Callable[[Schedule], Awaitable[None]], *, pace: Pace = PACE
) -> None:
    async def play() -> None:
        async with served(passes, pace) as schedule:
            await steps(schedule)
            await asyncio.sleep(100)

    run_in_virtual_time(play())


def test_a_pass_waits_until_marks_cease() -> None:
    passes = Passes()

    async def steps(schedule: Schedule) -> None:
        for _ in range(5):
            schedule.mark("a")
            await asyncio.sleep(0.05)

    scenario(passes, steps)
    assert passes.times == [0.3]


def test_but_no_longer_than_the_cap() -> None:
    passes = Passes()

    async def steps(schedule: Schedule) -> None:
        for _ in range(50):
            schedule.mark("a")
            await asyncio.sleep(0.05)

    scenario(passes, steps)
    assert passes.times == [1.0, 2.0, 2.55]


def test_marks_during_a_pass_lead_to_one_more() -> None:
    passes = Passes(takes_s=1.0)

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(0.5)
        for _ in range(3):
            schedule.mark("a")

    scenario(passes, steps)
    assert passes.times == [0.1, 1.1]


def test_marks_made_before_it_serves_are_served() -> None:
    passes = Passes()

    async def play() -> None:
        schedule = Schedule("test", passes.run, pace=PACE)
        schedule.mark("a")
        schedule.mark("b")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(schedule.serve(), 10)

    run_in_virtual_time(play())
    assert passes.begun == [("a", 0.1), ("b", 0.1)]


def test_names_run_side_by_side_within_bounds() -> None:
    passes = Passes(takes_s=1.0)

    async def steps(schedule: Schedule) -> None:
        for name in "abcde":
            schedule.mark(name)

    scenario(passes, steps)
    assert passes.most_running == 2
    assert sorted(name for name, _ in passes.begun) == list("abcde")


def test_a_pass_may_ask_to_run_again() -> None:
    passes = Passes(again_s=30.0)

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(50)
        passes.again_s = None

    scenario(passes, steps)
    assert passes.times == [0.1, 30.1, 60.1]


def test_a_mark_comes_before_what_a_pass_has_asked_for() -> None:
    passes = Passes(again_s=30.0)

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(5)
        passes.again_s = None
        schedule.mark("a")

    scenario(passes, steps)
    assert passes.times == [0.1, 5.1]


def test_failures_back_off() -> None:
    passes = Passes(errors=[StaleInputsError("Secret") for _ in range(6)])

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")

    scenario(passes, steps)
    pauses = [later - earlier for earlier, later in itertools.pairwise(passes.times)]
    for pause, longest in zip(pauses, [2, 4, 8, 10, 10, 10], strict=True):
        assert longest / 2 <= pause <= longest


def test_a_mark_shortens_a_long_backoff_and_a_short_one_not() -> None:
    passes = Passes(errors=[StaleInputsError("Secret") for _ in range(30)])

    async def steps(schedule: Schedule) -> None:
        for _ in range(400):
            schedule.mark("a")
            await asyncio.sleep(0.05)

    scenario(passes, steps)
    pauses = [later - earlier for earlier, later in itertools.pairwise(passes.times[:8])]
    assert 1 <= pauses[0] <= 2
    assert all(1.99 <= pause <= 3.1 for pause in pauses[1:])


@pytest.mark.parametrize(
    ("error", "longest_s"),
    [
        pytest.param(
            UnreachableError(verb="apply", what="x", status=None, reason="x"), 10, id="unreachable"
        ),
        pytest.param(
            RefusedError(verb="apply", what="x", status=403, reason="x"), 60, id="refused"
        ),
        pytest.param(ValueError(), 60, id="a mistake of ours"),
    ],
)
def test_how_often_depends_on_who_has_to_do_something(error: Exception, longest_s: float) -> None:
    passes = Passes(errors=[error] * 12)

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(900)

    scenario(passes, steps)
    longest = max(later - earlier for earlier, later in itertools.pairwise(passes.times))
    assert longest_s / 2 <= longest <= longest_s


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(StaleInputsError("Secret shop/openai"), "WARNING", id="foreseen"),
        pytest.param(ValueError("sk-secret"), "ERROR", id="a mistake of ours"),
    ],
)
def test_a_failure_is_told_and_stops_nobody(
    error: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    passes = Passes(errors=[error])

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(0.5)
        schedule.mark("b")

    scenario(passes, steps)
    assert [name for name, _ in passes.begun] == ["a", "b", "a"]
    (record,) = caplog.records
    assert record.levelname == level
    assert vars(record)["namespace"] == "a"
    assert "sk-secret" not in str(vars(record)["error"])


def test_nothing_is_kept_of_a_name_that_is_served() -> None:
    passes = Passes()

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        assert schedule.waiting == 1
        await asyncio.sleep(1)
        assert schedule.waiting == 0

    scenario(passes, steps)


def test_draining_ends_what_runs_and_begins_nothing() -> None:
    passes = Passes(takes_s=1.0)

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(0.5)
        schedule.mark("b")
        await schedule.drain()
        assert passes.running == []

    scenario(passes, steps)
    assert [name for name, _ in passes.begun] == ["a"]


def test_a_lasting_failure_is_told_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    passes = Passes(errors=[StaleInputsError("Secret") for _ in range(20)])

    async def steps(schedule: Schedule) -> None:
        schedule.mark("a")
        await asyncio.sleep(900)

    scenario(passes, steps)
    assert [vars(record)["failures"] for record in caplog.records] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("failures", [1, 2, 5, 1000])
def test_backoff_is_bounded(failures: int) -> None:
    assert 0.5 <= PACE.retry_s(failures, 8.0) <= 8.0
