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
        breaker.failed(rules, "one", at_s)
    return breaker


def answer(breaker: Breaker, request: str, at_s: float = 0.0) -> None:
    breaker.answered(request, at_s)
    breaker.succeeded(RULES)


def probe(breaker: Breaker, at_s: float) -> Probe:
    found = breaker.take_probe(RULES, at_s)
    assert found is not None
    return found


def test_the_threshold_opens_it() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.failed(RULES, "one", 0.0)
        assert breaker.closed
    breaker.failed(RULES, "one", 1.0)
    assert breaker.state is State.OPEN
    assert breaker.wait_s(1.0) == 20.0
    assert not breaker.admits(RULES, 20.9)
    assert breaker.admits(RULES, 21.0)


def test_failures_count_within_the_window_alone() -> None:
    breaker = Breaker()
    for at_s in (0.0, 5.0, 10.0, 15.0, 20.0):  # two at a time within ten seconds
        breaker.failed(RULES, "one", at_s)
    assert breaker.closed
    breaker.failed(RULES, "one", 20.5)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    ("answers", "state"), [((1, 1), State.OPEN), ((1, 2), State.CLOSED)], ids=["fewer", "as-many"]
)
def test_as_many_answers_in_between_are_no_outage(answers: tuple[int, int], state: State) -> None:
    breaker = Breaker()
    for count in (*answers, 0):
        breaker.failed(RULES, "one", 0.0)
        for _ in range(count):
            answer(breaker, "one")
    assert breaker.state is state


@pytest.mark.parametrize("others", ["before", "between"])
def test_what_nobody_could_answer_is_no_outage(others: str) -> None:
    breaker = Breaker()
    answer(breaker, "other", 0.0)
    for number in range(100):
        at_s = number / 11  # within the window
        breaker.failed(RULES, "poison", at_s)
        if others == "between" and number % 5 == 4:
            answer(breaker, "other", at_s)
    assert breaker.closed
    breaker.failed(RULES, "another", 9.9)
    assert breaker.state is State.OPEN


def test_what_nobody_answers_for_a_window_is_an_outage_whoever_asks() -> None:
    breaker = Breaker()
    answer(breaker, "other", 0.0)
    for at_s in (0.0, 1.0, 9.9):
        breaker.failed(RULES, "one", at_s)
        assert breaker.closed
    breaker.failed(RULES, "one", 10.0)
    assert breaker.state is State.OPEN


def test_an_answer_to_the_same_request_shields_it_not() -> None:
    """A client that asks the same again and again is how most outages are tried out."""
    breaker = Breaker()
    for _ in range(9):
        answer(breaker, "one")
    for _ in range(3):
        breaker.failed(RULES, "one", 1.0)
    assert breaker.state is State.OPEN


def test_a_threshold_of_one_asks_for_no_second_request() -> None:
    breaker = Breaker()
    answer(breaker, "other")
    breaker.failed(RULES.model_copy(update={"failure_threshold": 1}), "one", 0.0)
    assert breaker.state is State.OPEN


def test_an_outage_after_a_bad_hour_opens_it_no_later() -> None:
    """What was answered before the last failures is of another time."""
    breaker, now_s = Breaker(), 0.0
    for number in range(1000):
        now_s += 0.01
        breaker.failed(RULES, number, now_s)
        for _ in range(2):
            answer(breaker, f"good-{number}", now_s)
    assert breaker.closed
    for number in range(3):
        breaker.failed(RULES, f"down-{number}", now_s)
    assert breaker.state is State.OPEN


def test_a_rare_failure_among_thousands_never_opens_it() -> None:
    breaker, now_s = Breaker(), 0.0
    for _ in range(1000):  # one in a hundred at a thousand a second: a hundred within the window
        breaker.failed(RULES, "one", now_s)
        for _ in range(99):
            breaker.succeeded(RULES)
        now_s += 0.1
        assert breaker.spotless


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
    breaker.failed(RULES, "one", 19.0)
    assert breaker.wait_s(19.0) == 1.0
    held = probe(breaker, 20.0)
    breaker.succeeded(RULES)
    breaker.failed(RULES, "one", 20.0)
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
        self.history: list[tuple[float, bool, str]] = []  # since it was closed last
        self.answers: list[tuple[float, str]] = []  # ever
        self.probes: list[Probe] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 10.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(good=st.booleans(), request=st.sampled_from("abc"))
    def late_or_normal_outcome(self, good: bool, request: str) -> None:
        if good:
            answer(self.breaker, request, self.now_s)
            self.answers.append((self.now_s, request))
        else:
            self.breaker.failed(RULES, request, self.now_s)
        if self.open_until_s is None:
            self.history.append((self.now_s, good, request))
            if not good and self._is_outage():
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

    def _is_outage(self) -> bool:
        failed = [place for place, (_, good, _) in enumerate(self.history) if not good]
        failed = failed[-RULES.failure_threshold :]
        horizon_s = self.now_s - RULES.window_ms / 1000
        if len(failed) < RULES.failure_threshold or self.history[failed[0]][0] <= horizon_s:
            return False
        since = self.history[failed[0] :]
        if sum(good for _, good, _ in since) >= len(failed):
            return False
        requests = {self.history[place][2] for place in failed}
        others = [at_s for at_s, request in self.answers if request not in requests]
        return len(requests) > 1 or not any(at_s > horizon_s for at_s in others)

    def _open(self) -> None:
        self.open_until_s = self.now_s + RULES.open_for_ms / 1000
        self.half_open, self.history = False, []


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=200, stateful_step_count=40)
