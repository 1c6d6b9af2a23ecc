"""The registry: what traffic adds up to, what the configuration does, and the process itself."""

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.telemetry.register import Register
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.telemetry.waits import Waits


class Metrics:
    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series a child
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.traffic = Traffic()
        registry.register(self.traffic)
        self.waits = Waits()
        registry.register(self.waits)
        made = Register(registry)
        reloads = made.counter(
            "runestone_config_reloads_total",
            "Configurations seen in the mounted directory.",
            result=("applied", "refused"),
        )
        events = self.traffic.events
        events.subscribe(lambda _: reloads.labels("applied").inc(), EventType.CONFIG_RELOAD)
        events.subscribe(lambda _: reloads.labels("refused").inc(), EventType.CONFIG_REJECT)
        self.audit_records = made.counter(
            "runestone_audit_records_total",
            "Audit records, by whether they were written or lost for want of room.",
            result=("written", "lost"),
        )
        self.config_stale = made.gauge(
            "runestone_config_stale",
            "1 while the newest configuration is refused and the last good one serves.",
        )
        self.config_loaded = made.gauge(
            "runestone_config_loaded_timestamp_seconds",
            "When the serving configuration was loaded.",
        )
        self.config_records = made.gauge(
            "runestone_config_records", "Records that serve.", kind=("pool", "key", "policy")
        )
