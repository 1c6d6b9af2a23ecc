"""The operator process's own settings, from its environment: read once, frozen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runestone_contract.names import HEALTH_PORT
from runestone_operator.errors import SettingsError

LOG_LEVELS = ("debug", "info", "warning", "error")
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Settings:
    namespace: str  # the operator's own: it keeps its canary there
    host: str = "0.0.0.0"  # kubelet probes and Prometheus come from outside the pod
    port: int = 8080
    sidecar_port: int = HEALTH_PORT
    log_level: str = "info"
    kubeconfig: str | None = None  # None: the pod's service account
    resync_s: float = 600
    canary_s: float = 30
    silence_s: float = 120  # a canary unheard for so long means a dead watch
    outage_s: float = 600  # without any answer for so long, the fault may be on our side


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError, which names the variable."""
    level = env.get("LOG_LEVEL", "info").lower()
    if level not in LOG_LEVELS:
        raise SettingsError("LOG_LEVEL", f"must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    return Settings(
        namespace=env.get("RUNESTONE_NAMESPACE") or _own_namespace(),
        host=env.get("HOST", "0.0.0.0"),
        port=_port(env, "PORT", 8080),
        sidecar_port=_port(env, "RUNESTONE_SIDECAR_PORT", HEALTH_PORT),
        log_level=level,
        kubeconfig=env.get("KUBECONFIG") or None,
        resync_s=_seconds(env, "RUNESTONE_RESYNC_SECONDS", 600),
        canary_s=_seconds(env, "RUNESTONE_CANARY_SECONDS", 30),
        silence_s=_seconds(env, "RUNESTONE_CANARY_SILENCE_SECONDS", 120),
        outage_s=_seconds(env, "RUNESTONE_OUTAGE_SECONDS", 600),
    )


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip()
    except OSError:
        problem = "must be set where no service account is mounted"
        raise SettingsError("RUNESTONE_NAMESPACE", problem) from None


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise SettingsError(name, f"must be a port, not {text!r}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86_400:
        raise SettingsError(name, f"must be seconds from 0.1 to 86400, not {text!r}")
    return seconds
