"""A circuit breaker: leaves a provider alone after repeated failures, then tries it with care.

A state machine and nothing else: the clock, the rules and what counts as a failure come from
outside. Its state outlives reloads; the rules are those of the configuration in force.
"""

from collections import deque
from enum import IntEnum

from runestone_contract.config import CircuitBreaker


class State(IntEnum):
    """The number is what the metric shows, the name in lower case what is said elsewhere."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Closed until there are `failure_threshold` failures within the window.

    As many successes in a row make it forget them: at thousands of requests a second even a rare
    failure comes often within any window, and none of that is an outage.
    """

    __slots__ = ("_failures", "_open_until_s", "_probes", "_successes", "state")

    def __init__(self) -> None:
        self.state = State.CLOSED
        self._failures: deque[float] = deque()  # when, oldest first
        self._successes = 0  # since the last failure
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

    # --- requests that were let through while it was closed; late ones change nothing

    def succeeded(self, rules: CircuitBreaker) -> None:
        if not self._failures or not self.closed:
            return
        self._successes += 1
        if self._successes >= rules.failure_threshold:
            self._failures.clear()

    def failed(self, rules: CircuitBreaker, now_s: float) -> None:
        if not self.closed:
            return
        failures, horizon_s = self._failures, now_s - rules.window_ms / 1000
        while failures and failures[0] <= horizon_s:
            failures.popleft()
        failures.append(now_s)
        self._successes = 0
        if len(failures) >= rules.failure_threshold:
            self.open(rules, now_s)

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
