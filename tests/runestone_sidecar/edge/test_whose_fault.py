"""A request that some providers' format cannot say is at fault only where nobody could take it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runestone_contract.config import Limits, Pool, Provider
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.outage import BROKEN, MAIN, OK, RULES, Clock, at, load_of, refusal, serving

ONLY_OPENAI: dict[str, Any] = {"n": 2}
LIMITED = refusal(429, retry_after="7")


def claude(found: scripts.Provider, name: str = "spare", priority: int = 1) -> Provider:
    return at(found, name=name, priority=priority, dialect="Anthropic")


@asynccontextmanager
async def with_claude(
    root: Path, answer: Any
) -> AsyncIterator[tuple[Gateway, Clock, scripts.Provider]]:
    async with scripts.Provider(answer) as one, scripts.Provider(OK) as other:
        async with serving(root, at(one), claude(other)) as (found, clock):
            yield found, clock, one
        assert other.requests == []


def told(answer: httpx.Response) -> tuple[int, str, str | None]:
    return (
        answer.status_code,
        answer.json()["error"]["code"],
        answer.headers.get("retry-after"),
    )


async def test_a_rate_limit_is_told_and_then_the_rest_of_its_pause(tmp_path: Path) -> None:
    async with with_claude(tmp_path, LIMITED) as (found, clock, one):
        assert told(await found.chat(**ONLY_OPENAI)) == (429, "rate_limit_exceeded", "7")
        clock.now_s += 2
        answer = await found.chat(**ONLY_OPENAI)
        assert told(answer) == (429, "rate_limit_exceeded", "5")
        assert answer.headers["x-runestone-attempts"] == "0"
        assert "x-should-retry" not in answer.headers
        assert len(one.requests) == 1
        one.answer = OK
        clock.now_s += 5
        assert (await found.chat(**ONLY_OPENAI)).status_code == 200


async def test_an_outage_is_told_and_then_that_it_is_one(tmp_path: Path) -> None:
    async with with_claude(tmp_path, BROKEN) as (found, clock, one):
        for _ in range(RULES.failure_threshold):
            assert told(await found.chat(**ONLY_OPENAI)) == (502, "upstream_error", None)
        clock.now_s += 4
        answer = await found.chat(**ONLY_OPENAI)
        assert told(answer) == (503, "no_provider_available", "16")
        assert len(one.requests) == RULES.failure_threshold


@pytest.mark.parametrize("is_held", [False, True], ids=["all-well", "one-left-alone"])
async def test_what_nobody_can_take_is_the_requests_own_fault(
    tmp_path: Path, is_held: bool
) -> None:
    async with scripts.Provider(OK) as one:
        providers = claude(one, "main", 0), claude(one, "spare", 1)
        async with serving(tmp_path, *providers) as (found, _):
            if is_held:
                load_of(found).breaker.open(RULES, 1000.0)
                load_of(found).settle()
            answer = await found.chat(**ONLY_OPENAI)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "n"
    assert "retry-after" not in answer.headers


async def test_who_could_take_it_when_it_was_routed_is_waited_for(
    tmp_path: Path,
) -> None:
    """It waits for its key's limit, and meanwhile the one that could take it falls ill."""
    gate = asyncio.Event()
    key = bundles.key(limits=Limits(concurrent_requests=1).model_dump(), overflow={"mode": "Wait"})
    async with scripts.Provider([scripts.until(gate), OK]) as one, scripts.Provider(OK) as other:
        pools = (Pool(id="shop/pool", providers=(at(one), claude(other))),)
        async with gateway(tmp_path, bundles.config(pools=pools, keys=(key,))) as found:
            loads = found.parts.health.load
            loads.now_s = Clock()
            first = asyncio.create_task(found.chat())
            await one.requested()
            second = asyncio.create_task(found.chat(**ONLY_OPENAI))
            async with asyncio.timeout(30):
                while len(found.parts.room) != 1:
                    await asyncio.sleep(0)
            loads.of(MAIN).breaker.open(RULES, loads.now_s())
            loads.of(MAIN).settle()
            gate.set()
            assert (await first).status_code == 200
            answer = await second
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "20")
