"""Outages as clients see them: a provider that fails, a spare one, and a clock of our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from runestone_contract.config import CircuitBreaker, Pool, Provider
from runestone_sidecar.admit.load import ProviderLoad
from runestone_sidecar.config.snapshot import Provider as Configured
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.provider import json_reply

OK = json_reply(completion("fine"))
BROKEN = json_reply({"error": {"message": "x", "type": "server_error"}}, status=500)
RULES = CircuitBreaker(failure_threshold=3, window_ms=60_000, open_for_ms=20_000)
MAIN, SPARE = "shop/pool/main", "shop/pool/spare"


def at(found: scripts.Provider, **fields: Any) -> Provider:
    made = bundles.provider(f"{found.url}/v1", name=fields.pop("name", "main"))
    return made.model_copy(update={"circuit_breaker": RULES} | fields)


def refusal(status: int, **headers: str) -> bytes:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return json_reply({"error": {"message": "no"}}, status=status, headers=named)


class Clock:
    """The one that breakers and cooldowns look at; requests run in real time."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def serving(
    root: Path, *providers: Provider, strategy: str = "Priority", **more: Any
) -> AsyncIterator[tuple[Gateway, Clock]]:
    pools = (Pool(id="shop/pool", strategy=strategy, providers=providers),)
    async with gateway(root, bundles.config(pools=pools), **more) as found:
        clock = Clock()
        found.parts.health.load.now_s = clock
        yield found, clock


@asynccontextmanager
async def two(root: Path, answer: Any, **fields: Any) -> AsyncIterator[Any]:
    """A provider that answers so, and a spare one that is well."""
    async with scripts.Provider(answer) as one, scripts.Provider(OK) as other:
        spare = at(other, name="spare", priority=1)
        async with serving(root, at(one, **fields), spare) as (found, clock):
            yield found, clock, one, other


def load_of(found: Gateway, name: str = MAIN) -> ProviderLoad:
    return found.parts.health.load.of(name)


def breaker_of(found: Gateway) -> str:
    return load_of(found).breaker.state.name


def provider_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-runestone-provider"]


def found_pools(found: Gateway) -> tuple[Pool, ...]:
    """The configuration in force, as it was published."""
    return (Pool(id="shop/pool", providers=tuple(map(_published, _providers(found)))),)


def _providers(found: Gateway) -> list[Configured]:
    assert found.parts.holder.current is not None
    return found.parts.holder.current.providers()


def _published(provider: Configured) -> Provider:
    url = f"http://{provider.origin.authority}{provider.base_path.decode()}"
    return bundles.provider(url, name=provider.name, priority=provider.priority).model_copy(
        update={"circuit_breaker": provider.breaker}
    )
