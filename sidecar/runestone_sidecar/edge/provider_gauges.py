"""How each configured provider does, for Prometheus: read from its state when it asks."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.holder import Holder


class ProviderGauges(Collector):
    def __init__(self, holder: Holder, load: LoadStore) -> None:
        self._holder = holder
        self._load = load

    def collect(self) -> Iterator[Metric]:
        """May run on another thread: it reads single values of a snapshot that does not change."""
        state = GaugeMetricFamily(
            "runestone_breaker_state",
            "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.",
            labels=("provider",),
        )
        score = GaugeMetricFamily(
            "runestone_provider_health",
            "Moving average of what calls came to: 1 answers, 0 outages.",
            labels=("provider",),
        )
        snapshot, now_s = self._holder.current, self._load.now_s()
        for provider in snapshot.providers() if snapshot else []:
            load = self._load.of(provider.id)
            state.add_metric((provider.id,), int(load.breaker.state_at(now_s)))
            score.add_metric((provider.id,), load.score_at(now_s))
        yield state
        yield score
