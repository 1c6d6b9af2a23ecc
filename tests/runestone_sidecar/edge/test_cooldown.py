"""Credentials that are spent or refused: which is used, who serves meanwhile, what is told."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from runestone_contract.config import (
    Provider,
    Retry,
)
from runestone_testing import bundles
from runestone_testing import provider as scripts
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


async def test_c10_who_has_no_other_key_and_no_other_provider_is_asked_all_the_same(
    tmp_path: Path,
) -> None:
    async with scripts.Provider(refusal(401)) as one:
        async with serving(tmp_path, at(one)) as (found, _):
            for _ in range(4):
                answer = await found.chat()
                assert answer.status_code == 502
                assert "refused the gateway's own key: status 401." in answer.text
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
