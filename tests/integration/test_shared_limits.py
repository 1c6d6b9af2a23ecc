"""Limits over several sidecar processes and a nats-server: exact, handed over, and without NATS."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import Budget, Limits
from runestone_testing.fleet import INPUT_TOKENS, OUTPUT_TOKENS, Fleet, fleet, keys, until

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.sidecar import Sidecar

LIMIT = 30
TOKENS = INPUT_TOKENS + OUTPUT_TOKENS
ANSWER_PICODOLLARS = INPUT_TOKENS * 150_000 + OUTPUT_TOKENS * 600_000
PER_MINUTE = Limits(requests_per_minute=LIMIT)
KINDS = [
    pytest.param(PER_MINUTE, id="requests-per-minute"),
    pytest.param(Limits(requests_per_hour=LIMIT), id="requests-per-hour"),
    pytest.param(Limits(tokens_per_minute=LIMIT * TOKENS), id="tokens-per-minute"),
    pytest.param(
        Limits(budget=Budget(picodollars=LIMIT * ANSWER_PICODOLLARS, period="Day")), id="budget"
    ),
]


async def admitted(
    group: Fleet, times: int, *, among: list[Sidecar] | None = None, at_once: int = 16
) -> int:
    """Asked of one after the other; refusals are refusals for the limit."""
    among = among or group.sidecars
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> int:
        async with gate:
            answer = await group.ask(among[number % len(among)], "app")
            assert answer.status_code in {200, 429}, answer.text
            return answer.status_code == 200

    return sum(await asyncio.gather(*(one(number) for number in range(times))))


def ledger_calls(sidecar: Sidecar) -> float:
    return sum(
        sidecar.metric("runestone_limits_ledger_calls_total", call=call) or 0
        for call in ("read", "write", "conflict", "waited")
    )


def waits(sidecar: Sidecar) -> float:
    """Requests that a call was made for."""
    return sidecar.metric("runestone_limits_ledger_calls_total", call="waited") or 0


@pytest.mark.parametrize("limits", KINDS)
async def test_ten_times_the_limit_over_three_is_let_in_once(
    tmp_path: Path, limits: Limits
) -> None:
    async with fleet(tmp_path, 3, keys(app=limits)) as group:
        found = await admitted(group, 10 * LIMIT)
        # Of tokens and money a request must find room for three times what it uses then.
        least = LIMIT - (3 if limits.tokens_per_minute or limits.budget else 1)
        assert least <= found <= LIMIT
        assert len(group.arrived["app"]) == found


async def test_H3_all_of_the_load_at_one_of_five_gets_all_of_the_limit(tmp_path: Path) -> None:
    async with fleet(tmp_path, 5, keys(app=PER_MINUTE)) as group:
        first, *others = group.sidecars
        assert await admitted(group, 3, among=others) == 3
        found = 3
        async with asyncio.timeout(50):
            while found < LIMIT:  # what the others took beyond goes back after a moment
                found += await admitted(group, LIMIT, among=[first])
        assert await admitted(group, LIMIT, among=[first]) == 0
        assert found == LIMIT


async def test_a_request_within_the_limit_waits_for_nobody(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2, keys(app=Limits(requests_per_minute=100_000))) as group:
        assert await admitted(group, 50) == 50
        before = [ledger_calls(sidecar) for sidecar in group.sidecars]
        waited = [waits(sidecar) for sidecar in group.sidecars]
        assert await admitted(group, 200) == 200
        assert [waits(sidecar) for sidecar in group.sidecars] == waited
        for sidecar, calls in zip(group.sidecars, before, strict=True):
            assert ledger_calls(sidecar) <= calls + 20  # now and then one is for those to come


async def test_what_is_left_is_told_by_any_sidecar(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2, keys(app=PER_MINUTE)) as group:
        one, other = group.sidecars
        for _ in range(5):
            await group.ask(one, "app")
        await group.ask(other, "app")
        answer = await group.ask(other, "app")
        remaining = int(answer.headers["x-ratelimit-remaining-requests"])
        # What the other holds beyond what it used is nobody's to promise.
        assert LIMIT // 2 <= remaining <= LIMIT - 7
        assert answer.headers["x-ratelimit-limit-requests"] == str(LIMIT)


async def test_slots_of_a_killed_sidecar_come_back(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2, keys(app=Limits(concurrent_requests=4))) as group:
        one, other = group.sidecars
        hanging = [asyncio.create_task(group.ask(one, "app", seed=1)) for _ in range(4)]
        await until(lambda: group.running["app"] == 4)
        assert (await group.ask(other, "app")).status_code == 429
        one.process.send_signal(signal.SIGKILL)
        await asyncio.wait(hanging)
        group.running["app"] = 0
        async with asyncio.timeout(60):
            while (await group.ask(other, "app")).status_code == 429:
                await asyncio.sleep(0.2)
        again = [asyncio.create_task(group.ask(other, "app", seed=1)) for _ in range(4)]
        await until(lambda: group.running["app"] == 4)
        group.held.set()
        assert [(await each).status_code for each in again] == [200] * 4


@pytest.mark.parametrize("limits", KINDS)
async def test_a_rolling_restart_gives_nothing_back_and_takes_nothing_away(
    tmp_path: Path, limits: Limits
) -> None:
    async with fleet(tmp_path, 2, keys(app=limits)) as group:
        one, other = group.sidecars
        assert await admitted(group, 20, at_once=1) == 20
        for old in (one, other):
            new = await group.start()
            await group.until_metric(new, "runestone_limits_shared", 1)
            assert await asyncio.to_thread(old.stop) == 0
        left = await admitted(group, 2 * LIMIT, among=group.sidecars[2:], at_once=1)
        assert LIMIT - 20 - 3 <= left <= LIMIT - 20


@pytest.mark.parametrize("wiped", [False, True], ids=["E4-with-its-store", "E5-without"])
async def test_while_nats_is_away_each_has_its_part_and_says_so(
    tmp_path: Path, wiped: bool
) -> None:
    async with fleet(tmp_path, 3, keys(app=PER_MINUTE)) as group:
        assert await admitted(group, 9) == 9
        await group.until_heard("app", LIMIT, used=9)
        await asyncio.to_thread(group.nats.stop)
        for sidecar in group.sidecars:
            await group.until_metric(sidecar, "runestone_limits_shared", 0)
        answer = await group.ask(group.sidecars[0], "app")
        assert answer.status_code == 200
        assert answer.headers["x-runestone-limits"] == "local"
        during = await admitted(group, 5 * LIMIT)
        assert 10 + during <= LIMIT
        assert 10 + during >= LIMIT - 3
        if wiped:
            group.nats.wipe()
        await asyncio.to_thread(group.nats.start)
        await group.until_shared()
        answer = await group.ask(group.sidecars[0], "app")
        assert "x-runestone-limits" not in answer.headers
        await admitted(group, 5 * LIMIT)
        assert len(group.arrived["app"]) <= LIMIT


async def test_E1_without_nats_at_the_start_it_serves_at_once_and_joins_later(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, 2, keys(app=PER_MINUTE), with_nats=False) as group:
        answer = await group.ask(group.sidecars[0], "app")
        assert answer.status_code == 200
        assert answer.headers["x-runestone-limits"] == "local"
        assert group.sidecars[0].metric("runestone_nats_up") == 0
        await asyncio.to_thread(group.nats.start)
        await group.until_shared()
        assert group.sidecars[0].metric("runestone_nats_up") == 1
        await admitted(group, 5 * LIMIT)
        assert len(group.arrived["app"]) == LIMIT


async def test_replicas_that_are_told_share_before_nats_was_ever_reached(tmp_path: Path) -> None:
    served = keys(app=PER_MINUTE)
    async with fleet(tmp_path, 3, served, with_nats=False, RUNESTONE_REPLICAS="3") as group:
        assert await admitted(group, 5 * LIMIT) == LIMIT
