"""/healthz, /readyz and /metrics: for kubelet, Prometheus and the person on call."""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Complaint = Callable[[], str | None]
"""What is wrong, or None."""


@contextlib.asynccontextmanager
async def serve_health(
    host: str, port: int, *, live: Complaint, ready: Complaint, registry: CollectorRegistry
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

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
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
