"""The quickest of late: what was measured fades, and who was slow is tried again, now and then."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import pytest

from runestone_sidecar.admit.load import LATENCY_HALF_LIFE_S, LoadStore, ProviderLoad
from runestone_sidecar.admit.route import Decision, Router
from runestone_sidecar.config.snapshot import Snapshot
from runestone_testing.routing import pool, principal, provider, query, serve, snapshot

QUICK_S, SLOW_S = 0.001, 0.3


@dataclass
class Race:
    """Two providers, and how quick each is at the time."""

    quickness: Callable[[str, float], float]
    now_s: float = 0.0
    load: LoadStore = field(init=False)
    router: Router = field(init=False)
    snapshot: Snapshot = field(init=False)

    def __post_init__(self) -> None:
        self.load = LoadStore(clock=lambda: self.now_s)
        self.router = Router(load=self.load, random=random.Random(1))
        self.snapshot = snapshot(pool("p", provider("a"), provider("b"), strategy="LowestLatency"))

    def decide(self) -> Decision:
        return self.router.decide(self.snapshot, principal(self.snapshot), query())

    def answer(self, name: str) -> None:
        load = self.load.of(f"shop/p/{name}")
        load.observe_first_byte(self.quickness(name, self.now_s))

    def ask(self, *, every_s: float = 1.0) -> str:
        name = serve(self.decide(), self.load)
        self.answer(name)
        self.now_s += every_s
        return name


def test_all_are_measured_and_then_the_quickest_is_called() -> None:
    race = Race(lambda name, _: {"a": SLOW_S, "b": QUICK_S}[name])
    assert "".join(race.ask() for _ in range(8)) == "abbbbbbb"


def test_who_was_slow_once_is_found_to_be_quick() -> None:
    """It was slow while it loaded a model, say."""
    race = Race(lambda name, now_s: {"a": QUICK_S if now_s else 0.8, "b": SLOW_S}[name])
    served = "".join(race.ask() for _ in range(120))
    assert served.startswith("ab")
    assert 30 < served.index("a", 1) < 60  # it fades from 0.8 to 0.3 in 42 s
    assert served.endswith("a" * 30)


def test_who_grew_slow_is_left_at_once() -> None:
    race = Race(lambda name, now_s: {"a": SLOW_S if now_s > 20 else QUICK_S, "b": 0.02}[name])
    served = "".join(race.ask() for _ in range(60))
    assert set(served[2:20]) == {"a"}
    assert served[24:].count("a") <= 1


@pytest.mark.parametrize("slow_s", [0.002, 0.3, 30.0])
def test_the_slower_the_more_seldom_it_is_tried(slow_s: float) -> None:
    race = Race(lambda name, _: {"a": slow_s, "b": QUICK_S}[name])
    served = [race.ask() for _ in range(1800)]
    fades_s = {0.002: 30, 0.3: 247, 30.0: 446}[slow_s]
    assert abs(served.count("a") - 1800 / fades_s) <= 2


def test_one_request_pays_for_a_trial_however_many_come() -> None:
    race = Race(lambda name, _: {"a": 0.8, "b": SLOW_S}[name])
    assert [race.ask(every_s=0.0) for _ in range(2)] == ["a", "b"]
    race.now_s += 60.0
    race.load.of("shop/p/b").begin_call(race.now_s)
    at_once = [race.decide() for _ in range(10)]  # all find that it is to be tried
    assert {each.offers[0].provider.name for each in at_once} == {"a"}
    assert "".join(serve(each, race.load) for each in at_once) == "abbbbbbbbb"
    assert serve(race.decide(), race.load) == "b"  # nor any that comes before it is answered


def test_at_the_start_those_that_come_at_once_do_not_all_wait_for_one() -> None:
    race = Race(lambda _, __: QUICK_S)
    assert [serve(race.decide(), race.load) for _ in range(2)] == ["a", "b"]


def test_who_never_answers_is_tried_again_after_a_while() -> None:
    race = Race(lambda _, __: QUICK_S)
    assert serve(race.decide(), race.load) == "a"  # and nothing is measured
    served = "".join(race.ask() for _ in range(int(LATENCY_HALF_LIFE_S) + 5))
    assert served.index("a") == LATENCY_HALF_LIFE_S


def test_what_has_faded_weighs_no_more() -> None:
    load = ProviderLoad()
    for now_s, seconds in ((0.0, 1.0), (0.0, 0.5), (60.0, 0.1)):
        load.begin_call(now_s)
        load.observe_first_byte(seconds)
    assert load.first_byte_s == pytest.approx(0.25 * 0.9 + 0.75 * 0.1)
    assert load.expected_s(inf) == 0.0
