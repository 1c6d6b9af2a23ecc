"""The operator that the chart starts: its settings, its webhooks, and what it injects."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from runestone_operator.admission.server import MUTATE_PATH, VALIDATE_PATH
from runestone_operator.inject.sidecar import build_sidecar
from runestone_operator.settings import SidecarSettings
from runestone_sidecar.settings import read_settings
from runestone_testing.charts import NAMESPACE, of_kind, one, operator_settings, render, sidecar_env

pytestmark = pytest.mark.kube


def test_the_operator_takes_its_settings_as_the_values_mean_them() -> None:
    sidecar: dict[str, Any] = {
        "logLevel": "warning",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "env": [{"name": "RUNESTONE_AUDIT", "value": "stdout"}],
        "image": {"repository": "r.example.com/sidecar", "tag": "7", "pullPolicy": "Always"},
    }
    values = {"sidecar": sidecar, "operator": {"logLevel": "debug"}}
    settings = operator_settings(values, release="blue", namespace="gateways")
    assert (settings.namespace, settings.log_level) == ("gateways", "debug")
    assert settings.webhook is not None
    assert settings.webhook.sidecar == SidecarSettings(
        image="r.example.com/sidecar:7",
        pull_policy="Always",
        resources=sidecar["resources"],
        log_level="warning",
        nats_url="nats://blue-runestone-nats.gateways.svc:4222",
        env=settings.webhook.sidecar.env,
    )
    assert settings.webhook.sidecar.env[-1] == sidecar["env"][0]


@pytest.mark.parametrize("manager", [False, True], ids=["its own", "cert-manager"])
def test_the_operator_serves_the_webhooks_that_are_registered(manager: bool) -> None:
    values = {"webhook": {"certManager": {"enabled": manager}}}
    found = render(values, release="blue")
    settings = operator_settings(values, release="blue").webhook
    assert settings is not None
    mutating = one(found, "MutatingWebhookConfiguration")
    validating = one(found, "ValidatingWebhookConfiguration")
    assert settings.mutating == mutating["metadata"]["name"]
    assert settings.validating == validating["metadata"]["name"]
    hooks = [*mutating["webhooks"], *validating["webhooks"]]
    assert {h["clientConfig"]["service"]["name"] for h in hooks} == {settings.service}
    assert {h["clientConfig"]["service"]["path"] for h in hooks} == {MUTATE_PATH, VALIDATE_PATH}
    (container,) = one(found, "Deployment", "-operator")["spec"]["template"]["spec"]["containers"]
    assert {"name": "webhook", "containerPort": settings.port} in container["ports"]
    mounts = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
    assert mounts == ({str(settings.cert_dir)} if settings.cert_dir else set())
    if manager:
        (certificate,) = of_kind(found, "Certificate")
        assert f"{settings.service}.{NAMESPACE}.svc" in certificate["spec"]["dnsNames"]


def test_without_a_webhook_the_operator_serves_none() -> None:
    assert operator_settings({"webhook": {"enabled": False}}).webhook is None


def test_injected_sidecars_are_scraped_at_the_port_that_they_have() -> None:
    settings = operator_settings({}).webhook
    assert settings is not None
    sidecar = build_sidecar({"metadata": {}, "spec": {}}, settings.sidecar)
    ports = {port["name"] for port in sidecar["ports"]}
    monitor = one(render({"monitoring": {"podMonitor": {"enabled": True}}}), "PodMonitor")
    assert {e["port"] for e in monitor["spec"]["podMetricsEndpoints"]} <= ports
    gateway = one(render({"gateway": {"enabled": True}}), "Deployment", "-gateway")
    assert sidecar["name"] == gateway["spec"]["template"]["spec"]["containers"][0]["name"]


MONITORS = tuple(
    f"http://runestone-nats-{number}.runestone-nats-headless.{NAMESPACE}.svc:8222"
    for number in range(3)
)
HOOKS = {"atOnce": 4, "allowCIDRs": ["10.20.0.0/16", "fd00::/64"], "denyCIDRs": ["203.0.113.0/24"]}
ELSEWHERE = {"enabled": False, "url": "tls://n:4222"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param(
            {},
            {"nats_monitor_urls": MONITORS[:1], "nats_replicas": 1, "webhooks_at_once": 16},
            id="as it comes",
        ),
        pytest.param(
            {"nats": {"replicas": 3}},
            {"nats_monitor_urls": MONITORS, "nats_replicas": 3},
            id="three servers",
        ),
        pytest.param(
            {"nats": ELSEWHERE | {"monitorURL": "http://a:8222,http://b:8222", "copies": 5}},
            {"nats_monitor_urls": ("http://a:8222", "http://b:8222"), "nats_replicas": 5},
            id="servers elsewhere",
        ),
        pytest.param(
            {"nats": ELSEWHERE}, {"nats_monitor_urls": (), "nats_replicas": 1}, id="of few words"
        ),
        pytest.param(
            {"nats": {"enabled": False, "monitorURL": "http://a:8222", "copies": 5}},
            {"nats_monitor_urls": (), "nats_replicas": 1},
            id="no NATS",
        ),
        pytest.param(
            {"sidecar": {"jobWebhooks": HOOKS}},
            {
                "webhooks_at_once": 4,
                "webhook_allow": (IPv4Network("10.20.0.0/16"), IPv6Network("fd00::/64")),
                "webhook_deny": (IPv4Network("203.0.113.0/24"),),
            },
            id="webhooks",
        ),
        pytest.param({"sidecar": {"jobWebhooks": {"atOnce": 0}}}, {"webhooks_at_once": 0}, id="0"),
        pytest.param(
            {
                "nats": {"replicas": 3},
                "sidecar": {"env": [{"name": "NATS_REPLICAS", "value": "1"}]},
            },
            {"nats_replicas": 1},
            id="what env says wins",
        ),
    ],
)
def test_sidecars_and_gateways_are_told_the_same(
    values: dict[str, Any], told: dict[str, Any]
) -> None:
    gateway = one(render(values | {"gateway": {"enabled": True}}), "Deployment", "-gateway")
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    for env in (sidecar_env(values), {each["name"]: each["value"] for each in container["env"]}):
        settings = read_settings(env)
        assert {name: getattr(settings, name) for name in told} == told


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        pytest.param({}, 1 << 30, id="one server"),
        pytest.param({"replicas": 3}, 3 << 30, id="three, of which each has a copy"),
        pytest.param({"replicas": 3, "auth": {"namespaceGiB": 0}}, 0, id="no bound"),
        pytest.param(
            ELSEWHERE | {"auth": {"external": True, "namespaceGiB": 5000}},
            5000 << 30,
            id="elsewhere",
        ),
    ],
)
def test_what_a_namespace_may_store_is_of_each_copy(nats: dict[str, Any], expected: int) -> None:
    assert operator_settings({"nats": nats}).nats_limits.disk_bytes == expected


def test_sidecars_may_ask_nats_whether_it_syncs() -> None:
    found = render(
        {"nats": {"replicas": 3}, "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]}}
    )
    stateful = one(found, "StatefulSet", "-nats")
    headless = one(found, "Service", "-headless")
    ports = {port["name"]: port["port"] for port in headless["spec"]["ports"]}
    assert stateful["spec"]["serviceName"] == headless["metadata"]["name"]
    assert (
        tuple(
            f"http://{stateful['metadata']['name']}-{number}.{headless['metadata']['name']}"
            f".{NAMESPACE}.svc:{ports['monitor']}"
            for number in range(stateful["spec"]["replicas"])
        )
        == MONITORS
    )
    rules = one(found, "NetworkPolicy", "-nats")["spec"]["ingress"]
    (monitor,) = (rule for rule in rules if rule["ports"][0]["port"] == "monitor")
    (nats,) = (rule for rule in rules if rule["ports"][0]["port"] == "nats")
    sidecars = nats["from"][0]
    assert sidecars["podSelector"]["matchLabels"] == {"runestone.dev/inject": "true"}
    assert sidecars in monitor["from"]
    assert len(monitor["from"]) == 2
