"""Alerts and dashboard: over metrics that are there, and each alert for what it is meant for."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from runestone_operator.metrics import Metrics as OperatorMetrics
from runestone_testing import tables
from runestone_testing.charts import of_kind, one, render
from runestone_testing.prometheus import (
    ALERTS,
    DASHBOARD,
    PrometheusMissingError,
    alerts,
    dashboard_queries,
    find_prometheus,
    labels_in,
    metrics_in,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kube
TARGET_LABELS = {"namespace", "pod", "instance", "le"}  # by discovery, and of histograms
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
MONITORS = {
    "monitoring": {
        name: {"enabled": True}
        for name in ("podMonitor", "serviceMonitor", "prometheusRule", "scrapeConfig", "dashboard")
    }
}


def known_metrics() -> dict[str, set[str]]:
    """Sample names of both programs, with their labels."""
    found: dict[str, set[str]] = {name: set() for name in PROCESS}
    for shown, type_, labels, _ in tables.metrics():
        _add(found, shown.strip("`"), type_, {label.strip(" `") for label in labels.split(",")})
    registry = OperatorMetrics().registry
    for collector in registry._collector_to_names:
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            _add(found, name, family.type, set(getattr(collector, "_labelnames", ())))
    return found


def _add(found: dict[str, set[str]], name: str, type_: str, labels: set[str]) -> None:
    ends = ("_bucket", "_sum", "_count") if type_ == "histogram" else ("",)
    found |= {f"{name}{end}": labels for end in ends}


QUERIES = [*dashboard_queries(), *alerts().items()]


def test_there_is_something_to_check() -> None:
    assert len(QUERIES) > 60
    assert all(metrics_in(expression) for _, expression in QUERIES)


def test_queries_are_over_metrics_and_labels_that_exist() -> None:
    known = known_metrics()
    for title, expression in QUERIES:
        unknown = metrics_in(expression) - known.keys()
        assert unknown == set(), title
        labels = {label for name in metrics_in(expression) for label in known[name]}
        assert labels_in(expression) - labels - TARGET_LABELS == set(), title


def test_the_board_can_be_read_by_grafana() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == {"row", "timeseries"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "timeseries":
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["legendFormat"] for target in panel["targets"])
            assert {t["datasource"]["uid"] for t in panel["targets"]} == {"${datasource}"}
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert variables == {"datasource", "namespace"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_what_the_chart_installs_is_what_is_tested_here() -> None:
    found = render(MONITORS)
    rule = of_kind(found, "PrometheusRule")[0]
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    config = one(found, "ConfigMap", "-prometheus")["data"]
    assert config.keys() == {"scrape.yaml", "alerts.yaml"}
    assert config["alerts.yaml"] == ALERTS.read_text()
    board = one(found, "ConfigMap", "-dashboard")
    assert json.loads(board["data"]["runestone.json"]) == json.loads(DASHBOARD.read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_monitors_find_ports_and_pods_that_are_there() -> None:
    found = render(MONITORS | {"gateway": {"enabled": True}})
    (monitor,) = of_kind(found, "PodMonitor")
    gateway = one(found, "Deployment", "-gateway")["spec"]["template"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= gateway["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    ports = [port["name"] for port in gateway["spec"]["containers"][0]["ports"]]
    assert endpoint["port"] in ports
    (monitor,) = of_kind(found, "ServiceMonitor")
    services = [
        service["metadata"]["name"]
        for service in of_kind(found, "Service")
        if monitor["spec"]["selector"]["matchLabels"].items()
        <= service["metadata"]["labels"].items()
        and monitor["spec"]["endpoints"][0]["port"] in {p["name"] for p in service["spec"]["ports"]}
    ]
    assert services == ["runestone-operator-metrics"]


def test_prometheus_is_sent_to_the_service_of_the_operator() -> None:
    found = render(MONITORS, release="blue", namespace="models")
    service = one(found, "Service", "-operator-metrics")
    (port,) = service["spec"]["ports"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    text = one(found, "ConfigMap", "-prometheus")["data"]["scrape.yaml"]
    sidecars, operator = yaml.safe_load(text)["scrape_configs"]
    (asked,) = sidecars["http_sd_configs"]
    assert asked["url"] == f"http://{host}:{port['port']}/sd/sidecars"
    assert operator["dns_sd_configs"][0]["names"] == [f"_{port['name']}._tcp.{host}"]


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return find_prometheus() / "promtool"
    except PrometheusMissingError as error:
        pytest.skip(str(error))


def test_promtool_accepts_the_alerts(promtool: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


EXPIRY = "runestone_operator_webhook_certificate_expiry_timestamp_seconds"
CALM = {
    'runestone_requests_total{namespace="a",status="200"}': "0+100x60",
    'runestone_requests_total{namespace="a",status="500"}': "0+1x60",
    'runestone_breaker_state{namespace="a",provider="p",pod="1"}': "2x60",
    'runestone_breaker_state{namespace="a",provider="p",pod="2"}': "0x60",
    'runestone_provider_health{namespace="a",provider="p"}': "0.95x60",
    'runestone_streams_interrupted_total{namespace="a",provider="p",reason="lost"}': "0+1x60",
    'runestone_streams_interrupted_total{namespace="a",provider="p",reason="draining"}': "0+99x60",
    'runestone_config_stale{namespace="a",pod="1"}': "0x20 1x3 0x37",
    'runestone_http_refusals_total{namespace="a",pod="1",reason="malformed"}': "0+100x60",
    'runestone_audit_records_total{namespace="a",pod="1",result="lost"}': "0x60",
    'runestone_nats_up{namespace="a",pod="1"}': "1x60",
    'runestone_limits_shared{namespace="a",pod="1"}': "1x60",
    'runestone_jobs_dead_letters_total{namespace="a"}': "0x60",
    'runestone_jobs_oldest_seconds{namespace="a"}': "600x60",
    'runestone_jobs_durable{namespace="a",pod="1"}': "1x60",
    'runestone_jobs_durable{namespace="a",pod="that knows not"}': " ".join(["NaN"] * 60),
    'runestone_jobs_look_age_seconds{namespace="a",pod="1"}': "5x60",
    'runestone_jobs_look_age_seconds{namespace="a",pod="runs none"}': "0x60",
    'runestone_jobs_lease_age_seconds{namespace="a",pod="1"}': "10x60",
    'runestone_jobs_attempt_age_seconds{namespace="a",pod="1"}': "3600x60",
    'runestone_jobs_taken_over_total{namespace="a",pod="1"}': "0x20 16x40",  # one has died
    'runestone_jobs_ended_total{namespace="a",pod="1",state="succeeded"}': "0+20x60",
    'runestone_operator_canary_age_seconds{pod="1"}': "1x60",
    'runestone_operator_nats_accounts{state="refused"}': "0x60",
    'runestone_operator_passes_total{stage="publish",outcome="error"}': "0 1 1x58",
    'runestone_operator_sidecars{state="behind"}': "0x60",
    "runestone_operator_uninjected_pods": "0x20 1x4 0x36",
    'runestone_operator_admissions_total{webhook="mutate-pods",outcome="refused"}': "0+10x60",
    'runestone_operator_admissions_total{webhook="mutate-pods",outcome="error"}': "0x60",
    f'{EXPIRY}{{pod="1"}}': f"{30 * 86_400}x60",
    f'{EXPIRY}{{pod="without a webhook"}}': "0x60",
}
NEVER = "_x60"
# By alert: what is otherwise than in calm times
TROUBLE: dict[str, dict[str, str]] = {
    "RunestoneErrors": {'runestone_requests_total{namespace="a",status="500"}': "0+10x60"},
    "RunestoneProviderDown": {
        'runestone_breaker_state{namespace="a",provider="p",pod="2"}': "2x60"
    },
    "RunestoneProviderSick": {'runestone_provider_health{namespace="a",provider="p"}': "0.5x60"},
    "RunestoneStreamsInterrupted": {
        'runestone_streams_interrupted_total{namespace="a",provider="p",reason="lost"}': "0+60x60"
    },
    "RunestoneConfigRefused": {'runestone_config_stale{namespace="a",pod="1"}': "1x60"},
    "RunestoneFull": {
        'runestone_http_refusals_total{namespace="a",pod="1",reason="full"}': "0+1x60"
    },
    "RunestoneAuditLost": {
        'runestone_audit_records_total{namespace="a",pod="1",result="lost"}': "0x25 3x35"
    },
    "RunestoneNatsDown": {'runestone_nats_up{namespace="a",pod="1"}': "0x60"},
    "RunestoneLimitsLocal": {'runestone_limits_shared{namespace="a",pod="1"}': "0x60"},
    "RunestoneJobsFail": {'runestone_jobs_dead_letters_total{namespace="a"}': "0x20 1x40"},
    "RunestoneJobsWait": {'runestone_jobs_oldest_seconds{namespace="a"}': "4000x60"},
    "RunestoneJobsNotDurable": {'runestone_jobs_durable{namespace="a",pod="1"}': "0x60"},
    "RunestoneJobsHang": {'runestone_jobs_look_age_seconds{namespace="a",pod="1"}': "0+60x60"},
    "RunestoneJobsTakenOver": {
        'runestone_jobs_taken_over_total{namespace="a",pod="1"}': "0+4x60",
        'runestone_jobs_ended_total{namespace="a",pod="1",state="succeeded"}': "0+1x60",
    },
    "RunestoneNatsAccountsRefused": {'runestone_operator_nats_accounts{state="refused"}': "2x60"},
    "RunestoneOperatorDown": {'runestone_operator_canary_age_seconds{pod="1"}': NEVER},
    "RunestoneOperatorDeaf": {'runestone_operator_canary_age_seconds{pod="1"}': "0+60x60"},
    "RunestoneOperatorFails": {
        'runestone_operator_passes_total{stage="publish",outcome="error"}': "0+1x60"
    },
    "RunestoneSidecarsBehind": {'runestone_operator_sidecars{state="behind"}': "2x60"},
    "RunestoneNotInjected": {"runestone_operator_uninjected_pods": "0x10 1x50"},
    "RunestoneAdmissionFails": {
        'runestone_operator_admissions_total{webhook="mutate-pods",outcome="error"}': "0x25 1x35"
    },
    "RunestoneWebhookCertificateExpires": {f'{EXPIRY}{{pod="1"}}': f"{13 * 86_400}x60"},
}


MORE_TROUBLE = [  # of alerts that several things set off
    (
        "RunestoneJobsHang",
        {'runestone_jobs_lease_age_seconds{namespace="a",pod="1"}': "0+60x60"},
    ),
    (
        "RunestoneJobsHang",
        {'runestone_jobs_attempt_age_seconds{namespace="a",pod="1"}': "7000+60x60"},
    ),
]


def rule_test(name: str, trouble: dict[str, str], firing: set[str]) -> dict[str, Any]:
    series = CALM | trouble
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "30m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)
                ],
            }
        ],
    }


def test_each_alert_is_for_its_trouble_and_none_for_calm(promtool: Path, tmp_path: Path) -> None:
    assert TROUBLE.keys() == alerts().keys()
    tests = [rule_test("calm", {}, set())]
    tests += [rule_test(name, trouble, {name}) for name, trouble in TROUBLE.items()]
    tests += [rule_test(name, trouble, {name}) for name, trouble in MORE_TROUBLE]
    file = tmp_path / "tests.yaml"
    wanted = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(wanted))
    done = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
