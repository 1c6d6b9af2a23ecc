"""The HTTPS server that the API server calls. Every replica of the operator serves.

What is an AdmissionReview is answered with one, whatever goes wrong within: by the webhook's own
failure nobody is refused, and a pod that goes without is reported by the watchdog.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from aiohttp import web

from runestone_operator.admission.review import (
    Answer,
    MalformedError,
    Request,
    parse_review,
    render_review,
)
from runestone_operator.metrics import Metrics

log = logging.getLogger(__name__)

MUTATE_PATH: Final = "/mutate-pods"
VALIDATE_PATH: Final = "/validate"
BODY_LIMIT_BYTES: Final = 8 * 1024 * 1024  # a request to the API server is at most 3 MiB
RECEIVE_S: Final = 10.0
HANDSHAKE_S: Final = 10.0
IDLE_S: Final = 90.0

Handler = Callable[[Request], Awaitable[Answer]]


class AdmissionServer:
    def __init__(self, *, mutate: Handler, validate: Handler, metrics: Metrics) -> None:
        self._metrics = metrics
        self._is_leaving = False
        self._app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        self._app.add_routes(
            [
                web.post(MUTATE_PATH, self._handler("mutate-pods", mutate)),
                web.post(VALIDATE_PATH, self._handler("validate", validate)),
            ]
        )

    @contextlib.asynccontextmanager
    async def serve(self, host: str, port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
        """Serves while the context lasts; yields the port, which for 0 the kernel has chosen."""
        runner = web.AppRunner(
            self._app, access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=2
        )
        await runner.setup()
        assert runner.server is not None
        try:
            listener = await asyncio.get_running_loop().create_server(
                runner.server,
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=2,
            )
            try:
                yield listener.sockets[0].getsockname()[1]
            finally:
                listener.close()
        finally:
            await runner.cleanup()

    def leave(self) -> None:
        """From now on every connection ends with its next answer: the next call goes to another."""
        self._is_leaving = True

    def _handler(
        self, webhook: str, answer: Handler
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            started_s = time.monotonic()
            try:
                async with asyncio.timeout(RECEIVE_S):
                    body = await request.read()
                asked = parse_review(body)
            except TimeoutError:
                return self._refuse(webhook, 408)
            except MalformedError:
                return self._refuse(webhook, 400)
            given = await self._answer(webhook, answer, asked)
            self._metrics.admissions.labels(webhook, given.outcome).inc()
            self._metrics.admission_duration.labels(webhook).observe(time.monotonic() - started_s)
            return self._response(
                web.Response(body=render_review(asked.uid, given), content_type="application/json")
            )

        return handle

    async def _answer(self, webhook: str, answer: Handler, asked: Request) -> Answer:
        try:
            return await answer(asked)
        except Exception:
            log.exception("admission failed", extra={"webhook": webhook, "kind": asked.kind})
            return Answer("error", warnings=("runestone: internal error, let through as it is",))

    def _refuse(self, webhook: str, status: int) -> web.Response:
        self._metrics.admissions.labels(webhook, "malformed").inc()
        response = web.Response(status=status, text="an AdmissionReview is expected\n")
        response.force_close()
        return self._response(response)

    def _response(self, response: web.Response) -> web.Response:
        if self._is_leaving:
            response.force_close()
        return response
