"""Settings of the process, read once from the environment; what changes later is a Snapshot."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from runestone_contract.names import API_PORT, HEALTH_PORT

Network = IPv4Network | IPv6Network

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
    max_held_bytes: int = 256 * 1024 * 1024
    max_json_values: int = 400_000
    max_header_bytes: int = 64 * 1024
    max_headers: int = 100
    max_connections: int = 0  # 0: what the limit of open files allows
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0  # and a second for each 16 KiB
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 120.0
    max_waiting_bytes: int = 128 * 1024 * 1024
    audit: str = "off"  # where its records go: "stdout", or a file
    nats_urls: tuple[str, ...] = ()  # none: this sidecar is by itself
    nats_credentials: str | None = None
    nats_monitor_urls: tuple[str, ...] = ()
    nats_replicas: int = 1
    replicas: int = 1
    lease_s: float = 10.0
    jobs_at_once: int = 16
    jobs_max_bytes: int = 256 * 1024 * 1024
    jobs_silence_s: float = 30.0
    webhooks_at_once: int = 16
    webhook_allow: tuple[Network, ...] = ()  # of the special ones, that they may be sent to
    webhook_deny: tuple[Network, ...] = ()
    auth_plugins: tuple[str, ...] = ()  # entry points of `runestone.auth`, in the order asked


@dataclass(frozen=True, slots=True)
class Number:
    """A variable that holds a whole number; its default is the field's."""

    variable: str
    low: int
    high: int
    text: str


NUMBERS: Final = {
    "port": Number("PORT", 0, 65535, "the API's port"),
    "health_port": Number("HEALTH_PORT", 0, 65535, "the port of health and metrics"),
    "drain_s": Number(
        "RUNESTONE_DRAIN_SECONDS", 0, 3600, "how long SIGTERM waits for requests under way"
    ),
    "max_body_bytes": Number(
        "RUNESTONE_MAX_BODY_BYTES", 1024, 1 << 30, "the largest body of a request"
    ),
    "max_held_bytes": Number(
        "RUNESTONE_MAX_HELD_BYTES",
        0,
        1 << 40,
        "the most that all bodies over 64 KiB may take together",
    ),
    "max_json_values": Number(
        "RUNESTONE_MAX_JSON_VALUES",
        1000,
        100_000_000,
        "the most JSON values in a body over 256 KiB",
    ),
    "max_header_bytes": Number(
        "RUNESTONE_MAX_HEADER_BYTES", 1024, 1 << 20, "the largest head of a request"
    ),
    "max_headers": Number("RUNESTONE_MAX_HEADERS", 8, 10_000, "the most headers of a request"),
    "max_connections": Number(
        "RUNESTONE_MAX_CONNECTIONS",
        0,
        1 << 20,
        "the most connections of clients; 0 is what the limit of open files allows",
    ),
    "header_timeout_s": Number(
        "RUNESTONE_HEADER_TIMEOUT_SECONDS", 1, 3600, "from a head's first byte to its last"
    ),
    "body_timeout_s": Number(
        "RUNESTONE_BODY_TIMEOUT_SECONDS",
        1,
        3600,
        "from the head to the end of the body, and a second more for each 16 KiB",
    ),
    "idle_timeout_s": Number(
        "RUNESTONE_IDLE_TIMEOUT_SECONDS", 1, 3600, "how long a connection is kept without a request"
    ),
    "write_timeout_s": Number(
        "RUNESTONE_WRITE_TIMEOUT_SECONDS", 1, 3600, "how long a client may not read its answer"
    ),
    "nats_replicas": Number(
        "NATS_REPLICAS",
        1,
        5,
        "how many servers keep a copy of each stream that the sidecar makes in NATS",
    ),
    "replicas": Number(
        "RUNESTONE_REPLICAS",
        1,
        1000,
        "how many sidecars share the limits of the keys, as long as NATS was never reached",
    ),
    "lease_s": Number(
        "RUNESTONE_LEASE_SECONDS",
        3,
        300,
        "how long after its last sign of life a sidecar's share of the limits is its own",
    ),
    "max_waiting_bytes": Number(
        "RUNESTONE_MAX_WAITING_BYTES",
        0,
        1 << 36,
        "memory for requests that wait for a limit: each counts twice its body and 32 KiB",
    ),
    "jobs_at_once": Number(
        "RUNESTONE_JOBS_AT_ONCE", 0, 1000, "the most jobs that this sidecar runs; 0: none"
    ),
    "webhooks_at_once": Number(
        "RUNESTONE_WEBHOOKS_AT_ONCE",
        0,
        1000,
        "the most webhooks that this sidecar delivers at once, a fourth of one key; 0: none",
    ),
    "jobs_silence_s": Number(
        "RUNESTONE_JOBS_SILENCE_SECONDS",
        1,
        3600,
        "after how long without a sign of life a sidecar's jobs go to another",
    ),
    "jobs_max_bytes": Number(
        "RUNESTONE_JOBS_MAX_BYTES",
        1 << 16,
        1 << 40,
        "the most bytes that the namespace's queued requests take in NATS, their results again, and"
        " undelivered webhooks half as many",
    ),
}


@dataclass(frozen=True, slots=True)
class Text:
    variable: str
    default: str
    text: str


TEXTS: Final = {
    "config_dir": Text(
        "RUNESTONE_CONFIG_DIR", "/etc/runestone/config", "where the configuration is mounted"
    ),
    "credentials_dir": Text(
        "RUNESTONE_CREDENTIALS_DIR",
        "/etc/runestone/credentials",
        "where the providers' credentials are mounted",
    ),
    "host": Text("HOST", "127.0.0.1", "the API's address; by default for its own pod alone"),
    "health_host": Text("HEALTH_HOST", "0.0.0.0", "the address of health and metrics"),
    "service_account": Text(
        "RUNESTONE_SERVICE_ACCOUNT",
        "",
        "the pod's ServiceAccount, by which a request without a key may be known",
    ),
    "nats_urls": Text(
        "NATS_URL", "", "the NATS servers that join the namespace's sidecars; none: each by itself"
    ),
    "nats_credentials": Text(
        "NATS_CREDS",
        "",
        "a file with a NATS user's JWT and seed; none: `nats.creds` of the credentials, if there",
    ),
    "nats_monitor_urls": Text(
        "NATS_MONITOR_URL",
        "",
        "the NATS servers' monitoring ports, which tell whether they sync what they acknowledge",
    ),
    "webhook_allow": Text(
        "RUNESTONE_WEBHOOK_ALLOW_CIDRS",
        "",
        "networks that webhooks may be sent to though they are private or loopback",
    ),
    "webhook_deny": Text(
        "RUNESTONE_WEBHOOK_DENY_CIDRS",
        "",
        "networks that webhooks are never sent to, pods' and services' where these are not private",
    ),
    "auth_plugins": Text(
        "RUNESTONE_AUTH",
        "",
        "entry points of `runestone.auth` that know keys, in the order asked",
    ),
    "audit": Text(
        "RUNESTONE_AUDIT",
        "off",
        "where a record of every request goes: `off`, `stdout`, or the path of a file, which is"
        " appended to and synced once a second",
    ),
    "log_level": Text("LOG_LEVEL", "info", f"one of {', '.join(LOG_LEVELS)}"),
}


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError, which names the variable."""
    texts = {field: env.get(text.variable, text.default) for field, text in TEXTS.items()}
    level = texts["log_level"].lower()
    if level not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    audit = texts["audit"]
    if audit not in {"off", "stdout"} and "/" not in audit:  # a slip, more likely than a file
        raise SettingsError(
            f"RUNESTONE_AUDIT must be off, stdout or a path with a slash in it, not {audit!r}"
        )
    numbers: dict[str, Any] = {
        field: _read_number(env[number.variable], number)
        for field, number in NUMBERS.items()
        if number.variable in env
    }
    return Settings(
        config_dir=Path(texts["config_dir"]),
        credentials_dir=Path(texts["credentials_dir"]),
        host=texts["host"],
        health_host=texts["health_host"],
        audit=audit,
        service_account=texts["service_account"] or None,
        nats_urls=tuple(texts["nats_urls"].replace(",", " ").split()),
        nats_credentials=texts["nats_credentials"] or None,
        nats_monitor_urls=tuple(texts["nats_monitor_urls"].replace(",", " ").split()),
        auth_plugins=tuple(texts["auth_plugins"].replace(",", " ").split()),
        log_level=level,
        webhook_allow=_read_networks("webhook_allow", texts),
        webhook_deny=(*_read_networks("webhook_deny", texts), *_api_servers(env)),
        **numbers,
    )


def render_help() -> str:
    """The variables, a line each."""
    defaults: dict[str, Any] = {field.name: field.default for field in fields(Settings)}
    shown = [(text.variable, text.text, text.default or "none") for text in TEXTS.values()]
    for field, number in NUMBERS.items():
        shown.append((number.variable, number.text, f"{defaults[field]:.0f}"))
    width = max(len(variable) for variable, _, _ in shown)
    return "".join(f"  {name:{width}}  {text} ({default})\n" for name, text, default in shown)


def _read_networks(field: str, texts: Mapping[str, str]) -> tuple[Network, ...]:
    words = texts[field].replace(",", " ").split()
    try:
        return tuple(map(ip_network, words))
    except ValueError as error:
        raise SettingsError(
            f"{TEXTS[field].variable} must be networks such as 10.96.0.0/12, not {texts[field]!r}"
        ) from error


def _api_servers(env: Mapping[str, str]) -> tuple[Network, ...]:
    """What a pod in Kubernetes is told of it."""
    try:
        return (ip_network(env["KUBERNETES_SERVICE_HOST"]),)
    except (KeyError, ValueError):
        return ()


def _read_number(text: str, number: Number) -> int:
    if text.isascii() and text.isdigit() and number.low <= int(text) <= number.high:
        return int(text)
    raise SettingsError(
        f"{number.variable} must be a whole number from {number.low} to {number.high}, not {text!r}"
    )
