from __future__ import annotations

from pathlib import Path

import pytest

from runestone_operator.errors import SettingsError
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.settings import (
    Settings,
    SidecarSettings,
    WebhookSettings,
    read_settings,
)

NEEDED = {"RUNESTONE_NAMESPACE": "runestone-system"}


def test_defaults() -> None:
    assert read_settings(NEEDED) == Settings(namespace="runestone-system")


def test_everything_can_be_set() -> None:
    env = NEEDED | {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "RUNESTONE_SIDECAR_PORT": "4014",
        "LOG_LEVEL": "Debug",
        "KUBECONFIG": "/kube/config",
        "RUNESTONE_RESYNC_SECONDS": "60",
        "RUNESTONE_CANARY_SECONDS": "0.5",
        "RUNESTONE_CANARY_SILENCE_SECONDS": "5",
        "RUNESTONE_OUTAGE_SECONDS": "50",
        "RUNESTONE_WATCHDOG_SECONDS": "7",
        "RUNESTONE_POD_NAME": "operator-1",
        "RUNESTONE_LEASE_SECONDS": "20",
        "RUNESTONE_NATS_ACCOUNTS_URL": "nats://one:4222, nats://two:4222",
        "RUNESTONE_NATS_RESOLVER_DIR": "/jwt",
        "RUNESTONE_NATS_DISK_BYTES": "2097152",
        "RUNESTONE_NATS_MEMORY_BYTES": "1",
        "RUNESTONE_NATS_STREAMS": "2",
        "RUNESTONE_NATS_CONSUMERS": "3",
        "RUNESTONE_NATS_CONNECTIONS": "4",
    }
    assert read_settings(env) == Settings(
        namespace="runestone-system",
        host="127.0.0.1",
        port=0,
        sidecar_port=4014,
        log_level="debug",
        kubeconfig="/kube/config",
        resync_s=60,
        canary_s=0.5,
        silence_s=5,
        outage_s=50,
        watchdog_s=7,
        identity="operator-1",
        lease_s=20,
        nats_urls=("nats://one:4222", "nats://two:4222"),
        nats_folder="/jwt",
        nats_limits=AccountLimits(2097152, 1, 2, 3, 4),
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("PORT", "-1"),
        ("RUNESTONE_SIDECAR_PORT", ""),
        ("LOG_LEVEL", "loud"),
        ("RUNESTONE_RESYNC_SECONDS", "0"),
        ("RUNESTONE_CANARY_SECONDS", "nan"),
        ("RUNESTONE_OUTAGE_SECONDS", "10m"),
        ("RUNESTONE_NATS_DISK_BYTES", "1Gi"),
        ("RUNESTONE_NATS_STREAMS", "-1"),
        ("RUNESTONE_NATS_CONSUMERS", "many"),
    ],
    ids=lambda value: value or "empty",
)
def test_what_cannot_be_meant_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        read_settings(NEEDED | {variable: value})
    assert refused.value.variable == variable


def test_a_namespace_is_needed_outside_of_a_cluster() -> None:
    with pytest.raises(SettingsError, match="RUNESTONE_NAMESPACE must be set"):
        read_settings({})


WEBHOOK = NEEDED | {"WEBHOOK_PORT": "9443", "RUNESTONE_SIDECAR_IMAGE": "sidecar:1"}


def test_a_port_turns_the_webhook_on() -> None:
    assert read_settings(NEEDED).webhook is None
    assert read_settings(WEBHOOK).webhook == WebhookSettings(SidecarSettings("sidecar:1"))


def test_everything_of_the_webhook_can_be_set() -> None:
    env = WEBHOOK | {
        "WEBHOOK_SERVICE": "blue-webhook",
        "WEBHOOK_HOSTS": "10.0.0.1, webhook.example",
        "WEBHOOK_CERT_SECRET": "blue-webhook-cert",
        "WEBHOOK_CERT_SECONDS": "31536000",
        "WEBHOOK_CERT_DIR": "/certificate",
        "WEBHOOK_MUTATING_NAME": "blue-injector",
        "WEBHOOK_VALIDATING_NAME": "blue-validation",
        "WEBHOOK_CHECK_SECONDS": "1",
        "WEBHOOK_LINGER_SECONDS": "0",
        "RUNESTONE_SIDECAR_PULL_POLICY": "Always",
        "RUNESTONE_SIDECAR_LOG_LEVEL": "Debug",
        "RUNESTONE_SIDECAR_RESOURCES": '{"limits": {"cpu": 1}}',
        "RUNESTONE_SIDECAR_ENV": '[{"name": "A", "value": "b"}]',
        "NATS_URL": "nats://nats:4222",
    }
    assert read_settings(env).webhook == WebhookSettings(
        sidecar=SidecarSettings(
            image="sidecar:1",
            pull_policy="Always",
            resources={"limits": {"cpu": "1"}},
            log_level="debug",
            nats_url="nats://nats:4222",
            env=({"name": "A", "value": "b"},),
        ),
        port=9443,
        linger_s=0,
        cert_dir=Path("/certificate"),
        service="blue-webhook",
        hosts=("10.0.0.1", "webhook.example"),
        secret="blue-webhook-cert",
        mutating="blue-injector",
        validating="blue-validation",
        life_s=31_536_000,
        check_s=1,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOK_PORT", "https"),
        ("WEBHOOK_LINGER_SECONDS", "61"),
        ("WEBHOOK_CERT_SECONDS", "-1"),
        ("RUNESTONE_SIDECAR_IMAGE", ""),
        ("RUNESTONE_SIDECAR_PULL_POLICY", "always"),
        ("RUNESTONE_SIDECAR_LOG_LEVEL", "loud"),
        ("RUNESTONE_SIDECAR_RESOURCES", "cpu=1"),
        ("RUNESTONE_SIDECAR_RESOURCES", '{"limits": 1}'),
        ("RUNESTONE_SIDECAR_ENV", '{"A": "b"}'),
        ("RUNESTONE_SIDECAR_ENV", "[1]"),
    ],
    ids=lambda value: value or "empty",
)
def test_what_cannot_be_meant_of_the_webhook_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(WEBHOOK | {variable: value})
    assert refused.value.variable == variable
