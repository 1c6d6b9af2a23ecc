"""Liveness, readiness, what is applied, how providers do, and metrics. No key, no secret."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.telemetry.metrics import Metrics

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def _json(value: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


@dataclass(slots=True)
class Health:
    holder: Holder
    load: LoadStore
    metrics: Metrics
    draining: bool = False
    degraded: Callable[[], str | None] = lambda: None  # what does not work now, if anything

    def public_routes(self) -> list[Route]:
        return [Route("/health/live", self.live), Route("/health/ready", self.ready)]

    def routes(self) -> list[Route]:
        return [
            *self.public_routes(),
            Route("/health/config", self.config),
            Route("/health/providers", self.providers),
            Route("/metrics", self.scrape),
        ]

    async def live(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Ready means that a configuration serves, not that it is the newest."""
        if self.draining:
            return _json({"status": "draining"}, status=503)
        if self.holder.current is None:
            return _json({"status": "waiting for a configuration"}, status=503)
        if (reason := self.degraded()) is not None:
            return _json({"status": "degraded", "reason": reason})
        return _json({"status": "ok"})

    async def config(self, _: Request) -> Response:
        snapshot = self.holder.current
        return _json(
            {
                "digest": snapshot.digest if snapshot else None,
                "credentials": snapshot.credentials if snapshot else None,
                "namespace": snapshot.namespace if snapshot else None,
                "refused": self.holder.refused,
            }
        )

    async def providers(self, _: Request) -> Response:
        snapshot, now_s = self.holder.current, self.load.now_s()
        shown = []
        for provider in snapshot.providers() if snapshot else []:
            load = self.load.of(provider.id)
            shown.append(
                {
                    "provider": provider.id,
                    "available": provider.unavailable is None,
                    "reason": provider.unavailable,
                    "in_flight": load.in_flight,
                    "first_byte_ms": None
                    if load.first_byte_s is None
                    else round(load.first_byte_s * 1000, 1),
                    "breaker": load.breaker.state_at(now_s).name.lower(),
                    "breaker_wait_s": round(load.breaker.wait_s(now_s), 1),
                    "health": round(load.score_at(now_s), 3),
                    "cooldown_s": round(load.cooldowns.wait_s(provider.credentials, now_s), 1),
                }
            )
        return _json({"providers": shown})

    async def scrape(self, _: Request) -> Response:
        """Rendered off the loop: hundreds of histograms take tens of milliseconds."""
        text = await asyncio.to_thread(generate_latest, self.metrics.registry)
        return Response(text, media_type=_TEXT)
