"""A receiver of webhooks on a port, and jobs whose webhooks go there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

from runestone_contract.config import Webhooks
from runestone_testing import canaries
from runestone_testing.job_stand import HOOK_ENTRY, HOOK_SECRET, JobStand, job_stand, key
from runestone_testing.provider import Answer, Provider, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from runestone_contract.config import Key
    from runestone_testing.provider import Request

HEADER = "runestone-webhook-url"
TAKEN = reply(b"", 204)
LOOPBACK = {"RUNESTONE_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8"}


def verified(request: Request) -> Any:
    """What it says, once the signature is found good by the standard's own library."""
    return Webhook(HOOK_SECRET).verify(request.body, dict(request.headers))


def webhooks(*urls: str, secret: str | None = HOOK_ENTRY) -> Webhooks:
    return Webhooks(allowed_urls=urls, secret=secret)


def hooked(*urls: str, secret: str | None = HOOK_ENTRY, **more: Any) -> Key:
    """A key that may have webhooks there."""
    return key(webhooks=webhooks(*urls, secret=secret), **more)


@asynccontextmanager
async def hook_stand(
    receiver_answer: Answer = TAKEN, *, own: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[JobStand, Provider]]:
    """A stand with one key whose webhooks may go anywhere below /hooks/ of a receiver."""
    async with Provider(receiver_answer) as receiver:
        one = hooked(f"{receiver.url}/hooks/*", **(own or {}))
        async with job_stand(one, **{**LOOPBACK, **more}) as stand:
            yield stand, receiver


def url_of(receiver: Provider, token: str = canaries.WEBHOOK_TOKEN) -> str:
    return f"{receiver.url}/hooks/done?token={token}"
