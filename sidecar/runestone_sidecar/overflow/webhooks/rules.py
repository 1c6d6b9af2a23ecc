"""What a client may ask for, before its request is promised to be run."""

from dataclasses import dataclass
from typing import Final

from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.errors import BadRequest
from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.overflow.webhooks.signing import BadSecret, parse_secrets
from runestone_sidecar.overflow.webhooks.urls import BadUrl, WebhookUrl, allows, parse_url
from runestone_sidecar.pipeline.jobs import WEBHOOK_HEADER

NOT_ALLOWED: Final = "webhook_not_allowed"


@dataclass(frozen=True, slots=True)
class Rules:
    holder: Holder
    guard: Guard

    def check(self, principal: Principal, text: str) -> None:
        """Raises BadRequest."""
        webhooks = principal.webhooks
        if webhooks is None:
            raise _refusal("This API key has no webhooks.", NOT_ALLOWED)
        try:
            url = parse_url(text)
        except BadUrl as error:
            raise _refusal(
                f"The webhook's URL is refused: {error}.", "invalid_webhook_url"
            ) from error
        if not allows(webhooks.allowed_urls, url):
            raise _refusal("This API key may not have webhooks at this URL.", NOT_ALLOWED)
        if not self._may_be_reached(url):
            raise _refusal("Webhooks are not sent to addresses like this one.", NOT_ALLOWED)
        if self.secrets_of(principal) is None:
            raise _refusal(
                "This API key's webhooks cannot be signed: its secret is missing.",
                "webhook_unsigned",
            )

    def secrets_of(self, principal: Principal) -> tuple[bytes, ...] | None:
        snapshot = self.holder.current
        text = snapshot.webhook_secret_of(principal) if snapshot else None
        try:
            return parse_secrets(text) if text else None
        except BadSecret:
            return None

    def _may_be_reached(self, url: WebhookUrl) -> bool:
        if url.address is not None:
            return self.guard.admits(url.address, url.port)
        return self.guard.admits_name(url.host, url.port)


def _refusal(message: str, code: str) -> BadRequest:
    return BadRequest(message, param=WEBHOOK_HEADER, code=code)
