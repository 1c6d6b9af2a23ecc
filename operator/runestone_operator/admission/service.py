"""Puts the admission webhook together: its certificate, its server, and who answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from runestone_operator.admission.pods import PodAdmission
from runestone_operator.admission.resources import validate
from runestone_operator.admission.review import Answer, Request
from runestone_operator.admission.server import AdmissionServer
from runestone_operator.certificate.keeper import Keeper
from runestone_operator.certificate.mounted import follow_mounted
from runestone_operator.certificate.serving import Serving
from runestone_operator.collect.cache import Cache
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube
from runestone_operator.settings import Settings, WebhookSettings

log = logging.getLogger(__name__)


class Admission:
    def __init__(self, settings: Settings, webhook: WebhookSettings, kube: Kube) -> None:
        self._settings = settings
        self._webhook = webhook
        self._kube = kube
        self._serving = Serving()
        self._server: AdmissionServer | None = None

    @property
    def is_ready(self) -> bool:
        return self._server is not None

    async def serve(self, cache: Cache, metrics: Metrics) -> None:
        """Until cancelled."""
        webhook = self._webhook
        pods = PodAdmission(cache, self._kube, webhook.sidecar)
        server = AdmissionServer(mutate=pods.answer, validate=_at_once(validate), metrics=metrics)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(metrics))
            await self._serving.loaded.wait()
            async with server.serve(
                self._settings.host, webhook.port, self._serving.context
            ) as port:
                self._server = server
                log.info("webhook serves", extra={"port": port})
                await asyncio.Event().wait()

    async def drain(self) -> None:
        """Goes on serving for as long as the API server may not know yet that we leave."""
        if self._server is not None:
            self._server.leave()
            await asyncio.sleep(self._webhook.linger_s)

    def _keep(self, metrics: Metrics) -> Coroutine[None, None, None]:
        webhook = self._webhook
        if webhook.cert_dir is not None:
            return follow_mounted(webhook.cert_dir, self._serving, metrics, check_s=webhook.check_s)
        namespace = self._settings.namespace
        return Keeper(self._kube, webhook, namespace, self._serving, metrics).serve()


def _at_once(answer: Callable[[Request], Answer]) -> Callable[[Request], Awaitable[Answer]]:
    async def answered(request: Request) -> Answer:
        return answer(request)

    return answered
