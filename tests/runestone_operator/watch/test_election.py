"""Of several operators at most one leads, whatever is late, lost, frozen or away."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from runestone_operator.errors import ConflictError, NotFoundError, UnreachableError
from runestone_operator.kinds import LEASE, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.watch.election import Election, Terms
from runestone_testing.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LEASE_S = 15.0
Manifest = dict[str, Any]


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Store:
    """The one Lease, as the API server keeps it."""

    lease: Manifest | None = None
    version: int = 0

    def put(self, lease: Manifest) -> Manifest:
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


def refusal(kind: type[UnreachableError | ConflictError | NotFoundError]) -> Exception:
    return kind(verb="patch", what="Lease", status=None, reason="Told")


@dataclass
class Way:
    """To the store and back, for one operator: slow, cut, or standing still."""

    store: Store
    dice: random.Random = field(default_factory=random.Random)
    slowest_s: float = 0.0
    is_cut: bool = False
    moves: asyncio.Event = field(default_factory=asyncio.Event)

    async def _go(self) -> None:
        await asyncio.sleep(self.dice.uniform(0, self.slowest_s))
        await self.moves.wait()
        if self.is_cut:
            raise refusal(UnreachableError)

    async def read(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        await self._go()
        found = copy.deepcopy(self.store.lease)
        await self._go()
        if found is None:
            raise refusal(NotFoundError)
        return found

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        await self._go()
        if self.store.lease is not None:
            raise refusal(ConflictError)
        made = self.store.put(manifest)
        await self._go()
        return made

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        await self._go()
        there = copy.deepcopy(self.store.lease)
        if (
            there is None
            or there["metadata"]["resourceVersion"] != (patch["metadata"]["resourceVersion"])
        ):
            raise refusal(ConflictError)
        there["spec"] |= patch["spec"]
        made = self.store.put(there)
        await self._go()
        return made


@dataclass
class Operator:
    name: str
    way: Way
    election: Election
    leads: bool = False
    stops: int = 0
    task: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        self.leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False
            self.stops += 1

    def start(self) -> None:
        self.task = asyncio.create_task(self.election.serve(self.lead))

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def die(self) -> None:
        """Without a word."""
        self.way.is_cut = True
        self.way.moves.set()
        await self.stop()


def operator(
    store: Store,
    name: str,
    *,
    dice: random.Random | None = None,
    slowest_s: float = 0.0,
    pace: float = 1.0,
) -> Operator:
    """`pace` is how fast its clock goes."""
    loop = asyncio.get_running_loop()
    way = Way(store, dice or random.Random(0), slowest_s)
    way.moves.set()
    terms = Terms(LEASE_S)
    election = Election(
        way, "system", name, terms, Metrics(), clock=lambda: 100.0 * pace + pace * loop.time()
    )
    return Operator(name, way, election)


@contextlib.asynccontextmanager
async def running(*operators: Operator) -> AsyncIterator[None]:
    for each in operators:
        each.start()
    try:
        yield
    finally:
        for each in operators:
            each.way.moves.set()
            await each.stop()


async def until_leads(one: Operator, *, within_s: float) -> float:
    began_s = now()
    while not one.leads:
        assert now() - began_s <= within_s, f"{one.name} does not lead"
        await asyncio.sleep(0.01)
    return now() - began_s


def test_the_first_leads_and_the_second_waits() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            await asyncio.sleep(10 * LEASE_S)
            assert (one.leads, two.leads, one.stops) == (True, False, 0)
            assert store.lease is not None
            assert store.lease["spec"]["leaseTransitions"] == 1

    run_in_virtual_time(trial())


def test_who_goes_on_purpose_lets_the_next_one_in_at_once() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            await one.stop()
            assert store.holder == ""
            await until_leads(two, within_s=LEASE_S / 10 + 0.1)

    run_in_virtual_time(trial())


def test_who_dies_is_followed_within_the_lease_and_a_look() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            await asyncio.sleep(7.3)
            await one.die()
            took_s = await until_leads(two, within_s=LEASE_S * 1.1 + 0.1)
            assert took_s > LEASE_S / 2

    run_in_virtual_time(trial())


def test_started_again_under_its_name_it_goes_on_at_once() -> None:
    async def trial() -> None:
        store = Store()
        one = operator(store, "one")
        async with running(one):
            await until_leads(one, within_s=1)
            await one.die()
            again = operator(store, "one")
            async with running(again):
                await until_leads(again, within_s=0.1)

    run_in_virtual_time(trial())


def test_who_stood_still_knows_that_its_time_is_over() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            one.way.moves.clear()
            await until_leads(two, within_s=LEASE_S * 1.2)
            assert not one.election.is_won()
            one.way.moves.set()
            await asyncio.sleep(LEASE_S)
            assert (one.leads, two.leads, store.holder) == (False, True, "two")

    run_in_virtual_time(trial())


def test_a_lease_that_somebody_deletes_is_not_taken_from_its_holder() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            await asyncio.sleep(LEASE_S)
            store.lease = None
            await asyncio.sleep(LEASE_S)
            assert (one.leads, two.leads, one.stops) == (True, False, 0)

    run_in_virtual_time(trial())


def test_an_api_server_that_was_away_finds_the_same_leader() -> None:
    async def trial() -> None:
        store = Store()
        one, two = operator(store, "one"), operator(store, "two")
        async with running(one, two):
            await until_leads(one, within_s=1)
            for each in (one, two):
                each.way.is_cut = True
            await asyncio.sleep(LEASE_S * 0.9)
            assert not one.leads
            for each in (one, two):
                each.way.is_cut = False
            await asyncio.sleep(LEASE_S * 3)
            assert one.leads is not two.leads

    run_in_virtual_time(trial())


def test_what_fails_while_it_leads_ends_it() -> None:
    async def trial() -> None:
        store = Store()
        one = operator(store, "one")

        async def fail() -> None:
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            await one.election.serve(fail)
        assert store.holder == ""

    run_in_virtual_time(trial())


@pytest.mark.parametrize("seed", range(12))
def test_there_are_never_two(seed: int) -> None:
    """Slow ways, lost answers, pauses and clocks of different pace."""

    async def trial() -> int:
        dice = random.Random(seed)
        store = Store()
        operators = [
            operator(store, name, dice=dice, slowest_s=2.0, pace=pace)
            for name, pace in (("one", 1.0), ("two", 1.02), ("three", 0.98))
        ]
        leaders = set()
        async with running(*operators):
            while now() < 1200:
                await asyncio.sleep(dice.uniform(0.05, 3))
                won = [each.name for each in operators if each.election.is_won()]
                assert len(won) <= 1, won
                leaders.update(won)
                _disturb(dice, dice.choice(operators))
            for each in operators:
                each.way.is_cut, each.way.slowest_s = False, 0.0
                each.way.moves.set()
            await asyncio.sleep(3 * LEASE_S)
            assert sum(each.leads for each in operators) == 1
        return len(leaders)

    assert run_in_virtual_time(trial()) >= 1


def _disturb(dice: random.Random, one: Operator) -> None:
    if dice.random() < 0.1:
        one.way.is_cut = not one.way.is_cut
    if dice.random() < 0.1:
        if one.way.moves.is_set():
            one.way.moves.clear()
        else:
            one.way.moves.set()


def test_it_asks_for_the_right_object() -> None:
    assert LEASE.path("system", "x") == ("/apis/coordination.k8s.io/v1/namespaces/system/leases/x")
