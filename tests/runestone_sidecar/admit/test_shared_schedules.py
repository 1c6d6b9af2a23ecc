"""Any schedule of requests, deaths and outages against a log of all that was admitted anywhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runestone_contract.config import Budget
from runestone_sidecar.admit.limits import Need
from runestone_testing.limited import key
from runestone_testing.sidecars import Sidecars, now, sidecars
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from runestone_sidecar.config.snapshot import Principal

WHO = st.integers(0, 4)
CALM = [
    st.tuples(
        st.just("wait"), st.sampled_from([0.001, 0.05, 0.5, 1.0, 3.0, 11.0, 31.0, 60.0, 75.0])
    ),
    st.tuples(st.just("ask"), st.tuples(WHO, st.integers(1, 12))),
    st.tuples(st.just("ask"), st.tuples(WHO, st.integers(1, 12))),
    st.tuples(st.just("finish"), WHO),
    st.tuples(st.just("finish"), WHO),
    st.tuples(st.just("give back"), WHO),
]
LONG = [
    st.tuples(st.just("wait"), st.sampled_from([600.0, 1790.0, 3541.0, 3661.0])),
]
DEATHS = [
    st.tuples(st.just("kill"), WHO),
    st.tuples(st.just("stop"), WHO),
    st.tuples(st.just("start"), st.none()),
]
OUTAGES = [
    st.tuples(st.just("down"), st.booleans()),
]


def schedules(*steps: Any) -> Any:
    return st.lists(st.one_of(*steps), min_size=5, max_size=60)


async def step(group: Sidecars, of: Principal, what: str, with_: Any, need: Need) -> None:
    if what == "wait":
        await asyncio.sleep(with_)
    elif what == "start":
        if len(group.all) < 5:
            group.start()
    elif what == "down":
        if group.store.is_up:
            group.go_down()
        else:
            group.come_up(wiped=with_)
    elif what == "ask":
        who, count = with_
        sidecar = group.all[who % len(group.all)]
        await asyncio.gather(*(group.ask(sidecar, of, need) for _ in range(count)))
    else:
        sidecar = group.all[with_ % len(group.all)]
        ends = {"finish": group.finish, "give back": group.give_back}
        if what in ends:
            ends[what](sidecar)
        elif len(group.all) > 1:
            if what == "kill":
                group.kill(sidecar)
            else:
                await group.stop(sidecar)


def play(
    steps: list[tuple[str, Any]], count: int, seed: int, of: Principal, need: Need
) -> Sidecars:
    async def playing() -> Sidecars:
        with sidecars(count, seed=seed, slowest_s=0.02) as group:
            await group.shared()
            for what, with_ in steps:
                await step(group, of, what, with_, need)
            for each in group.all:
                while each.running:
                    group.finish(each)
            return group

    return run_in_virtual_time(playing())


@settings(max_examples=60, deadline=None)
@given(
    steps=schedules(*CALM, *DEATHS),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 20),
)
def test_no_minute_holds_more_requests_whoever_dies_or_joins(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int
) -> None:
    of = key(requests_per_minute=limit)
    assert play(steps, count, seed, of, Need(1, 0)).most(60) <= limit


@settings(max_examples=50, deadline=None)
@given(
    steps=schedules(*CALM, *DEATHS),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 60),
    tokens=st.integers(1, 25),
)
def test_no_minute_holds_more_tokens_whoever_dies_or_joins(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int, tokens: int
) -> None:
    of = key(tokens_per_minute=limit, requests_per_hour=10_000)
    group = play(steps, count, seed, of, Need(min(tokens, limit), 0))
    assert group.most(60, tokens=True) <= limit


@settings(max_examples=50, deadline=None)
@given(
    steps=schedules(*CALM, *LONG, *DEATHS),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 20),
)
def test_no_hour_holds_more_requests_whoever_dies_or_joins(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int
) -> None:
    of = key(requests_per_hour=limit)
    assert play(steps, count, seed, of, Need(1, 0)).most(3600) <= limit


@settings(max_examples=50, deadline=None)
@given(
    steps=schedules(*CALM, *LONG, *DEATHS),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 60),
    cost=st.integers(1, 25),
)
def test_no_more_money_is_spent_whoever_dies_or_joins(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int, cost: int
) -> None:
    of = key(budget=Budget(picodollars=limit, period="Hour"))
    spent = min(cost, limit)
    group = play(steps, count, seed, of, Need(spent, spent))
    assert group.most(3600, tokens=True) <= limit


@settings(max_examples=50, deadline=None)
@given(
    steps=schedules(*CALM, *DEATHS),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 12),
)
def test_no_more_run_at_once_whoever_dies_or_joins(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int
) -> None:
    of = key(concurrent_requests=limit)
    assert play(steps, count, seed, of, Need(1, 0)).most_at_once() <= limit


@settings(max_examples=60, deadline=None)
@given(
    steps=schedules(*CALM, *OUTAGES),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 20),
)
def test_no_minute_holds_more_while_the_ledger_comes_and_goes(
    steps: list[tuple[str, Any]], count: int, seed: int, limit: int
) -> None:
    """Who never used the key does not know what others held of it, and goes on with its part."""
    of = key(requests_per_minute=limit)
    part = -(-limit // count)
    assert play(steps, count, seed, of, Need(1, 0)).most(60) <= limit + (count - 1) * part


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any),
    count=st.integers(1, 5),
    seed=st.integers(0, 999),
    limit=st.integers(1, 12),
    down_s=st.sampled_from([1.0, 8.0, 12.0, 30.0, 70.0, 150.0]),
    wiped=st.booleans(),
)
def test_whose_share_was_known_keep_within_it_together_while_the_ledger_is_away(
    weights: list[int], count: int, seed: int, limit: int, down_s: float, wiped: bool
) -> None:
    of = key(requests_per_minute=limit)

    async def playing() -> None:
        with sidecars(count, seed=seed) as group:
            await group.shared()

            async def offer(for_s: float) -> None:
                until_s = now() + for_s
                while now() < until_s:
                    (sidecar,) = group.rng.choices(group.all, [1 + w for w in weights[:count]])
                    await group.use(sidecar, of)
                    await asyncio.sleep(60 / limit / 10)

            for sidecar in group.all:
                await group.use(sidecar, of)
            await offer(group.rng.uniform(0, 50))
            await asyncio.sleep(0.1)  # all have heard
            group.go_down()
            await offer(down_s)
            group.come_up(wiped=wiped)
            await offer(90)
            assert group.most(60) <= limit
            await group.shared()

    run_in_virtual_time(playing())
