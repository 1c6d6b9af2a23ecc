"""How metrics are declared: each once, with every series of a closed set from the start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@dataclass(frozen=True, slots=True)
class Register:
    registry: CollectorRegistry

    def counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        """`labels`: their values. A series that begins at one has no rate."""
        made = Counter(name, text, tuple(labels), registry=self.registry)
        if labels:
            for values in product(*labels.values()):
                made.labels(*values)
        return made

    def gauge(
        self, name: str, text: str, read: Callable[[], float] | None = None, **labels: Sequence[str]
    ) -> Gauge:
        """`read` is called when Prometheus asks, maybe on another thread."""
        made = Gauge(name, text, tuple(labels), registry=self.registry)
        if read is not None:
            made.set_function(read)
        for values in product(*labels.values()) if labels else ():
            made.labels(*values)
        return made

    def histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        return Histogram(name, text, buckets=bounds, registry=self.registry)
