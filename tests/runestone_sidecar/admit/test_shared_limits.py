"""Sidecars that share limits: even and skewed load, slots, silence, debts, changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.admit.limits import Need
from runestone_testing.limited import DOLLAR, budget, key
from runestone_testing.sidecars import LEASE_S, Sidecar, Sidecars, now, sidecars
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runestone_sidecar.config.snapshot import Principal


async def offer(
    group: Sidecars,
    of: Principal,
    *,
    for_s: float,
    every_s: float,
    weights: Sequence[int] | None = None,
) -> int:
    offered, until_s = 0, now() + for_s
    while now() < until_s:
        (sidecar,) = group.rng.choices(group.all, weights)
        await group.use(sidecar, of)
        offered += 1
        await asyncio.sleep(every_s)
    return offered


def remaining(sidecar: Sidecar, of: Principal) -> int:
    (state,) = sidecar.limiter.state(of)
    return state.remaining


LOADS = [
    pytest.param(2, [1, 1], id="2-even"),
    pytest.param(3, [1, 1, 1], id="3-even"),
    pytest.param(5, [1, 1, 1, 1, 1], id="5-even"),
    pytest.param(5, [1, 0, 0, 0, 0], id="5-all-at-one"),
    pytest.param(5, [8, 1, 1, 1, 1], id="5-skewed"),
]


@pytest.mark.parametrize("limit", [10, 100, 600])
@pytest.mark.parametrize(("count", "weights"), LOADS)
def test_H3_ten_times_the_limit_is_let_in_exactly_once(
    count: int, weights: list[int], limit: int
) -> None:
    async def play() -> None:
        of = key(requests_per_minute=limit)
        with sidecars(count) as group:
            await group.shared()
            await offer(group, of, for_s=130, every_s=6 / limit, weights=weights)
            assert group.most(60) == limit
            assert group.admitted(60) >= limit * 0.95
            calls = sum(each.limiter.counts["waited"] for each in group.all)
            assert calls <= 30 * count  # of all those that were refused, next to none waited

    run_in_virtual_time(play())


@pytest.mark.parametrize("need", [35, 45, 105])
@pytest.mark.parametrize(("count", "weights"), LOADS)
def test_H3_rests_that_are_too_small_for_a_request_are_put_together(
    count: int, weights: list[int], need: int
) -> None:
    """Of tokens: each request is reserved for more than it uses, as most are."""
    used, requests = 35, 40
    limit = requests * used

    async def play() -> None:
        of = key(tokens_per_minute=limit)
        with sidecars(count) as group:
            await group.shared()
            while now() < 130:
                (sidecar,) = group.rng.choices(group.all, weights)
                await group.use(sidecar, of, Need(need, 0), used=used)
                await asyncio.sleep(0.15)
            first = sum(each.at_s < 60 for each in group.log) * used
            assert group.most(60, tokens=True) <= limit
            assert first >= min(0.95 * limit, limit - need + 1)
            calls = sum(each.limiter.counts["waited"] for each in group.all)
            assert calls <= 60 * count

    run_in_virtual_time(play())


@pytest.mark.parametrize(("count", "weights"), LOADS)
def test_H3_slots_are_all_used_and_never_more(count: int, weights: list[int]) -> None:
    limit = 8

    async def play() -> None:
        of = key(concurrent_requests=limit)

        async def client(group: Sidecars, number: int) -> None:
            while now() < 60:
                (sidecar,) = group.rng.choices(group.all, weights)
                if await group.ask(sidecar, of):
                    await asyncio.sleep(group.rng.uniform(0.1, 0.6))
                    group.finish(sidecar)
                else:
                    await asyncio.sleep(0.2)

        with sidecars(count) as group:
            await group.shared()
            await asyncio.gather(*(client(group, number) for number in range(10 * limit)))
            assert group.most_at_once() == limit
            used_s = sum((each.until_s or 60) - each.at_s for each in group.log if each.at_s > 5)
            assert used_s >= 0.85 * limit * 55
            writes = sum(each.limiter.counts["write"] for each in group.all)
            assert writes < len(group.log)

    run_in_virtual_time(play())


def test_within_what_is_held_nothing_is_asked_of_the_ledger() -> None:
    async def play() -> None:
        of = key(requests_per_minute=10_000, concurrent_requests=100)
        with sidecars(3) as group:
            await group.shared()
            await offer(group, of, for_s=70, every_s=0.1)
            before = [dict(each.limiter.counts) for each in group.all]
            await offer(group, of, for_s=50, every_s=0.1)
            after = [dict(each.limiter.counts) for each in group.all]
            assert [each["waited"] for each in after] == [each["waited"] for each in before]
            written = sum(each["write"] for each in after) - sum(each["write"] for each in before)
            assert written <= 25  # of five hundred requests

    run_in_virtual_time(play())


def test_the_load_moves_and_the_permits_after_it() -> None:
    async def play() -> None:
        of = key(requests_per_minute=60)
        with sidecars(2) as group:
            await group.shared()
            for weights in ([1, 0], [0, 1], [1, 0]):
                began_s = now()
                await offer(group, of, for_s=120, every_s=0.1, weights=weights)
                assert group.admitted(began_s + 60) >= 55
            assert group.most(60) == 60

    run_in_virtual_time(play())


def test_a_sidecar_with_little_to_do_gets_it_done_beside_a_greedy_one() -> None:
    async def play() -> None:
        of = key(requests_per_minute=60)
        with sidecars(2) as group:
            await group.shared()
            greedy, modest = group.all
            hog = asyncio.create_task(offer(group, of, for_s=400, every_s=0.05, weights=[1, 0]))
            await asyncio.sleep(60)
            asked = [await group.use(modest, of) for _ in range(40) if await _pause(6)]
            assert sum(asked[20:]) >= 10
            assert group.most(60) == 60
            assert group.admitted(sidecar=greedy) > 100
            hog.cancel()

    run_in_virtual_time(play())


async def _pause(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return True


def test_slots_of_the_dead_are_free_after_a_lease_and_no_sooner() -> None:
    async def play() -> None:
        of = key(concurrent_requests=4)
        with sidecars(2) as group:
            await group.shared()
            one, other = group.all
            for _ in range(4):
                assert await group.ask(one, of)
            group.kill(one)
            died_s = now()
            while not await group.ask(other, of):
                await asyncio.sleep(0.25)
            assert LEASE_S * 0.8 <= now() - died_s <= LEASE_S * 1.2
            for _ in range(3):
                assert await group.ask(other, of)
            assert not await group.ask(other, of)

    run_in_virtual_time(play())


def test_one_that_is_silent_stops_before_the_others_take_it_for_dead() -> None:
    """Its connection hangs, and nobody tells it: what it may use is for the time of its lease."""

    async def play() -> None:
        of = key(requests_per_minute=20)
        with sidecars(2) as group:
            await group.shared()
            one, other = group.all
            for sidecar in (one, other):
                for _ in range(4):
                    await group.use(sidecar, of)
            await asyncio.sleep(3)
            one.ledger.is_connected = False  # without a word
            silent_s = now()
            while one.limiter.is_shared:
                await group.use(one, of)
                await asyncio.sleep(1)
            assert now() - silent_s <= LEASE_S
            assert not one.limiter.is_shared
            assert other.limiter.is_shared
            one.limiter.closed()
            one.ledger.connect()
            await group.shared()
            await offer(group, of, for_s=60, every_s=0.1)
            assert group.most(60) <= 20 + 10  # its share at most, while it was cut off alone

    run_in_virtual_time(play())


@pytest.mark.parametrize(
    ("limits", "length_s"),
    [
        pytest.param({"requests_per_minute": 20}, 60, id="minute"),
        pytest.param({"requests_per_hour": 20}, 3600, id="hour"),
        pytest.param({"budget": budget(20 / DOLLAR)}, 86_400, id="budget"),
    ],
)
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_what_was_used_by_those_who_are_gone_counts_until_it_has_slid_out(
    limits: dict[str, Any], length_s: float, how: str
) -> None:
    async def play() -> None:
        of = key(**limits)
        with sidecars(1) as group:
            await group.shared()
            (one,) = group.all
            for _ in range(12):
                assert await group.use(one, of)
            other = group.start()
            await group.shared()
            await asyncio.sleep(8)
            if how == "stopped":
                await group.stop(one)
            else:
                group.kill(one)
                await asyncio.sleep(LEASE_S * 1.5)
            used = 0
            while await group.use(other, of):
                used += 1
            # What the dead held beyond may have been used.
            assert 8 - (0 if how == "stopped" else 3) <= used <= 8
            await asyncio.sleep(length_s * 1.2 + LEASE_S)
            assert sum([await group.use(other, of) for _ in range(25)]) == 20

    run_in_virtual_time(play())


def test_a_debt_is_paid_by_all() -> None:
    async def play() -> None:
        of = key(tokens_per_minute=100)
        with sidecars(2) as group:
            await group.shared()
            one, other = group.all
            assert await group.use(other, of, Need(10, 0))
            found = await one.limiter.reserve(of, Need(10, 0))
            assert found is not None
            found.commit(tokens=150, cost_picodollars=0)
            await asyncio.sleep(0.1)
            assert not await group.use(other, of, Need(1, 0))
            assert remaining(other, of) == 0
            await asyncio.sleep(62)
            assert await group.use(other, of, Need(90, 0))

    run_in_virtual_time(play())


@pytest.mark.parametrize(
    ("before", "after", "most"),
    [
        pytest.param({"requests_per_minute": 60}, {"requests_per_minute": 20}, 20, id="H6-lowered"),
        pytest.param({"requests_per_minute": 20}, {"requests_per_minute": 60}, 60, id="H6-raised"),
    ],
)
def test_H6_a_limit_that_is_changed_live_holds_for_all(
    before: dict[str, int], after: dict[str, int], most: int
) -> None:
    async def play() -> None:
        first, then = key(**before), key(**after)
        with sidecars(3) as group:
            await group.shared()
            await offer(group, first, for_s=60, every_s=0.1)
            await offer(group, then, for_s=70, every_s=0.1)
            group.log.clear()
            await offer(group, then, for_s=70, every_s=0.1)
            assert most * 0.95 <= group.most(60) <= most

    run_in_virtual_time(play())


def test_what_is_left_counts_what_others_hold() -> None:
    async def play() -> None:
        of = key(requests_per_minute=100)
        with sidecars(2) as group:
            await group.shared()
            one, other = group.all
            for _ in range(30):
                await group.use(one, of)
            assert await group.use(other, of)
            await asyncio.sleep(0.1)
            assert 50 <= remaining(other, of) <= 69
            assert 60 <= remaining(one, of) <= 69

    run_in_virtual_time(play())


def test_a_key_that_is_idle_holds_nothing() -> None:
    async def play() -> None:
        of = key(requests_per_minute=100)
        with sidecars(2) as group:
            await group.shared()
            for sidecar in group.all:
                await group.use(sidecar, of)
            await asyncio.sleep(400)
            record = group.store.get(of.id)
            assert record is None or b"sidecar" not in record.content
            assert all(not each.limiter._local.usages for each in group.all)

    run_in_virtual_time(play())


def test_a_record_of_another_version_leaves_each_its_share() -> None:
    async def play() -> None:
        of, other = key(requests_per_minute=20), key("other", requests_per_minute=20)
        with sidecars(2) as group:
            await group.shared()
            await asyncio.sleep(1)
            group.store.put(of.id, b'{"v":99}', None, None)
            for sidecar in group.all:
                assert sum([await group.use(sidecar, of) for _ in range(20)]) == 10
            assert all(each.limiter.is_shared for each in group.all)
            assert sum([await group.use(group.all[0], other) for _ in range(30)]) == 20

    run_in_virtual_time(play())


def test_what_is_held_is_not_forgotten_while_it_is_held() -> None:
    """Of a key that nobody asks for any more, by those who sweep what makes no difference."""

    async def play() -> None:
        of = key(requests_per_minute=10_000)
        with sidecars(2) as group:
            await group.shared()
            one, other = group.all
            await offer(group, of, for_s=5, every_s=0.01, weights=[1, 0])
            await asyncio.sleep(500)
            assert remaining(other, of) == 10_000
            assert sum([await group.use(other, of) for _ in range(100)]) == 100
            await group.stop(one)
            record = group.store.get(of.id)
            assert record is not None
            assert one.name.encode() not in record.content

    run_in_virtual_time(play())
