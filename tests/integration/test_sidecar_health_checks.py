"""Active health checks in the real process: an outage is known before a request meets it."""

from pathlib import Path
from typing import Any

from runestone_contract.config import CircuitBreaker, Config, HealthCheck
from runestone_testing import bundles
from runestone_testing.echo import running_echo
from runestone_testing.provider import refusing_port
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until

ID = "shop/pool/main"


def checked(url: str) -> Config:
    active = {
        "health_check": HealthCheck(mode="Active", interval_ms=50),
        "circuit_breaker": CircuitBreaker(failure_threshold=3, open_for_ms=60_000),
    }
    return bundles.config(bundles.provider(url).model_copy(update=active))


def shown(sidecar: Sidecar) -> dict[str, Any]:
    found: dict[str, Any] = sidecar.get("/health/providers")[1]["providers"][0]
    return found


def test_an_outage_is_found_and_a_new_address_is_followed(tmp_path: Path) -> None:
    with running_echo() as echo, refusing_port() as port:
        bundles.publish(tmp_path, checked(f"http://127.0.0.1:{port}/v1"))
        with running_sidecar(tmp_path, tmp_path) as sidecar:
            wait_until("the breaker opens", lambda: shown(sidecar)["breaker"] == "open")
            assert 0 < shown(sidecar)["breaker_wait_s"] <= 60
            failed = {"provider": ID, "outcome": "connect_failed"}
            assert sidecar.metric("runestone_health_checks_total", **failed) == 3
            assert sidecar.metric("runestone_breaker_state", provider=ID) == 2
            sidecar.wait_for_digest(bundles.publish(tmp_path, checked(echo.url)))
            assert shown(sidecar)["breaker"] == "closed"
            wait_until("the new address is asked", lambda: _others(sidecar) > 0)
            wait_until("it is well", lambda: shown(sidecar)["health"] == 1.0)  # a check may fail
            assert sidecar.stop() == 0


def _others(sidecar: Sidecar) -> int:
    text = sidecar.get("/metrics")[1]
    return sum(
        "runestone_health_checks_total{" in line and "connect_failed" not in line
        for line in text.splitlines()
    )
