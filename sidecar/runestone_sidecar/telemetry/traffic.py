"""What requests add to the metrics, kept as plain numbers and rendered when Prometheus asks.

A prometheus_client child costs a microsecond an addition, and a request makes ten of them; here a
request is a few integer additions on one thread. Labels must come from the snapshot.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runestone_sidecar.telemetry.events import Event, Events, EventType

BOUNDS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MAX_LABEL_SETS: Final = 10_000  # before those of what is no longer configured are dropped
REFUSALS: Final = ("malformed", "too_large", "late", "full")  # by the HTTP port itself
_CIRCUIT: Final = {  # and the breaker's state then
    EventType.CIRCUIT_OPEN: "open",
    EventType.CIRCUIT_CLOSE: "closed",
    EventType.CIRCUIT_HALF_OPEN: "half_open",
}
NONE: Final = "-"  # the label of what was never decided, e.g. the provider of a refused request


class Histogram:
    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        shown, so_far = [], 0
        for bound, count in zip((*BOUNDS_S, float("inf")), self.counts, strict=True):
            so_far += count
            shown.append(("+Inf" if bound == float("inf") else str(bound), float(so_far)))
        return shown


class Spent:
    """By one ApiKey, on one model of one provider."""

    __slots__ = ("cost_picodollars", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_picodollars = 0


class Traffic(Collector):
    def __init__(self) -> None:
        self.events = Events()
        self.events.subscribe(self._count_transition, *_CIRCUIT)
        self.in_flight = 0
        self.clients_gone = 0
        self.refused = dict.fromkeys(REFUSALS, 0)
        # (api_key, model, provider, status)
        self.requests: defaultdict[tuple[str, str, str, int], int] = defaultdict(int)
        # (api_key, model, provider)
        self.spent: defaultdict[tuple[str, str, str], Spent] = defaultdict(Spent)
        # (model, provider)
        self.duration: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.first_byte: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        # (provider, outcome)
        self.attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
        # (provider, reason)
        self.interrupted: defaultdict[tuple[str, str], int] = defaultdict(int)
        # (provider, state)
        self.breaker_transitions: defaultdict[tuple[str, str], int] = defaultdict(int)
        # (provider, reason)
        self.cooldowns: defaultdict[tuple[str, str], int] = defaultdict(int)
        # (provider, outcome)
        self.health_checks: defaultdict[tuple[str, str], int] = defaultdict(int)

    @property
    def served(self) -> int:
        return sum(self.requests.values())

    @property
    def is_full(self) -> bool:
        return len(self.requests) + len(self.spent) + len(self.attempts) >= MAX_LABEL_SETS

    def prune(self, *, keys: Set[str], models: Set[str], providers: Set[str]) -> None:
        """Forgets what is configured no more.

        Only once it adds up: what was counted last is still to be fetched by Prometheus.
        """
        keys, models, providers = keys | {NONE}, models | {NONE}, providers | {NONE}
        for whose in (self.requests, self.spent):
            _keep(whose, lambda k: k[0] in keys and k[1] in models and k[2] in providers)
        for where in (self.duration, self.first_byte):
            _keep(where, lambda k: k[0] in models and k[1] in providers)
        for tried in self._by_provider():
            _keep(tried, lambda k: k[0] in providers)

    def collect(self) -> Iterator[Metric]:
        """May run on another thread while requests add: it copies before it walks."""
        yield GaugeMetricFamily(
            "runestone_requests_in_flight", "Requests being served.", value=self.in_flight
        )
        yield CounterMetricFamily(
            "runestone_client_gone",
            "Requests whose client left before the answer was whole.",
            value=self.clients_gone,
        )
        yield _counter(
            "runestone_http_refusals",
            "Refusals by the API port itself: not HTTP, too large a head, too late, too many.",
            ("reason",),
            self.refused,
        )
        yield _counter(
            "runestone_requests",
            "Requests answered.",
            ("api_key", "model", "provider", "status"),
            self.requests,
        )
        yield _counter(
            "runestone_attempts",
            "Calls to providers by outcome.",
            ("provider", "outcome"),
            self.attempts,
        )
        yield _counter(
            "runestone_streams_interrupted",
            "Streams that ended before the provider said they were whole.",
            ("provider", "reason"),
            self.interrupted,
        )
        yield _counter(
            "runestone_breaker_transitions",
            "Times that a provider's circuit breaker went to this state.",
            ("provider", "state"),
            self.breaker_transitions,
        )
        yield _counter(
            "runestone_credential_cooldowns",
            "Times that a provider, or one of its credentials, was to be left alone for a while.",
            ("provider", "reason"),
            self.cooldowns,
        )
        yield _counter(
            "runestone_health_checks",
            "Health checks sent to providers by outcome.",
            ("provider", "outcome"),
            self.health_checks,
        )
        yield _counter(
            "runestone_events",
            "What happened, by the closed set of events.",
            ("type",),
            {(type_,): count for type_, count in self.events.counts.items()},
        )
        yield CounterMetricFamily(
            "runestone_event_subscriber_failures",
            "Times that a part of the gateway failed on an event that it was told of.",
            value=self.events.failures,
        )
        yield from self._collect_spent()
        yield _histogram(
            "runestone_request_duration_seconds",
            "From the request's head to the last byte of the answer.",
            self.duration,
        )
        yield _histogram(
            "runestone_first_byte_seconds",
            "From the request's head to the first byte of the provider's answer.",
            self.first_byte,
        )

    def _count_transition(self, event: Event) -> None:
        self.breaker_transitions[event.provider or NONE, _CIRCUIT[event.type]] += 1

    def _by_provider(self) -> tuple[dict[tuple[str, str], int], ...]:
        """The families whose first label is a provider, and whose second is of a closed set."""
        return (
            self.attempts,
            self.interrupted,
            self.breaker_transitions,
            self.cooldowns,
            self.health_checks,
        )

    def _collect_spent(self) -> Iterator[Metric]:
        who = ("api_key", "model", "provider")
        tokens = CounterMetricFamily(
            "runestone_tokens", "Tokens as the provider counted them.", labels=(*who, "direction")
        )
        cost = CounterMetricFamily("runestone_cost_usd", "Tokens times their price.", labels=who)
        for labels, spent in dict(self.spent).items():
            tokens.add_metric((*labels, "input"), spent.input_tokens)
            tokens.add_metric((*labels, "output"), spent.output_tokens)
            cost.add_metric(labels, spent.cost_picodollars / 1e12)
        yield tokens
        yield cost


def _keep(family: dict[Any, Any], wanted: Callable[[Any], bool]) -> None:
    for labels in [labels for labels in family if not wanted(labels)]:
        del family[labels]


def _counter(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in dict(counts).items():
        given = (values,) if isinstance(values, str) else values
        family.add_metric([str(value) for value in given], count)
    return family


def _histogram(
    name: str, text: str, histograms: Mapping[tuple[str, str], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("model", "provider"))
    for labels, histogram in dict(histograms).items():
        family.add_metric(labels, histogram.buckets(), histogram.total_s)
    return family
