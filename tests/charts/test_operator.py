"""The operator that the chart starts: its settings, its webhooks, and what it injects."""

from __future__ import annotations

from typing import Any

import pytest

from runestone_operator.admission.server import MUTATE_PATH, VALIDATE_PATH
from runestone_operator.inject.sidecar import build_sidecar
from runestone_operator.settings import Settings, SidecarSettings, read_settings
from runestone_testing.charts import NAMESPACE, of_kind, one, render

pytestmark = pytest.mark.kube


def operator_settings(values: dict[str, Any], **render_as: str) -> Settings:
    """As the operator reads them that the chart starts."""
    found = one(render(values, **render_as), "Deployment", "-operator")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    own = {"metadata.namespace": found["metadata"]["namespace"], "metadata.name": "operator-0"}
    return read_settings(
        {
            each["name"]: each["value"]
            if "value" in each
            else own[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
    )


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
        env=tuple(sidecar["env"]),
    )


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
