"""What happens in the data path, told in one place: a closed set of types, and the bus.

Nobody listens to most of them, so telling one is counting one: what a subscriber gets is made only
where there is a subscriber. It runs on the event loop, within the request: it must not wait.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self

from runestone_sidecar.telemetry.trace_context import TraceContext

TOLD_EVERY_S: Final = 60.0  # of subscribers that fail

log = logging.getLogger(__name__)


class EventType(StrEnum):
    """Each with what it means. Those of `cache` are of a feature that is not there yet: nothing
    tells of them, and their counts stay at zero."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        made = str.__new__(cls, value)
        made._value_ = value
        made.meaning = meaning
        return made

    ROUTER_DECIDE = "router.decide", "It was decided which providers may serve a request."
    ROUTER_ROUTE_ERROR = (
        "router.route_error",
        "Nobody may or can serve a request: no such model, not for this key, no provider.",
    )
    RATELIMIT_CHECK = "ratelimit.check", "A request of a key with limits is held against them."
    RATELIMIT_ALLOW = "ratelimit.allow", "There was room: what it needs is reserved."
    RATELIMIT_BLOCK = "ratelimit.block", "A limit of the key's was reached."
    PROVIDER_REQUEST_START = (
        "provider.request_start",
        "A provider's turn begins: a try, with one of its credentials.",
    )
    PROVIDER_REQUEST_STOP = (
        "provider.request_stop",
        "It answered: the whole answer is here, or the first bytes of a stream.",
    )
    PROVIDER_REQUEST_ERROR = (
        "provider.request_error",
        "It did not: refused, failed, late. One whose client left ends with neither.",
    )
    OVERFLOW_ENQUEUE = (
        "overflow.enqueue",
        "A request was queued as a job: over its limit, or as asked.",
    )
    OVERFLOW_DRAIN_START = "overflow.drain_start", "An attempt at a job begins."
    OVERFLOW_DRAIN_STOP = (
        "overflow.drain_stop",
        "A job has its result: an answer, or why there is none.",
    )
    OVERFLOW_WEBHOOK = (
        "overflow.webhook",
        "A job's webhook was delivered, or given up: gone, or not taken within a day.",
    )
    OVERFLOW_DEAD_LETTER = "overflow.dead_letter", "A job was given up after its last attempt."
    AUTH_SUCCESS = "auth.success", "A request acts for an ApiKey."
    AUTH_FAILURE = (
        "auth.failure",
        "Refused: an ApiKey that is disabled, expired or rotated out, no key, no readable one.",
    )
    AUTH_INVALID_KEY = "auth.invalid_key", "Refused: a key that no ApiKey has."
    CIRCUIT_OPEN = "circuit.open", "A provider is left alone: it failed too often."
    CIRCUIT_CLOSE = "circuit.close", "A provider is well again."
    CIRCUIT_HALF_OPEN = "circuit.half_open", "A provider is tried with care."
    STREAM_CHUNK = (
        "stream.chunk",
        "An event of a stream went to its client. Counted when the stream ends, and not of streams"
        " that are handed on unread.",
    )
    STREAM_COMPLETE = "stream.complete", "A stream went out whole."
    STREAM_ERROR = (
        "stream.error",
        "A stream ended before it was whole: lost, cut by a shutdown, or left by its client.",
    )
    CACHE_HIT = "cache.hit", "An answer came from the cache."
    CACHE_MISS = "cache.miss", "The cache had no answer."
    CACHE_STORE = "cache.store", "An answer was kept."
    CACHE_EVICT = "cache.evict", "An answer was dropped from the cache."
    CONFIG_RELOAD = "config.reload", "A configuration serves from now on, the first one included."
    CONFIG_REJECT = "config.reject", "A configuration was refused: the last good one serves."


class Subject(Protocol):
    """The Record of the request, which layers above know in full."""

    @property
    def request_id(self) -> str: ...

    @property
    def trace(self) -> TraceContext: ...


@dataclass(frozen=True, slots=True)
class Event:
    type: EventType
    record: Subject | None  # None: of no request
    provider: str | None = None  # its id
    reason: str | None = None  # as in the metrics and the log
    count: int = 1


Subscriber = Callable[[Event], None]


class Events:
    """The bus, for one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0  # of subscribers
        self._clock = clock
        self._counts = dict.fromkeys(EventType, 0)
        self._subscribers: dict[EventType, list[Subscriber]] = {}  # of those with any
        self._told_s = float("-inf")

    @property
    def counts(self) -> Mapping[EventType, int]:
        """Each type since the start."""
        return self._counts

    def subscribe(self, subscriber: Subscriber, *types: EventType) -> None:
        for each in types:
            self._subscribers.setdefault(each, []).append(subscriber)

    def wanted(self, type_: EventType) -> bool:
        """Whether anyone listens, for what happens too often to be told unasked."""
        return type_ in self._subscribers

    def emit(
        self,
        type_: EventType,
        record: Subject | None = None,
        *,
        provider: str | None = None,
        reason: str | None = None,
    ) -> None:
        self._counts[type_] += 1
        if type_ in self._subscribers:
            self.tell(Event(type_, record, provider, reason))

    def count(self, type_: EventType, count: int) -> None:
        """For what was told, where it was wanted, while it happened."""
        self._counts[type_] += count

    def tell(self, event: Event) -> None:
        """Without counting it."""
        for subscriber in self._subscribers.get(event.type, ()):
            try:
                subscriber(event)
            except Exception:
                self._failed(event)

    def _failed(self, event: Event) -> None:
        """A subscriber harms no request; nor does its failing fill the log."""
        self.failures += 1
        now_s = self._clock()
        if now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            log.exception("a subscriber to %s failed (%d times so far)", event.type, self.failures)
