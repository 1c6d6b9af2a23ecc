"""What waiting for a key's limit adds to the metrics; see traffic.py for why it is kept so."""

from collections import defaultdict
from collections.abc import Iterator, Set
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runestone_sidecar.telemetry.traffic import MAX_LABEL_SETS, Histogram

ADMITTED: Final = "admitted"
LEFT: Final = "left"  # the client
TIMED_OUT: Final = "timed_out"
FULL: Final = "full"  # it was not let in line
DRAINING: Final = "draining"
REFUSED: Final = "refused"  # the key was revoked, say, or its limit lowered beyond reach


class Waits(Collector):
    def __init__(self) -> None:
        self.waiting: defaultdict[str, int] = defaultdict(int)  # by api_key
        self.ended: defaultdict[tuple[str, str], int] = defaultdict(int)  # (api_key, outcome)
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)  # by outcome

    def begin(self, key: str) -> None:
        self.waiting[key] += 1

    def end(self, key: str, outcome: str, seconds: float) -> None:
        self.waiting[key] -= 1
        self.ended[key, outcome] += 1
        self.seconds[outcome].observe(seconds)

    def turn_away(self, key: str) -> None:
        self.ended[key, FULL] += 1

    def prune(self, keys: Set[str]) -> None:
        """Forgets what is configured no more, once it adds up."""
        if len(self.ended) < MAX_LABEL_SETS:
            return
        for key in [key for key, count in self.waiting.items() if not count and key not in keys]:
            del self.waiting[key]
        for labels in [labels for labels in self.ended if labels[0] not in keys]:
            del self.ended[labels]

    def collect(self) -> Iterator[Metric]:
        """May run on another thread: it copies before it walks."""
        waiting = GaugeMetricFamily(
            "runestone_waiting_requests", "Requests waiting for their limit.", labels=("api_key",)
        )
        for key, count in dict(self.waiting).items():
            waiting.add_metric((key,), count)
        yield waiting
        ended = CounterMetricFamily(
            "runestone_waiting_ended",
            "Requests that waited for their limit, or were not let in line, by what came of it.",
            labels=("api_key", "outcome"),
        )
        for labels, count in dict(self.ended).items():
            ended.add_metric(labels, count)
        yield ended
        seconds = HistogramMetricFamily(
            "runestone_waiting_seconds", "How long requests waited.", labels=("outcome",)
        )
        for outcome, histogram in dict(self.seconds).items():
            seconds.add_metric((outcome,), histogram.buckets(), histogram.total_s)
        yield seconds
