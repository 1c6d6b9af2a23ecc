"""/healthz, /readyz, /metrics and /sd/sidecars: for kubelet, Prometheus and the person on call."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Complaint = Callable[[], str | None]
"""What is wrong, or None."""
Targets = Callable[[], list[dict[str, Any]] | None]
"""What Prometheus is to scrape; None while that is not known."""


@contextlib.asynccontextmanager
async def serve_health(
    host: str,
    port: int,
    *,
    live: Complaint,
    ready: Complaint,
    registry: CollectorRegistry,
    sidecars: Targets,
) -> AsyncIterator[int]:
    """Serves while the context lasts; yields the port, which for 0 the kernel has chosen."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(live())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(ready())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def discovery(_: web.Request) -> web.Response:
        found = sidecars()
        if found is None:  # Prometheus keeps those that it has, which an empty list would end
            raise web.HTTPServiceUnavailable(text="not everything is known yet\n")
        return web.json_response(found)

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/sd/sidecars", discovery),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(complaint: str | None) -> web.Response:
    return web.Response(text=f"{complaint or 'ok'}\n", status=503 if complaint else 200)
