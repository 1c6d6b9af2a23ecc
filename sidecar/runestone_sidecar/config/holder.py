"""The one place that holds the serving Snapshot. A swap is one assignment; last good wins."""

import time
from collections.abc import Callable

from runestone_sidecar.config.snapshot import Snapshot
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.telemetry.metrics import Metrics


class Holder:
    def __init__(self, metrics: Metrics) -> None:
        self.current: Snapshot | None = None
        self.refused: str | None = None  # why the newest files are not what serves
        self._metrics = metrics
        self._on_swap: list[Callable[[Snapshot], None]] = []

    def on_swap(self, prune: Callable[[Snapshot], None]) -> None:
        """Stores that outlive reloads drop here what the new Snapshot no longer names."""
        self._on_swap.append(prune)

    def swap(self, snapshot: Snapshot) -> None:
        self.current = snapshot
        self.accept()
        self._metrics.traffic.events.emit(EventType.CONFIG_RELOAD)
        self._metrics.config_loaded.set(time.time())
        for kind, count in (
            ("pool", len(snapshot.pools)),
            ("key", len(snapshot.keys)),
            ("policy", len(snapshot.policies)),
        ):
            self._metrics.config_records.labels(kind).set(count)
        for prune in self._on_swap:
            prune(snapshot)

    def accept(self) -> None:
        """The files are what serves."""
        self.refused = None
        self._metrics.config_stale.set(0)

    def refuse(self, reason: str) -> None:
        if reason != self.refused:
            self._metrics.traffic.events.emit(EventType.CONFIG_REJECT, reason=reason)
        self.refused = reason
        self._metrics.config_stale.set(1)
