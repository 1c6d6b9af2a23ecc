"""An ApiKey's webhooks: where they may go, and which entry of the credentials signs them.

Without a usable secret the URLs stay in the record: clients that ask are told that it is not their
URL that is at fault.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from runestone_contract import config as wire
from runestone_operator.api.apikey import Webhooks
from runestone_operator.api.resource import ApiKey
from runestone_operator.compiler.credentials import (
    WEBHOOK,
    entry_name,
    find_webhook_secret,
    source_of,
)
from runestone_operator.compiler.inputs import Secrets, SecretSource
from runestone_operator.compiler.verdicts import Problem, listed


@dataclass(frozen=True, slots=True)
class CompiledWebhooks:
    record: wire.Webhooks | None = None
    entry: tuple[str, SecretSource] | None = None  # of the managed Secret
    problem: Problem | None = None


def compile_webhooks(key: ApiKey, secrets: Secrets) -> CompiledWebhooks:
    webhooks = webhooks_of(key)
    if webhooks is None:
        return CompiledWebhooks()
    urls = webhooks.allowed_urls
    source = source_of(key.meta.namespace, webhooks.secret_ref)
    found = find_webhook_secret(secrets, source, "overflow.webhooks.secretRef")
    if isinstance(found, Problem):
        return CompiledWebhooks(wire.Webhooks(allowed_urls=urls), problem=found)
    name = entry_name(WEBHOOK, source)
    return CompiledWebhooks(wire.Webhooks(allowed_urls=urls, secret=name), (name, source))


def webhooks_of(key: ApiKey) -> Webhooks | None:
    return key.spec.overflow.webhooks if key.spec.overflow else None


def webhook_notes(key: ApiKey) -> Iterator[str]:
    webhooks = webhooks_of(key)
    plain = [url for url in webhooks.allowed_urls if url.startswith("http:")] if webhooks else []
    if plain:
        yield f"overflow.webhooks.allowedURLs: results go unencrypted to {listed(plain)}"
