"""Every metric of the operator, declared once. Labels are closed sets: kinds, verbs and outcomes,
never a namespace or a name, of which a cluster may have any number."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.passes = Counter(
            "runestone_operator_passes_total",
            "Passes over a namespace: publish, deliver, report, account.",
            ("stage", "outcome"),
            registry=registry,
        )
        self.pass_duration = Histogram(
            "runestone_operator_pass_duration_seconds",
            "How long a pass took.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self.compile_duration = Histogram(
            "runestone_operator_compile_duration_seconds",
            "How long it took to compile one namespace.",
            buckets=SECONDS,
            registry=registry,
        )
        self.requests = Counter(
            "runestone_operator_api_requests_total",
            "Requests to the API server, watches left out.",
            ("verb", "kind", "outcome"),
            registry=registry,
        )
        self.namespaces = Gauge(
            "runestone_operator_namespaces", "Namespaces that are served.", registry=registry
        )
        self.resources = Gauge(
            "runestone_operator_resources", "Resources known.", ("kind",), registry=registry
        )
        self.sidecars = Gauge(
            "runestone_operator_sidecars",
            "Sidecars by whether they run the newest configuration.",
            ("state",),
            registry=registry,
        )
        self.published = Gauge(
            "runestone_operator_published_timestamp_seconds",
            "When a configuration was last written.",
            registry=registry,
        )
        self.leader = Gauge(
            "runestone_operator_leader", "Whether this is the one that writes.", registry=registry
        )
        self.rotations = Counter(
            "runestone_operator_key_rotations_total",
            "Generated client keys that were replaced.",
            ("cause",),
            registry=registry,
        )
        self.repairs = Counter(
            "runestone_operator_repairs_total",
            "Managed objects that another hand had changed and that were put right.",
            registry=registry,
        )
        self.missed = Counter(
            "runestone_operator_watch_missed_total",
            "Changes that the watch did not tell and the resync found.",
            ("kind",),
            registry=registry,
        )
        self.canary_age = Gauge(
            "runestone_operator_canary_age_seconds",
            "Since the watch last showed a change of the canary.",
            registry=registry,
        )
        self.admissions = Counter(
            "runestone_operator_admissions_total",
            "Requests of the API server to the admission webhook, by what was answered.",
            ("webhook", "outcome"),
            registry=registry,
        )
        self.admission_duration = Histogram(
            "runestone_operator_admission_duration_seconds",
            "How long an answer of the admission webhook took.",
            ("webhook",),
            buckets=(0.001, 0.0025, 0.005, *SECONDS),
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "runestone_operator_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate expires that the admission webhook serves with.",
            registry=registry,
        )
        self.uninjected = Gauge(
            "runestone_operator_uninjected_pods",
            "Pods that ask for a sidecar, themselves or by their namespace, and run without.",
            registry=registry,
        )
        self.nats_up = Gauge(
            "runestone_operator_nats_up",
            "1 while there is a connection to the NATS server whose accounts are kept.",
            registry=registry,
        )
        self.nats_accounts = Gauge(
            "runestone_operator_nats_accounts",
            "Namespaces by their NATS account: as it should be, refused by the server, or behind.",
            ("state",),
            registry=registry,
        )
        for state in ("current", "refused", "behind"):
            self.nats_accounts.labels(state)
        for stage in ("publish", "deliver", "report", "account"):
            for outcome in ("success", "error"):
                self.passes.labels(stage, outcome)
