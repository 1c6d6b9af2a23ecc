"""Settings of the process, read once from the environment; what changes later is a Snapshot."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runestone_contract.names import API_PORT, HEALTH_PORT

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """The environment says what cannot be meant, or cannot be done."""


@dataclass(frozen=True, slots=True)
class Settings:
    config_dir: Path
    credentials_dir: Path
    host: str = "127.0.0.1"
    port: int = API_PORT
    health_host: str = "0.0.0.0"  # kubelet probes and Prometheus come from outside the pod
    health_port: int = HEALTH_PORT
    service_account: str | None = None
    log_level: str = "info"
    drain_s: float = 25.0  # kubelet's grace is 30 s unless the pod says otherwise
    max_body_bytes: int = 32 * 1024 * 1024


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError, which names the variable."""
    level = env.get("LOG_LEVEL", "info").lower()
    if level not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    return Settings(
        config_dir=Path(env.get("RUNESTONE_CONFIG_DIR", "/etc/runestone/config")),
        credentials_dir=Path(env.get("RUNESTONE_CREDENTIALS_DIR", "/etc/runestone/credentials")),
        host=env.get("HOST", "127.0.0.1"),
        port=_number(env, "PORT", API_PORT, low=0, high=65535),
        health_host=env.get("HEALTH_HOST", "0.0.0.0"),
        health_port=_number(env, "HEALTH_PORT", HEALTH_PORT, low=0, high=65535),
        service_account=env.get("RUNESTONE_SERVICE_ACCOUNT") or None,
        log_level=level,
        drain_s=_number(env, "RUNESTONE_DRAIN_SECONDS", 25, low=0, high=3600),
        max_body_bytes=_number(
            env, "RUNESTONE_MAX_BODY_BYTES", 32 * 1024 * 1024, low=1024, high=1 << 30
        ),
    )


def _number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = env.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)
