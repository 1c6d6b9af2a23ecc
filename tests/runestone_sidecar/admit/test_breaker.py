"""The breaker's states on a clock of our own, against a model that keeps the whole history."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runestone_contract.config import CircuitBreaker
from runestone_sidecar.admit.breaker import Breaker, Probe, State

RULES = CircuitBreaker(
    failure_threshold=3, window_ms=10_000, open_for_ms=20_000, half_open_requests=2
)


def opened(rules: CircuitBreaker = RULES, at_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(rules.failure_threshold):
        breaker.failed(rules, at_s)
    return breaker


def probe(breaker: Breaker, at_s: float) -> Probe:
    found = breaker.take_probe(RULES, at_s)
    assert found is not None
    return found


def test_the_threshold_opens_it() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.failed(RULES, 0.0)
        assert breaker.closed
    breaker.failed(RULES, 1.0)
    assert breaker.state is State.OPEN
    assert breaker.wait_s(1.0) == 20.0
    assert not breaker.admits(RULES, 20.9)
    assert breaker.admits(RULES, 21.0)


def test_failures_count_within_the_window_alone() -> None:
    breaker = Breaker()
    for at_s in (0.0, 5.0, 10.0, 15.0, 20.0):  # two at a time within ten seconds
        breaker.failed(RULES, at_s)
    assert breaker.closed
    breaker.failed(RULES, 20.5)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("successes", "state"), [(2, State.OPEN), (3, State.CLOSED)], ids=["too-few", "as-many"]
)
def test_a_run_of_successes_is_no_outage(successes: int, state: State) -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(RULES, 0.0)
        for _ in range(successes):
            breaker.succeeded(RULES)
    assert breaker.state is state


def test_a_rare_failure_among_thousands_never_opens_it() -> None:
    breaker, now_s = Breaker(), 0.0
    for _ in range(1000):  # one in a hundred at a thousand a second: a hundred within the window
        breaker.failed(RULES, now_s)
        for _ in range(99):
            breaker.succeeded(RULES)
        now_s += 0.1
        assert breaker.closed


def test_so_many_probes_at_a_time() -> None:
    breaker = opened()
    first, second = probe(breaker, 20.0), probe(breaker, 20.0)
    assert breaker.state is State.HALF_OPEN
    assert breaker.take_probe(RULES, 99.0) is None
    first.give_back()
    assert breaker.take_probe(RULES, 99.0) is not None
    second.succeeded()
    assert breaker.closed


def test_a_failed_probe_opens_it_for_as_long_again() -> None:
    breaker = opened()
    probe(breaker, 25.0).failed(RULES, 26.0)
    assert breaker.state is State.OPEN
    assert not breaker.admits(RULES, 45.9)
    assert breaker.admits(RULES, 46.0)


def test_a_place_is_given_back_once() -> None:
    breaker = opened()
    gone = probe(breaker, 20.0)
    gone.give_back()
    gone.give_back()
    gone.failed(RULES, 20.0)
    gone.succeeded()
    assert breaker.state is State.HALF_OPEN
    assert [breaker.take_probe(RULES, 20.0) is None for _ in range(3)] == [False, False, True]


def test_what_began_while_it_was_closed_changes_nothing_later() -> None:
    breaker = opened()
    breaker.failed(RULES, 19.0)
    assert breaker.wait_s(19.0) == 1.0
    held = probe(breaker, 20.0)
    breaker.succeeded(RULES)
    breaker.failed(RULES, 20.0)
    assert breaker.state is State.HALF_OPEN
    held.succeeded()
    assert breaker.spotless


def test_rules_may_change_while_it_is_open() -> None:
    breaker = opened()
    looser = RULES.model_copy(update={"half_open_requests": 5, "failure_threshold": 1})
    assert len([p for p in (breaker.take_probe(looser, 20.0) for _ in range(9)) if p]) == 5


class Model(RuleBasedStateMachine):
    """The same rules, said by the whole history instead of by counters."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now_s = 0.0
        self.open_until_s: float | None = None  # None: closed
        self.half_open = False
        self.history: list[tuple[float, bool]] = []  # since it was closed last
        self.probes: list[Probe] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 10.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(good=st.booleans())
    def late_or_normal_outcome(self, good: bool) -> None:
        if good:
            self.breaker.succeeded(RULES)
        else:
            self.breaker.failed(RULES, self.now_s)
        if self.open_until_s is None:
            self.history.append((self.now_s, good))
            if not good and self._failures_that_count() >= RULES.failure_threshold:
                self._open()

    @rule()
    def ask_for_a_probe(self) -> None:
        found = self.breaker.take_probe(RULES, self.now_s)
        due = self.open_until_s is not None and self.now_s >= self.open_until_s
        assert (found is not None) == (due and len(self.probes) < RULES.half_open_requests)
        if found is not None:
            self.probes.append(found)
            self.half_open = True

    @precondition(lambda self: bool(self.probes))
    @rule(outcome=st.sampled_from(["good", "bad", "cancelled"]), data=st.data())
    def end_a_probe(self, outcome: str, data: st.DataObject) -> None:
        ended = self.probes.pop(data.draw(st.integers(0, len(self.probes) - 1)))
        if outcome == "good":
            ended.succeeded()
            self.open_until_s, self.half_open, self.history = None, False, []
        elif outcome == "bad":
            ended.failed(RULES, self.now_s)
            if self.half_open:
                self._open()
        else:
            ended.give_back()

    @invariant()
    def agrees(self) -> None:
        expected = State.CLOSED
        if self.open_until_s is not None:
            expected = State.HALF_OPEN if self.half_open else State.OPEN
        assert self.breaker.state is expected
        wait_s = 0.0 if self.open_until_s is None else max(0.0, self.open_until_s - self.now_s)
        assert self.breaker.wait_s(self.now_s) == wait_s

    @invariant()
    def is_never_stuck(self) -> None:
        """Once every probe is over and the time is up, somebody is let through."""
        if not self.probes:
            assert self.breaker.admits(RULES, self.now_s + RULES.open_for_ms / 1000)

    def _failures_that_count(self) -> int:
        recent, run = 0, 0
        for at_s, good in reversed(self.history):
            run = run + 1 if good else 0
            if run >= RULES.failure_threshold:
                break
            if not good and at_s > self.now_s - RULES.window_ms / 1000:
                recent += 1
        return recent

    def _open(self) -> None:
        self.open_until_s = self.now_s + RULES.open_for_ms / 1000
        self.half_open, self.history = False, []


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=200, stateful_step_count=40)
