from __future__ import annotations

from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter

from runestone_operator.watch.health import serve_health


async def test_says_what_it_is_told() -> None:
    registry = CollectorRegistry()
    Counter("told", "Times.", registry=registry).inc()
    live: list[str | None] = [None]
    known: list[dict[str, Any]] | None = None
    health = serve_health(
        "127.0.0.1",
        0,
        live=lambda: live[0],
        ready=lambda: "not yet",
        registry=registry,
        sidecars=lambda: known,
    )
    async with health as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        well = await client.get("/healthz")
        live[0] = "the watch is dead"
        ill = await client.get("/healthz")
        ready = await client.get("/readyz")
        metrics = await client.get("/metrics")
        early = await client.get("/sd/sidecars")
        known = [{"targets": ["10.0.0.1:4004"], "labels": {"pod": "web"}}]
        found = await client.get("/sd/sidecars")
        other = await client.get("/config")

    assert (well.status_code, well.text) == (200, "ok\n")
    assert (ill.status_code, ill.text) == (503, "the watch is dead\n")
    assert (ready.status_code, ready.text) == (503, "not yet\n")
    assert "told_total 1.0" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert early.status_code == 503  # an empty list would have Prometheus forget what it has
    assert found.json() == known
    assert found.headers["content-type"].startswith("application/json")
    assert other.status_code == 404
