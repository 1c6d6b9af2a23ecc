"""Health checks against a scripted provider: what is sent, what it changes, whom they follow."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from runestone_contract.config import CircuitBreaker, HealthCheck
from runestone_sidecar.admit.breaker import State
from runestone_sidecar.admit.load import LoadStore, ProviderLoad
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.snapshot import Provider, Snapshot
from runestone_sidecar.pipeline import checks as checks_module
from runestone_sidecar.pipeline.checks import HealthChecks
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.pool import Client
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.provider import json_reply, refusing_port

ACTIVE = HealthCheck(mode="Active", interval_ms=20)
RULES = CircuitBreaker(failure_threshold=2, open_for_ms=10_000)
KEYS = {"cred-a": "sk-one-0000000000", "cred-b": "sk-two-0000000000"}
LIST = json_reply({"object": "list", "data": []})
ID = "shop/pool/main"


def snapshot(url: str, name: str = "main", **fields: Any) -> Snapshot:
    provider = bundles.provider(url, name=name, credentials=("cred-a", "cred-b"))
    given = {"health_check": ACTIVE, "circuit_breaker": RULES} | fields
    made = bundles.config(provider.model_copy(update=given))
    return bundles.snapshot(made, Credentials(digest="", values=KEYS))


@dataclass
class Bench:
    checks: HealthChecks
    store: LoadStore
    traffic: Traffic
    now_s: float = 0.0

    @property
    def load(self) -> ProviderLoad:
        return self.store.of(ID)

    async def check(self, found: Snapshot) -> None:
        await self.checks.check(one(found))

    def trip(self, found: Snapshot) -> None:
        for _ in range(RULES.failure_threshold):
            self.load.breaker.failed(one(found).breaker, "request", self.now_s)
        self.load.settle()


def one(found: Snapshot) -> Provider:
    return found.providers()[0]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    client, traffic = Client(), Traffic()
    store = LoadStore(clock=lambda: made.now_s)
    made = Bench(HealthChecks(client, store, traffic, rng=random.Random(1)), store, traffic)
    try:
        yield made
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("dialect", "base", "path", "header"),
    [
        pytest.param("OpenAI", "/v1", "/v1/models", "authorization", id="openai"),
        pytest.param("Anthropic", "", "/v1/models", "x-api-key", id="anthropic"),
    ],
)
async def test_what_is_sent(dialect: str, base: str, path: str, header: str) -> None:
    async with scripts.Provider(LIST) as provider, bench() as it:
        await it.check(snapshot(f"{provider.url}{base}", dialect=dialect))
        await it.check(snapshot(f"{provider.url}{base}", dialect=dialect))
    request = provider.requests[0]
    assert (request.method, request.target, request.body) == ("GET", path, b"")
    assert KEYS["cred-a"] in (request.header(header) or "")
    assert len(provider.peers) == 1, "the connection is kept"
    assert it.traffic.health_checks[ID, "ok"] == 2
    assert not it.load.marred


async def test_what_was_measured_fades_for_all_the_checks() -> None:
    """Else who was slow once, and is checked, is not tried again."""
    async with scripts.Provider(LIST) as provider, bench() as it:
        found = snapshot(provider.url)
        it.load.begin_call(it.now_s)
        it.load.observe_first_byte(0.8)
        it.trip(found)
        it.now_s = 30.0
        await it.check(found)
        assert it.load.breaker.closed
        assert it.load.expected_s(it.now_s) == 0.4


FAILURES: list[Any] = [
    pytest.param(json_reply({}, status=500), "status_500", id="500"),
    pytest.param(json_reply({}, status=503), "status_503", id="503"),
    pytest.param([scripts.reset()], "lost_before_head", id="reset"),
    pytest.param([scripts.hang()], "first_byte_timeout", id="silence"),
    pytest.param([LIST[:-5], scripts.hang()], "idle_timeout", id="half-an-answer"),
]


@pytest.mark.parametrize(("answer", "outcome"), FAILURES)
async def test_what_counts_as_a_failure(
    answer: Any, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if outcome.endswith("timeout"):
        short = Deadlines(connect_s=5.0, first_byte_s=0.1, idle_s=0.1, total_s=5.0)
        monkeypatch.setattr(checks_module, "DEADLINES", short)
    async with scripts.Provider(answer) as provider, bench() as it:
        for _ in range(RULES.failure_threshold):
            await it.check(snapshot(provider.url))
    assert it.load.breaker.state is State.OPEN
    assert it.traffic.health_checks == {(ID, outcome): RULES.failure_threshold}


async def test_a_refused_connection_counts() -> None:
    with refusing_port() as port:
        async with bench() as it:
            for _ in range(RULES.failure_threshold):
                await it.check(snapshot(f"http://127.0.0.1:{port}"))
    assert it.load.breaker.state is State.OPEN


@pytest.mark.parametrize("status", [302, 400, 404, 405, 429], ids=str)
async def test_who_has_no_list_is_alive(status: int) -> None:
    answer = json_reply({}, status=status, headers=[("retry-after", "60")])
    async with scripts.Provider(answer) as provider, bench() as it:
        found = snapshot(provider.url)
        for _ in range(RULES.failure_threshold):
            await it.check(found)
        assert not it.load.marred
        it.trip(found)
        it.now_s = 10.0
        await it.check(found)
        assert it.load.breaker.closed


async def test_a_success_closes_a_breaker_whose_time_is_up() -> None:
    async with scripts.Provider(LIST) as provider, bench() as it:
        found = snapshot(provider.url)
        it.trip(found)
        await it.check(found)
        assert provider.requests == []  # it is to be left alone
        it.now_s = 10.0
        await it.check(found)
        assert it.load.breaker.closed
        it.trip(found)
        provider.answer = json_reply({}, status=500)
        it.now_s = 20.0
        await it.check(found)
        assert it.load.breaker.state is State.OPEN
        assert it.load.breaker.wait_s(20.0) == 10.0


async def test_a_list_among_failures_is_no_success() -> None:
    """Requests fail and the list is fine: that is no reason to forget the failures."""
    async with scripts.Provider(LIST) as provider, bench() as it:
        found = snapshot(provider.url)
        it.load.breaker.failed(RULES, "request", 0.0)
        it.load.settle()
        for _ in range(5):
            await it.check(found)
        it.load.breaker.failed(RULES, "request", 0.0)
    assert it.load.breaker.state is State.OPEN


async def test_a_refused_key_is_found_before_a_request_pays_for_it() -> None:
    def judge(request: scripts.Request) -> bytes:
        good = request.header("authorization") == f"Bearer {KEYS['cred-b']}"
        return LIST if good else json_reply({}, status=401)

    async with scripts.Provider(judge) as provider, bench() as it:
        found = snapshot(provider.url)
        await it.check(found)
        assert len(provider.requests) == 2
        assert it.load.cooldowns.pick(one(found).credentials, "any", 0.0) == 1
        await it.check(found)
        assert len(provider.requests) == 3
        assert it.load.breaker.closed


async def test_a_check_that_is_cancelled_gives_its_place_back() -> None:
    async with scripts.Provider([scripts.hang()]) as provider, bench() as it:
        found = snapshot(provider.url)
        it.trip(found)
        it.now_s = 10.0
        task = asyncio.create_task(it.check(found))
        peer = (await provider.requested()).peer
        assert not it.load.breaker.admits(RULES, it.now_s)
        task.cancel()
        await peer.closed()
        assert it.load.breaker.admits(RULES, it.now_s)


@asynccontextmanager
async def running(it: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(it.checks.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_they_run_at_the_interval_and_follow_swaps() -> None:
    async with scripts.Provider(LIST) as provider, scripts.Provider(LIST) as other, bench() as it:
        it.checks.follow(snapshot(provider.url))
        async with running(it):
            await provider.requested(3)
            it.checks.follow(snapshot(other.url))  # the same provider at another address
            await other.requested(2)
            before = len(provider.requests)
            slow = HealthCheck(mode="Active", interval_ms=3_600_000)
            it.checks.follow(snapshot(other.url, health_check=slow))
            it.checks.follow(snapshot(provider.url, name="second"))
            await provider.requested(before + 2)
            assert len(provider.peers) == 1, "one at a time"
            it.checks.follow(snapshot(provider.url, health_check=HealthCheck()))
            it.checks.follow(snapshot(other.url))
            seen = len(other.requests)
            await other.requested(seen + 2)
    assert it.traffic.health_checks.keys() == {(ID, "ok"), ("shop/pool/second", "ok")}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"health_check": HealthCheck()}, id="passive"),
        pytest.param({"health_check": HealthCheck(mode="Psychic", interval_ms=1)}, id="unknown"),
        pytest.param({"unavailable": "CredentialsMissing"}, id="unavailable"),
    ],
)
async def test_nothing_is_sent_unasked(fields: dict[str, Any]) -> None:
    async with scripts.Provider(LIST) as provider, scripts.Provider(LIST) as other, bench() as it:
        silent, checked = snapshot(provider.url, **fields), snapshot(other.url, name="other")
        pools = {"a": silent.pools["shop/pool"], "b": checked.pools["shop/pool"]}
        it.checks.follow(Snapshot(digest="", credentials="", namespace="shop", pools=pools))
        async with running(it):
            await other.requested(5)
    assert provider.requests == []


async def test_one_that_fails_inside_does_not_end_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripts.Provider(LIST) as provider, bench() as it:
        check, calls = it.checks.check, [0]

        async def sometimes(found: Provider) -> None:
            calls[0] += 1
            if calls[0] == 1:
                raise RuntimeError("a bug")
            await check(found)

        monkeypatch.setattr(it.checks, "check", sometimes)
        it.checks.follow(snapshot(provider.url))
        async with running(it):
            await provider.requested(2)
    assert "the health check failed inside" in caplog.text
