"""Whose turn it is among providers that are asked in turn: only what is served takes one."""

import asyncio
from pathlib import Path

import pytest

from runestone_contract.config import Limits, Policy, Pool, Rule, Target
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway, question
from runestone_testing.outage import MAIN, OK, SPARE, at, load_of, provider_of, serving

POOL = "shop/pool"
MODELS = ("gpt-4o-mini", "spare")
OTHER_KEY = "sk-rs-other-123456789abcdefghijklmnopqrstuvwxyz"


async def test_those_that_waited_for_their_limit_are_served_in_turn(tmp_path: Path) -> None:
    """All were routed while the same one was next."""
    gate = asyncio.Event()
    limits = Limits(concurrent_requests=1).model_dump()
    async with scripts.Provider([scripts.until(gate), OK]) as one:
        providers = tuple(at(one, name=name) for name in "ab")
        config = bundles.config(
            pools=(Pool(id=POOL, strategy="RoundRobin", providers=providers),),
            keys=(bundles.key(limits=limits, overflow={"mode": "Wait"}),),
        )
        async with gateway(tmp_path, config) as found, asyncio.timeout(30):
            asked = [asyncio.create_task(found.chat()) for _ in range(6)]
            while len(found.parts.room) != 5:
                await asyncio.sleep(0)
            gate.set()
            served = [provider_of(answer) for answer in await asyncio.gather(*asked)]
    assert served.count(f"{POOL}/a") == served.count(f"{POOL}/b") == 3


@pytest.mark.parametrize("beside", ["nothing", "estimates", "refusals"])
async def test_only_what_is_served_takes_a_turn(tmp_path: Path, beside: str) -> None:
    rule = Rule(
        name="r",
        targets=(Target(pool=POOL),),
        fallbacks=(Target(pool=POOL, model="spare"),),
    )
    limits = Limits(requests_per_minute=1).model_dump()
    async with scripts.Provider(OK) as one:
        config = bundles.config(
            pools=(
                Pool(
                    id=POOL,
                    strategy="RoundRobin",
                    providers=tuple(
                        at(one, name=name, models=tuple(map(bundles.model, MODELS)))
                        for name in "ab"
                    ),
                ),
            ),
            policy=Policy(id="shop/p", default=True, rules=(rule,)),
            keys=(
                bundles.key(),
                bundles.key(name="limited", secret=OTHER_KEY, limits=limits),
            ),
        )
        async with gateway(tmp_path, config) as found:
            served = []
            other = {"authorization": f"Bearer {OTHER_KEY}"}
            for number in range(6):
                if beside == "estimates":
                    assert (await found.client.post("/cost/estimate", json=question())).is_success
                if beside == "refusals":
                    answer = await found.client.post(
                        "/chat/completions", json=question(), headers=other
                    )
                    assert answer.status_code == (429 if number else 200)
                served.append(provider_of(await found.chat()).removeprefix(f"{POOL}/"))
    first, second = "ba" if beside == "refusals" else "ab"  # of the one that was let in
    assert served == [first, second] * 3


async def test_who_was_slow_is_tried_again(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one:
        providers = at(one), at(one, name="spare")
        async with serving(tmp_path, *providers, strategy="LowestLatency") as (found, clock):
            assert {provider_of(await found.chat()) for _ in range(2)} == {MAIN, SPARE}
            load_of(found).first_byte_s = 800.0
            served = []
            for _ in range(5):
                load_of(found, SPARE).first_byte_s = 300.0
                served.append(provider_of(await found.chat()))
                clock.now_s += 20
            assert served == [SPARE, SPARE, SPARE, SPARE, MAIN]
            assert (load_of(found).first_byte_s or 0.0) < 200.0
            assert provider_of(await found.chat()) == MAIN


async def test_what_had_no_choice_is_measured_too(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one:
        async with serving(tmp_path, at(one), strategy="LowestLatency") as (found, clock):
            await found.chat()
            assert load_of(found).called_s == clock.now_s
            assert load_of(found).expected_s(clock.now_s) == load_of(found).first_byte_s
