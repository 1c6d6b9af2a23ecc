"""An outage as clients see it: who is called, who is left alone, and what is told meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runestone_contract.config import (
    CircuitBreaker,
    Connections,
    Policy,
    Pool,
    Provider,
    Retry,
    Rule,
    Target,
    Timeouts,
)
from runestone_sidecar.admit.load import ProviderLoad
from runestone_sidecar.config.snapshot import Provider as Configured
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.provider import SSE, chunk, event, head, json_reply, reply, sse_reply

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


# --- outages


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


# --- credentials

KEYS = {"cred-a": "sk-one-0000000000", "cred-b": "sk-two-0000000000"}


def keyed(found: scripts.Provider, **fields: Any) -> Provider:
    return at(found, credentials=("cred-a", "cred-b"), **fields)


def keys_used(found: scripts.Provider) -> list[str]:
    names = {f"Bearer {value}": name for name, value in KEYS.items()}
    return [names[request.header("authorization") or ""] for request in found.requests]


def only(key: str, otherwise: bytes) -> Any:
    return lambda r: OK if r.header("authorization") == f"Bearer {KEYS[key]}" else otherwise


async def test_a_limited_credential_is_passed_over_until_its_time(tmp_path: Path) -> None:
    async with scripts.Provider(only("cred-b", refusal(429, retry_after="30"))) as one:
        async with serving(tmp_path, keyed(one), credentials=KEYS) as (found, clock):
            for _ in range(3):
                assert provider_of(await found.chat()) == MAIN
            assert keys_used(one) == ["cred-a", "cred-b", "cred-b", "cred-b"]
            clock.now_s += 29
            await found.chat()
            clock.now_s += 1
            one.answer = OK
            await found.chat()
            assert keys_used(one)[4:] == ["cred-b", "cred-a"]
            assert not load_of(found).cooldowns
            assert breaker_of(found) == "CLOSED"


async def test_when_all_are_limited_another_provider_serves(tmp_path: Path) -> None:
    limited = refusal(429, retry_after="30")
    async with two(tmp_path, limited, credentials=("cred-a",)) as (found, clock, one, other):
        for _ in range(3):
            assert provider_of(await found.chat()) == SPARE
        assert len(one.requests) == 1
        other.answer = refusal(429, retry_after="12")
        assert (await found.chat()).status_code == 429
        calls = len(one.requests), len(other.requests)
        clock.now_s += 2
        answer = await found.chat()
        assert (len(one.requests), len(other.requests)) == calls
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert answer.headers["retry-after"] == "10"
        other.answer = OK
        clock.now_s += 10
        assert provider_of(await found.chat()) == SPARE


async def test_the_last_word_is_of_who_was_called(tmp_path: Path) -> None:
    """Of two offers the second is left alone by the time that the first has failed."""
    async with two(tmp_path, BROKEN) as (found, _, one, other):
        gate = asyncio.Event()
        one.answer = [scripts.until(gate), BROKEN]
        asked = asyncio.create_task(found.chat())
        await one.requested()
        load_of(found, SPARE).breaker.open(RULES, 1000.0)
        load_of(found, SPARE).settle()
        gate.set()
        answer = await asked
        assert answer.status_code == 502
        assert answer.headers["x-should-retry"] == "false"
        assert other.requests == []


async def test_a_short_wait_is_not_worth_another_provider(tmp_path: Path) -> None:
    """Up to what the first pause might be anyhow; else who can serve at once does."""
    retry = Retry(max_attempts=2, initial_backoff_ms=200, max_backoff_ms=5000)
    async with two(tmp_path, OK, retry=retry) as (found, clock, one, _):
        one.queue(refusal(429, retry_after_ms="20"))
        assert provider_of(await found.chat()) == MAIN
        one.queue(refusal(429, retry_after_ms="900"))
        clock.now_s += 1
        assert provider_of(await found.chat()) == SPARE


async def test_b10_a_refused_credential_is_paid_for_once_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runestone_sidecar")
    async with scripts.Provider(only("cred-b", refusal(401))) as one:
        async with serving(tmp_path, keyed(one), credentials=KEYS) as (found, clock):
            for _ in range(5):
                assert provider_of(await found.chat()) == MAIN
            assert keys_used(one) == ["cred-a", *["cred-b"] * 5]
            clock.now_s += 60  # it is tried again now and then
            await found.chat()
            assert keys_used(one)[6:] == ["cred-a", "cred-b"]
            told = [record for record in caplog.records if record.levelno == logging.WARNING]
            assert [record.getMessage() for record in told] == [
                f"provider {MAIN}: 401: key refused (credential 1 of 2)"
            ]
            assert f'credential_cooldowns_total{{provider="{MAIN}",reason="refused"}} 1.0' in (
                found.metrics()
            )
            clock.now_s += 60
            one.answer = OK
            await found.chat()
    assert caplog.records[-1].getMessage().endswith("serves again with credential 1 of 2")
    assert not any(key in record.getMessage() for record in caplog.records for key in KEYS.values())


async def test_b10_a_new_value_of_a_credential_has_no_past(tmp_path: Path) -> None:
    async with two(tmp_path, refusal(401)) as (found, _, one, _2):
        assert provider_of(await found.chat()) == SPARE
        assert provider_of(await found.chat()) == SPARE
        assert len(one.requests) == 1
        one.answer = OK
        config = bundles.config(pools=found_pools(found))
        bundles.publish(tmp_path, config, {"cred-a": "sk-rotated-0000000"})
        await found.parts.source.refresh()
        assert provider_of(await found.chat()) == MAIN


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


async def test_c10_who_has_no_other_key_and_no_other_provider_is_asked_all_the_same(
    tmp_path: Path,
) -> None:
    async with scripts.Provider(refusal(401)) as one:
        async with serving(tmp_path, at(one)) as (found, _):
            for _ in range(4):
                assert (await found.chat()).status_code == 502
            one.answer = OK
            assert provider_of(await found.chat()) == MAIN


async def test_a_403_speaks_of_one_model_alone(tmp_path: Path) -> None:
    def judge(request: scripts.Request) -> bytes:
        return refusal(403) if request.json()["model"] == "gpt-4o-mini" else OK

    async with scripts.Provider(judge) as one, scripts.Provider(OK) as other:
        both = tuple(map(bundles.model, ("gpt-4o-mini", "gpt-4o")))
        config = at(one, models=both), at(other, name="spare", priority=1, models=both)
        async with serving(tmp_path, *config) as (found, _):
            assert provider_of(await found.chat()) == SPARE
            assert provider_of(await found.chat()) == SPARE
            assert len(one.requests) == 1
            assert provider_of(await found.chat(model="gpt-4o")) == MAIN


async def test_an_overload_with_a_time_is_left_alone_so_long(tmp_path: Path) -> None:
    async with two(tmp_path, refusal(503, retry_after="30")) as (found, clock, one, _):
        for _ in range(5):
            assert provider_of(await found.chat()) == SPARE
        assert len(one.requests) == 1
        clock.now_s += 30
        one.answer = OK
        assert provider_of(await found.chat()) == MAIN


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
