"""A circuit breaker: leaves a provider alone after repeated failures, then tries it with care.

A state machine and nothing else: the clock, the rules and what counts as a failure come from
outside. Its state outlives reloads; the rules are those of the configuration in force.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum
from math import inf

from runestone_contract.config import CircuitBreaker


class State(IntEnum):
    """The number is what the metric shows, the name in lower case what is said elsewhere."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class Failure:
    at_s: float
    request: Hashable
    answered_before: int


class Breaker:
    """Closed until the last `failure_threshold` failures are an outage; `_is_outage` says when.

    A request is known by whatever tells it from others. Who was answered is kept even while all is
    well: how else to know, at the first failures, that others fare better?
    """

    __slots__ = (
        "_answered",
        "_answered_last",
        "_answered_last_s",
        "_answered_other_s",
        "_failures",
        "_open_until_s",
        "_probes",
        "state",
    )

    def __init__(self) -> None:
        self.state = State.CLOSED
        self._failures: deque[Failure] = deque()  # the last, oldest first
        self._answered = 0  # while there are failures
        self._answered_last: Hashable = None
        self._answered_last_s = self._answered_other_s = -inf  # when, and when another than that
        self._open_until_s = 0.0
        self._probes = 0  # under way

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def spotless(self) -> bool:
        return self.closed and not self._failures

    def state_at(self, now_s: float) -> State:
        """For show: open no longer keeps away once a probe may go, be there one or not."""
        if self.state is State.OPEN and now_s >= self._open_until_s:
            return State.HALF_OPEN
        return self.state

    def wait_s(self, now_s: float) -> float:
        """Until a probe may go; 0 where one may, if it finds a free place."""
        return 0.0 if self.closed else max(0.0, self._open_until_s - now_s)

    def admits(self, rules: CircuitBreaker, now_s: float) -> bool:
        """Whether a request would be let through now."""
        return self.closed or (
            now_s >= self._open_until_s and self._probes < rules.half_open_requests
        )

    def take_probe(self, rules: CircuitBreaker, now_s: float) -> "Probe | None":
        """For one request while it is not closed."""
        if self.closed or not self.admits(rules, now_s):
            return None
        self.state = State.HALF_OPEN
        self._probes += 1
        return Probe(self)

    def answered(self, request: Hashable, now_s: float) -> None:
        """Said of every request that was, probes too."""
        if request != self._answered_last:
            self._answered_last, self._answered_other_s = request, self._answered_last_s
        self._answered_last_s = now_s

    # --- requests that were let through while it was closed; late ones change nothing

    def succeeded(self, rules: CircuitBreaker) -> None:
        """As many in a row as there would have to be failures: none of these is of an outage."""
        if not self._failures or not self.closed:
            return
        self._answered += 1
        if self._answered - self._failures[-1].answered_before >= rules.failure_threshold:
            self._failures.clear()

    def failed(self, rules: CircuitBreaker, request: Hashable, now_s: float) -> None:
        if not self.closed:
            return
        self._failures.append(Failure(now_s, request, self._answered))
        while len(self._failures) > rules.failure_threshold:
            self._failures.popleft()
        if len(self._failures) == rules.failure_threshold and self._is_outage(rules, now_s):
            self.open(rules, now_s)

    def _is_outage(self, rules: CircuitBreaker, now_s: float) -> bool:
        """Of so many failures: they came within the window, and more of them than answers since the
        first. A prompt that nobody could answer is none, however often it is sent: where several
        are of one request, no other was answered within the window.
        """
        first, horizon_s = self._failures[0], now_s - rules.window_ms / 1000
        if first.at_s <= horizon_s:
            return False
        if self._answered - first.answered_before >= len(self._failures):
            return False
        if len(self._failures) == 1 or any(
            each.request != first.request for each in self._failures
        ):
            return True
        is_last = self._answered_last == first.request
        return (self._answered_other_s if is_last else self._answered_last_s) <= horizon_s

    # --- inside, and for Probe

    def free_place(self) -> None:
        self._probes -= 1

    def open(self, rules: CircuitBreaker, now_s: float) -> None:
        self.state = State.OPEN
        self._open_until_s = now_s + rules.open_for_ms / 1000
        self._failures.clear()

    def close(self) -> None:
        self.state = State.CLOSED
        self._failures.clear()


class Probe:
    """A place among those who try a provider with care: given back once, whatever happens."""

    __slots__ = ("_breaker", "_held")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._held = True

    def succeeded(self) -> None:
        """Also where the breaker opened once more meanwhile: this is the newest that we know."""
        if self.give_back():
            self._breaker.close()

    def failed(self, rules: CircuitBreaker, now_s: float) -> None:
        if self.give_back() and self._breaker.state is State.HALF_OPEN:
            self._breaker.open(rules, now_s)

    def give_back(self) -> bool:
        """Without a verdict, the next request may find out. Whether it was still held."""
        held, self._held = self._held, False
        if held:
            self._breaker.free_place()
        return held
