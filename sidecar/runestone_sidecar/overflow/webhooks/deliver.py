"""A webhook's next attempt: by the configuration of now, signed now, and sent."""

import logging
import time
from dataclasses import dataclass

from runestone_sidecar.overflow.principals import Principals
from runestone_sidecar.overflow.webhooks.event import Webhook
from runestone_sidecar.overflow.webhooks.metrics import Outcome
from runestone_sidecar.overflow.webhooks.post import Answer, Poster
from runestone_sidecar.overflow.webhooks.rules import Rules
from runestone_sidecar.overflow.webhooks.signing import signature
from runestone_sidecar.overflow.webhooks.urls import BadUrl, allows, parse_url
from runestone_sidecar.upstream.outgoing import render_headers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivering:
    principals: Principals
    rules: Rules
    poster: Poster

    async def deliver(self, webhook: Webhook) -> Answer:
        """Whatever happens is an Answer: a fault of ours must not lose a webhook."""
        try:
            return await self._deliver(webhook)
        except Exception:
            log.exception("the webhook of job %s failed inside", webhook.job_id)
            return Answer(Outcome.FAULT)

    async def _deliver(self, webhook: Webhook) -> Answer:
        principal = self.principals.find(webhook.key_id)
        secrets = self.rules.secrets_of(principal) if principal else None
        if principal is None or secrets is None:
            return Answer(Outcome.UNSIGNED)
        try:
            url = parse_url(webhook.url)
        except BadUrl:
            return Answer(Outcome.NOT_ALLOWED)
        assert principal.webhooks is not None  # it has secrets
        if not allows(principal.webhooks.allowed_urls, url):
            return Answer(Outcome.NOT_ALLOWED)
        return await self.poster.post(url, _headers(webhook, secrets), webhook.body)


def _headers(webhook: Webhook, secrets: tuple[bytes, ...]) -> bytes:
    """All of them are ours: nothing that a client sent is in any."""
    now_s = int(time.time())
    signed = signature(secrets, webhook.id, now_s, webhook.body)
    return render_headers(
        (
            (b"content-type", b"application/json"),
            (b"user-agent", b"runestone"),
            (b"accept", b"*/*"),
            (b"webhook-id", webhook.id.encode()),
            (b"webhook-timestamp", str(now_s).encode()),
            (b"webhook-signature", signed.encode()),
        )
    )
