"""The operator process's own settings, from its environment: read once, frozen."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runestone_contract.names import HEALTH_PORT
from runestone_operator.errors import SettingsError
from runestone_operator.nats.limits import AccountLimits

LOG_LEVELS = ("debug", "info", "warning", "error")
_MOST = 1 << 50
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


PULL_POLICIES = ("Always", "IfNotPresent", "Never")
DEFAULT_RESOURCES: Final = {
    "requests": {"cpu": "50m", "memory": "96Mi"},
    "limits": {"memory": "512Mi"},  # none for the processor: being throttled is being slow
}
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """What is injected, unless a pod's annotations say otherwise."""

    image: str
    pull_policy: str = "IfNotPresent"
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: DEFAULT_RESOURCES)
    log_level: str = "info"
    nats_url: str = ""
    env: tuple[Mapping[str, Any], ...] = ()  # as a container has it: further settings


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Of the admission webhook. Its certificate is mounted, or else made and kept in a Secret."""

    sidecar: SidecarSettings
    port: int = 9443
    linger_s: float = 5.0  # the API server may call for so long after we were told to end
    cert_dir: Path | None = None
    service: str = "runestone-webhook"
    hosts: tuple[str, ...] = ()  # other names that the API server calls it by
    secret: str = "runestone-webhook-cert"
    mutating: str = "runestone-injector"
    validating: str = "runestone-validation"
    life_s: float = 90 * _DAY_S
    check_s: float = 5.0  # what stands in the cluster is compared with what should so often


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
    identity: str | None = None  # None: the only operator, which needs no election
    lease_s: float = 15
    outage_s: float = 600  # without any answer for so long, the fault may be on our side
    watchdog_s: float = 15
    webhook: WebhookSettings | None = None
    nats_urls: tuple[str, ...] = ()  # of the server whose accounts are ours; none: nobody's are
    nats_folder: str = "/data/jwt"  # where that server keeps its accounts
    nats_limits: AccountLimits = AccountLimits()


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError, which names the variable."""
    level = _choice(env, "LOG_LEVEL", "info", LOG_LEVELS)
    return Settings(
        namespace=env.get("RUNESTONE_NAMESPACE") or _own_namespace(),
        host=env.get("HOST", "0.0.0.0"),
        port=_port(env, "PORT", 8080),
        sidecar_port=_port(env, "RUNESTONE_SIDECAR_PORT", HEALTH_PORT),
        log_level=level,
        kubeconfig=env.get("KUBECONFIG") or None,
        resync_s=_seconds(env, "RUNESTONE_RESYNC_SECONDS", 600),
        identity=env.get("RUNESTONE_POD_NAME") or None,
        lease_s=_seconds(env, "RUNESTONE_LEASE_SECONDS", 15),
        canary_s=_seconds(env, "RUNESTONE_CANARY_SECONDS", 30),
        silence_s=_seconds(env, "RUNESTONE_CANARY_SILENCE_SECONDS", 120),
        outage_s=_seconds(env, "RUNESTONE_OUTAGE_SECONDS", 600),
        watchdog_s=_seconds(env, "RUNESTONE_WATCHDOG_SECONDS", 15),
        webhook=_webhook(env) if env.get("WEBHOOK_PORT") else None,
        nats_urls=tuple(env.get("RUNESTONE_NATS_ACCOUNTS_URL", "").replace(",", " ").split()),
        nats_folder=env.get("RUNESTONE_NATS_RESOLVER_DIR") or "/data/jwt",
        nats_limits=_account_limits(env),
    )


def _account_limits(env: Mapping[str, str]) -> AccountLimits:
    usual = AccountLimits()
    return AccountLimits(
        disk_bytes=_count(env, "RUNESTONE_NATS_DISK_BYTES", usual.disk_bytes),
        memory_bytes=_count(env, "RUNESTONE_NATS_MEMORY_BYTES", usual.memory_bytes),
        streams=_count(env, "RUNESTONE_NATS_STREAMS", usual.streams, low=1),
        consumers=_count(env, "RUNESTONE_NATS_CONSUMERS", usual.consumers, low=1),
        connections=_count(env, "RUNESTONE_NATS_CONNECTIONS", usual.connections, low=1),
    )


def _webhook(env: Mapping[str, str]) -> WebhookSettings:
    default = WebhookSettings(SidecarSettings(""))
    cert_dir = env.get("WEBHOOK_CERT_DIR")
    return WebhookSettings(
        sidecar=_sidecar(env),
        port=_port(env, "WEBHOOK_PORT", default.port),
        linger_s=_seconds(env, "WEBHOOK_LINGER_SECONDS", default.linger_s, low_s=0, high_s=60),
        cert_dir=Path(cert_dir) if cert_dir else None,
        service=env.get("WEBHOOK_SERVICE", default.service),
        hosts=tuple(env.get("WEBHOOK_HOSTS", "").replace(",", " ").split()),
        secret=env.get("WEBHOOK_CERT_SECRET", default.secret),
        mutating=env.get("WEBHOOK_MUTATING_NAME", default.mutating),
        validating=env.get("WEBHOOK_VALIDATING_NAME", default.validating),
        life_s=_seconds(env, "WEBHOOK_CERT_SECONDS", default.life_s, high_s=3650 * _DAY_S),
        check_s=_seconds(env, "WEBHOOK_CHECK_SECONDS", default.check_s),
    )


def _sidecar(env: Mapping[str, str]) -> SidecarSettings:
    image = env.get("RUNESTONE_SIDECAR_IMAGE", "")
    if not image:
        raise SettingsError("RUNESTONE_SIDECAR_IMAGE", "must be set where there is a WEBHOOK_PORT")
    return SidecarSettings(
        image=image,
        pull_policy=_choice(
            env, "RUNESTONE_SIDECAR_PULL_POLICY", "IfNotPresent", PULL_POLICIES, exact=True
        ),
        resources=_resources(env, "RUNESTONE_SIDECAR_RESOURCES"),
        log_level=_choice(env, "RUNESTONE_SIDECAR_LOG_LEVEL", "info", LOG_LEVELS),
        nats_url=env.get("NATS_URL", ""),
        env=_variables(env, "RUNESTONE_SIDECAR_ENV"),
    )


def _resources(env: Mapping[str, str], name: str) -> Mapping[str, Mapping[str, str]]:
    given = _json(env, name, DEFAULT_RESOURCES)
    if not isinstance(given, dict) or not all(isinstance(part, dict) for part in given.values()):
        raise SettingsError(name, "must be a container's `resources` as JSON")
    return {
        part: {str(what): str(amount) for what, amount in amounts.items()}
        for part, amounts in given.items()
    }


def _variables(env: Mapping[str, str], name: str) -> tuple[Mapping[str, Any], ...]:
    given = _json(env, name, [])
    if not isinstance(given, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in given
    ):
        raise SettingsError(name, "must be a container's `env` as JSON")
    return tuple(given)


def _json(env: Mapping[str, str], name: str, default: object) -> object:
    text = env.get(name)
    if not text:
        return default
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(name, "must be JSON") from None


def _choice(
    env: Mapping[str, str],
    name: str,
    default: str,
    choices: tuple[str, ...],
    *,
    exact: bool = False,
) -> str:
    text = env.get(name, default)
    text = text if exact else text.lower()
    if text not in choices:
        raise SettingsError(name, f"must be one of {', '.join(choices)}, not {text!r}")
    return text


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


def _count(env: Mapping[str, str], name: str, default: int, *, low: int = 0) -> int:
    text = env.get(name, str(default))
    if text.isascii() and text.isdigit() and low <= int(text) <= _MOST:
        return int(text)
    raise SettingsError(name, f"must be a whole number from {low} to {_MOST}, not {text!r}")


def _seconds(
    env: Mapping[str, str],
    name: str,
    default: float,
    *,
    low_s: float = 0.1,
    high_s: float = _DAY_S,
) -> float:
    text = env.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not low_s <= seconds <= high_s:
        raise SettingsError(name, f"must be seconds from {low_s:g} to {high_s:.0f}, not {text!r}")
    return seconds
