from __future__ import annotations

import pytest

from runestone_operator.errors import SettingsError
from runestone_operator.settings import Settings, read_settings

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
