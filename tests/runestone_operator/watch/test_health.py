from __future__ import annotations

import httpx
from prometheus_client import CollectorRegistry, Counter

from runestone_operator.watch.health import serve_health


async def test_says_what_it_is_told() -> None:
    registry = CollectorRegistry()
    Counter("told", "Times.", registry=registry).inc()
    live: list[str | None] = [None]
    health = serve_health(
        "127.0.0.1", 0, live=lambda: live[0], ready=lambda: "not yet", registry=registry
    )
    async with health as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        well = await client.get("/healthz")
        live[0] = "the watch is dead"
        ill = await client.get("/healthz")
        ready = await client.get("/readyz")
        metrics = await client.get("/metrics")
        other = await client.get("/config")

    assert (well.status_code, well.text) == (200, "ok\n")
    assert (ill.status_code, ill.text) == (503, "the watch is dead\n")
    assert (ready.status_code, ready.text) == (503, "not yet\n")
    assert "told_total 1.0" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert other.status_code == 404
