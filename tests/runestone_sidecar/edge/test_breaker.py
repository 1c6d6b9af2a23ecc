"""An outage as clients see it: who is called, who is left alone, and what is told meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from runestone_contract.config import (
    Connections,
    Policy,
    Pool,
    Retry,
    Rule,
    Target,
    Timeouts,
)
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway, question
from runestone_testing.outage import (
    BROKEN,
    MAIN,
    OK,
    RULES,
    SPARE,
    at,
    breaker_of,
    found_pools,
    load_of,
    provider_of,
    refusal,
    serving,
    two,
)
from runestone_testing.provider import SSE, chunk, event, head, json_reply, reply, sse_reply


@pytest.mark.parametrize("tries", [1, 2, 4], ids=lambda tries: f"attempts-{tries}")
async def test_an_outage_is_not_hammered(tmp_path: Path, tries: int) -> None:
    """failoverbench S15: other gateways make 33 to 45 attempts here."""
    retry = Retry(max_attempts=tries, initial_backoff_ms=1, max_backoff_ms=2)
    async with two(tmp_path, BROKEN, retry=retry) as (found, clock, one, _):
        for _ in range(15):
            assert provider_of(await found.chat()) == SPARE
        assert len(one.requests) == RULES.failure_threshold
        clock.now_s += 20
        for _ in range(15):
            assert provider_of(await found.chat()) == SPARE
        assert len(one.requests) == RULES.failure_threshold + 1
        clock.now_s += 20
        one.answer = OK
        for _ in range(15):
            assert provider_of(await found.chat()) == MAIN


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("/chat/completions", question(user="poison, and a tale"), id="chat"),
        pytest.param(
            "/responses", {"model": "gpt-4o-mini", "input": "poison, and a tale"}, id="translated"
        ),
    ],
)
async def test_a_prompt_that_always_fails_is_no_outage(
    tmp_path: Path, path: str, asked: dict[str, object]
) -> None:
    def judge(request: scripts.Request) -> bytes:
        return BROKEN if b"poison" in request.body else OK

    retry = Retry(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=2)
    async with two(tmp_path, judge, retry=retry) as (found, _, one, _2):
        assert provider_of(await found.chat()) == MAIN
        for _ in range(10):
            assert provider_of(await found.client.post(path, json=asked)) == SPARE
        assert len(one.requests) == 21
        assert provider_of(await found.chat()) == MAIN
        assert breaker_of(found) == "CLOSED"


async def test_a_provider_that_is_down_is_left_alone_whoever_asks(tmp_path: Path) -> None:
    async with two(tmp_path, OK) as (found, _, one, _2):
        for _ in range(5):
            assert provider_of(await found.chat()) == MAIN
        one.answer = BROKEN
        for _ in range(5):
            assert provider_of(await found.chat()) == SPARE
        assert breaker_of(found) == "OPEN"
        assert len(one.requests) == 5 + RULES.failure_threshold


async def test_nobody_well_is_told_at_once(tmp_path: Path) -> None:
    async with scripts.Provider(BROKEN) as one:
        async with serving(tmp_path, at(one)) as (found, clock):
            for _ in range(3):
                assert (await found.chat()).status_code == 502
            clock.now_s += 5
            answer = await found.chat()
            assert len(one.requests) == 3
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_provider_available"
    assert answer.headers["retry-after"] == "15"
    assert "x-should-retry" not in answer.headers


async def test_one_request_at_a_time_finds_out(tmp_path: Path) -> None:
    async with two(tmp_path, BROKEN) as (found, clock, one, _):
        for _ in range(3):
            await found.chat()
        clock.now_s += 20
        gate = asyncio.Event()
        one.answer = [scripts.until(gate), OK]
        probe = asyncio.create_task(found.chat())
        await one.requested(4)
        others = await asyncio.gather(*(found.chat() for _ in range(8)))
        assert {provider_of(answer) for answer in others} == {SPARE}
        assert breaker_of(found) == "HALF_OPEN"
        gate.set()
        assert provider_of(await probe) == MAIN
        assert breaker_of(found) == "CLOSED"
        assert len(one.requests) == 4


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_probe_whose_client_left_gives_its_place_back(tmp_path: Path, stream: bool) -> None:
    async with two(tmp_path, BROKEN) as (found, clock, one, _):
        for _ in range(3):
            await found.chat()
        clock.now_s += 20
        one.answer = [scripts.hang()]
        probe = asyncio.create_task(found.chat(stream=stream))
        peer = (await one.requested(4)).peer
        probe.cancel()
        await peer.closed()
        assert breaker_of(found) == "HALF_OPEN"
        one.answer = OK
        assert provider_of(await found.chat()) == MAIN
        assert breaker_of(found) == "CLOSED"


async def test_a_stream_lost_on_the_way_is_a_failure(tmp_path: Path) -> None:
    delta = {"choices": [{"index": 0, "delta": {"content": "be"}, "finish_reason": None}]}
    lost = [head(content_type=SSE) + chunk(event(delta)), scripts.reset()]
    async with two(tmp_path, lost) as (found, _, one, other):
        other.answer = sse_reply([delta, "[DONE]"])
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                await found.chat(stream=True)
        assert breaker_of(found) == "OPEN"
        assert provider_of(await found.chat(stream=True)) == SPARE
        assert len(one.requests) == 3


HTML = reply(b"<html>", content_type="text/html")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(BROKEN, id="500"),
        pytest.param(refusal(529), id="529"),
        pytest.param(refusal(302), id="C21-302"),
        pytest.param(HTML, id="C20-html"),
        pytest.param([scripts.reset()], id="reset"),
        pytest.param([OK[:70], scripts.close()], id="cut"),
        pytest.param([scripts.hang()], id="C12-silence"),
    ],
)
async def test_what_counts_as_a_failure(tmp_path: Path, answer: Any) -> None:
    hangs = isinstance(answer, list) and len(answer) == 1
    timeouts = Timeouts(first_byte_ms=60) if hangs else Timeouts()
    async with two(tmp_path, answer, timeouts=timeouts) as (found, _, one, _2):
        for _ in range(4):
            assert provider_of(await found.chat()) == SPARE
        assert breaker_of(found) == "OPEN"
        assert len(one.requests) == 3


@pytest.mark.parametrize("status", [400, 404, 409, 413, 418, 422], ids=str)
async def test_what_the_client_did_never_counts(tmp_path: Path, status: int) -> None:
    async with two(tmp_path, refusal(status)) as (found, _, one, _2):
        for _ in range(6):
            await found.chat()
        assert breaker_of(found) == "CLOSED"
        assert len(one.requests) == 6
        assert load_of(found).score == 1.0


@pytest.mark.parametrize("status", [401, 402, 403, 408, 425, 429], ids=str)
async def test_what_is_no_outage_never_counts(tmp_path: Path, status: int) -> None:
    async with two(tmp_path, refusal(status)) as (found, clock, one, _):
        for _ in range(6):
            assert provider_of(await found.chat()) == SPARE
            clock.now_s += 61  # every pause is over
        assert breaker_of(found) == "CLOSED"
        assert len(one.requests) == 6


def calling(arguments: str, *, stream: bool) -> bytes:
    """A chat with such a call."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    part = "delta" if stream else "message"
    choice = {"index": 0, part: {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    return (
        sse_reply([{"choices": [choice]}, "[DONE]"])
        if stream
        else json_reply({"choices": [choice]})
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("arguments", ["[1]", '{"x":', '{"x": NaN}'], ids=str)
async def test_what_a_model_writes_never_counts(
    tmp_path: Path, arguments: str, stream: bool
) -> None:
    """Else a prompt takes a provider from everybody."""
    async with two(tmp_path, calling(arguments, stream=stream)) as (found, _, one, other):
        other.answer = calling("{}", stream=stream)
        for number in range(4):
            turns = [{"role": "user", "content": f"from client {number}"}]
            asked = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": turns, "stream": stream}
            if stream:  # it has begun by then
                with pytest.raises(httpx.RemoteProtocolError):
                    await found.client.post("/messages", json=asked)
            else:
                assert provider_of(await found.client.post("/messages", json=asked)) == SPARE
        assert len(one.requests) == 4
        assert breaker_of(found) == "CLOSED"
        assert load_of(found).score == 1.0


async def test_a_rule_in_a_hurry_judges_itself(tmp_path: Path) -> None:
    async with scripts.Provider([scripts.hang()]) as one:
        rule = Rule(name="all", targets=(Target(pool="shop/pool"),), timeout_ms=30)
        config = bundles.config(
            pools=(Pool(id="shop/pool", providers=(at(one),)),),
            policy=Policy(id="shop/p", default=True, rules=(rule,)),
        )
        async with gateway(tmp_path, config) as found:
            for _ in range(4):
                assert (await found.chat()).status_code == 504
            assert breaker_of(found) == "CLOSED"


async def test_clients_that_leave_never_count(tmp_path: Path) -> None:
    async with two(tmp_path, [scripts.hang()]) as (found, _, one, _2):
        for number in range(1, 6):
            asked = asyncio.create_task(found.chat())
            peer = (await one.requested(number)).peer
            asked.cancel()
            await peer.closed()
        one.answer = OK
        assert provider_of(await found.chat()) == MAIN
        assert not load_of(found).marred


async def test_our_own_connections_all_in_use_never_count(tmp_path: Path) -> None:
    gate = asyncio.Event()
    full = Connections(max=1)
    async with two(
        tmp_path, [scripts.until(gate), OK], connections=full, timeouts=Timeouts(connect_ms=50)
    ) as (found, _, one, _2):
        first = asyncio.create_task(found.chat())
        await one.requested()
        for _ in range(4):
            assert provider_of(await found.chat()) == SPARE
        assert not load_of(found).marred
        gate.set()
        assert provider_of(await first) == MAIN


async def test_who_fails_too_often_stands_behind_its_peers(tmp_path: Path) -> None:
    rules = RULES.model_copy(update={"failure_threshold": 100})
    async with scripts.Provider(BROKEN) as one, scripts.Provider(OK) as other:
        providers = at(one, circuit_breaker=rules), at(other, name="spare")
        async with serving(tmp_path, *providers, strategy="RoundRobin") as (found, clock):
            for _ in range(20):
                assert provider_of(await found.chat()) == SPARE
            assert len(one.requests) == 3  # three failures in a row, of what were to be ten
            one.answer = OK
            clock.now_s += 120  # nobody is held to be sick for ever
            served = [provider_of(await found.chat()) for _ in range(4)]
    assert sorted(served) == [MAIN, MAIN, SPARE, SPARE]


# --- reloads, and what is shown


async def test_reloads_keep_what_is_known_unless_the_address_is_another(tmp_path: Path) -> None:
    async with two(tmp_path, BROKEN) as (found, _, one, other):
        for _ in range(3):
            await found.chat()
        pools = found_pools(found)
        bundles.publish(tmp_path, bundles.config(pools=pools, keys=(bundles.key(tenant="new"),)))
        await found.parts.source.refresh()
        assert breaker_of(found) == "OPEN"
        main, spare = pools[0].providers
        moved = main.model_copy(update={"base_url": f"{other.url}/v1"})
        renamed = spare.model_copy(update={"name": "renamed"})
        bundles.publish(
            tmp_path, bundles.config(pools=(Pool(id="shop/pool", providers=(moved, renamed)),))
        )
        await found.parts.source.refresh()
        assert provider_of(await found.chat()) == MAIN
        assert set(found.parts.health.load._providers) == {MAIN, "shop/pool/renamed"}
        assert len(one.requests) == 3


async def test_what_is_shown(tmp_path: Path) -> None:
    async with two(tmp_path, BROKEN) as (found, clock, _, other):
        for _ in range(3):
            await found.chat()
        other.answer = refusal(429, retry_after="7")
        await found.chat()
        clock.now_s += 2
        transport = httpx.ASGITransport(found.parts.health_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://health") as client:
            answer = await client.get("/health/providers")
        metrics = found.metrics()
        assert f'runestone_breaker_state{{provider="{MAIN}"}} 2.0' in metrics
        clock.now_s += 18
        assert f'runestone_breaker_state{{provider="{MAIN}"}} 1.0' in found.metrics()
    main, spare = answer.json()["providers"]
    assert (main["breaker"], main["breaker_wait_s"], main["cooldown_s"]) == ("open", 18.0, 0.0)
    assert 0 < main["health"] < 0.5
    assert (spare["breaker"], spare["cooldown_s"]) == ("closed", 5.0)
    assert bundles.PROVIDER_KEY not in answer.text
    assert "cred-a" not in answer.text
    assert f'breaker_transitions_total{{provider="{MAIN}",state="open"}} 1.0' in metrics
    assert f'runestone_provider_health{{provider="{SPARE}"}} 0.8' in metrics
    assert f'cooldowns_total{{provider="{SPARE}",reason="rate_limited"}} 1.0' in metrics
