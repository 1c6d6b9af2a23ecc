"""Who is left alone, who stands behind, and what is told: routing with state, on our own clock."""

import random
from dataclasses import dataclass, field

import pytest

from runestone_contract.config import CircuitBreaker, Config, Policy, Pool, Provider, Rule, Target
from runestone_sidecar.admit.availability import Held, all_held
from runestone_sidecar.admit.cooldown import Reason
from runestone_sidecar.admit.load import SICK, LoadStore, ProviderLoad
from runestone_sidecar.admit.route import Decision, Query, Router, Trace
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.snapshot import Snapshot
from runestone_sidecar.errors import GatewayError, NoProvider, RateLimited
from runestone_sidecar.telemetry.traffic import NONE
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_testing import bundles
from runestone_testing.routing import serve

RULES = CircuitBreaker(failure_threshold=1, open_for_ms=30_000)
KEYS = Credentials(digest="", values={"cred-a": "sk-one", "cred-b": "sk-two"})


def provider(name: str, priority: int = 0) -> Provider:
    made = bundles.provider(
        "http://127.0.0.1:1", name=name, priority=priority, credentials=("cred-a", "cred-b")
    )
    return made.model_copy(update={"circuit_breaker": RULES})


@dataclass
class World:
    """One pool, and the state that routing looks at."""

    snapshot: Snapshot
    now_s: float = 0.0
    trace: Trace = field(default_factory=Trace)
    store: LoadStore = field(init=False)
    router: Router = field(init=False)

    def __post_init__(self) -> None:
        self.store = LoadStore(clock=lambda: self.now_s)
        self.router = Router(load=self.store, random=random.Random(1))

    def load(self, name: str) -> ProviderLoad:
        return self.store.of(f"shop/pool/{name}")

    def decide(self) -> Decision:
        principal = next(iter(self.snapshot.keys.values()))
        query = Query(
            surface=OPENAI_CHAT,
            model="gpt-4o-mini",
            needs=frozenset({"Chat"}),
            input_tokens=1,
            output_tokens=1,
            max_output_tokens=None,
            choices=1,
            user=None,
            header=lambda _: None,
        )
        return self.router.decide(self.snapshot, principal, query, self.trace)

    def order(self) -> list[str]:
        return [offer.provider.name for offer in self.decide().offers]

    def serve(self) -> str:
        return serve(self.decide(), self.store)

    def refusal(self) -> GatewayError:
        with pytest.raises(GatewayError) as raised:
            self.order()
        return raised.value

    def trip(self, name: str) -> None:
        load = self.load(name)
        load.breaker.failed(RULES, "request", self.now_s)
        load.settle()

    def sicken(self, name: str) -> None:
        load = self.load(name)
        while load.score >= SICK:
            load.observe_outcome(0.0, self.now_s)
        load.settle()

    def pause(self, name: str, reason: Reason, *seconds: float) -> None:
        """The first credential, and the second; for an overload the provider."""
        load = self.load(name)
        credentials = self.snapshot.providers()[0].credentials
        for number, wait_s in enumerate(seconds):
            whose = None if reason is Reason.OVERLOADED else credentials[number]
            load.cooldowns.pause(whose, reason, wait_s, self.now_s)
        load.settle()


def world(*providers: Provider, strategy: str = "Priority", policy: str = "Default") -> World:
    rule = Rule(name="all", targets=(Target(pool="shop/pool"),), policy=policy)
    config = Config(
        namespace="shop",
        pools=(Pool(id="shop/pool", strategy=strategy, providers=providers),),
        keys=(bundles.key(),),
        policies=(Policy(id="shop/p", default=True, rules=(rule,)),),
    )
    return World(bundles.snapshot(config, KEYS))


def three(**fields: str) -> World:
    return world(*map(provider, "abc"), **fields)


def test_an_open_breaker_is_left_out_until_its_time_is_up() -> None:
    it = three()
    it.trip("a")
    assert it.order() == ["b", "c"]
    assert it.trace.rejected == [("shop/pool/a", "gpt-4o-mini", "BreakerOpen")]
    it.now_s = 30.0
    assert it.order() == ["a", "b", "c"]


def test_cooling_credentials_leave_out_their_provider_once_all_are() -> None:
    it = three()
    it.pause("a", Reason.RATE_LIMITED, 9)
    assert it.order() == ["a", "b", "c"]
    it.pause("a", Reason.RATE_LIMITED, 9, 5)
    assert it.order() == ["b", "c"]
    assert it.trace.rejected == [("shop/pool/a", "gpt-4o-mini", "CoolingDown")]
    it.now_s = 5.0
    assert it.order() == ["a", "b", "c"]


def test_an_overload_leaves_out_its_provider() -> None:
    it = three()
    it.pause("b", Reason.OVERLOADED, 9)
    assert it.order() == ["a", "c"]


def test_where_all_keys_are_refused_a_provider_is_the_last_hope() -> None:
    it = three()
    it.pause("a", Reason.REFUSED, 60)
    assert it.order() == ["a", "b", "c"]
    it.pause("a", Reason.REFUSED, 60, 60)
    assert it.order() == ["b", "c", "a"]
    it.trip("b")
    it.trip("c")
    assert it.order() == ["a"]


def test_when_all_are_limited_the_soonest_is_told() -> None:
    it = three()
    it.pause("a", Reason.RATE_LIMITED, 30, 20)
    it.pause("b", Reason.RATE_LIMITED, 9, 40)
    it.pause("c", Reason.RATE_LIMITED, 50, 50)
    it.now_s = 2.0
    error = it.refusal()
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0
    assert not error.exhausted


@pytest.mark.parametrize("limited", [True, False], ids=["limited", "sick"])
def test_what_is_of_no_model_names_none(limited: bool) -> None:
    """A provider's files, say."""
    it = three()
    ((offer, *_), *_) = next(iter(it.snapshot.pools.values())).offers.values()
    error = all_held((Held(offer, "CoolingDown", 1.0, limited=limited),), NONE)
    assert "provider of this request" in error.message
    assert "'-'" not in error.message


@pytest.mark.parametrize("other", ["breaker", "overload"])
def test_when_not_all_are_limited_it_is_no_rate_limit(other: str) -> None:
    it = world(provider("a"), provider("b"))
    it.pause("a", Reason.RATE_LIMITED, 20, 20)
    if other == "breaker":
        it.trip("b")
    else:
        it.pause("b", Reason.OVERLOADED, 30)
    error = it.refusal()
    assert isinstance(error, NoProvider)
    assert error.retry_after_s == 20.0


STRATEGIES = ["Priority", "RoundRobin", "Weighted", "LeastBusy", "LowestLatency", "LowestCost"]


@pytest.mark.parametrize("strategy", [*STRATEGIES, "Random"])
@pytest.mark.parametrize("policy", ["Default", "Cost"])
def test_the_sick_stand_behind_whatever_the_strategy(strategy: str, policy: str) -> None:
    it = three(strategy=strategy, policy=policy)
    it.sicken("a")
    for _ in range(9):
        order = it.order()
        assert (order[-1], sorted(order)) == ("a", ["a", "b", "c"])


def test_round_robin_among_the_healthy_stays_in_turn() -> None:
    it = three(strategy="RoundRobin")
    it.sicken("b")
    assert [it.serve() for _ in range(4)] == ["a", "c", "a", "c"]


def test_round_robin_shares_evenly_among_those_who_are_not_left_alone() -> None:
    it = three(strategy="RoundRobin")
    it.trip("b")
    assert [it.serve() for _ in range(4)] == ["a", "c", "a", "c"]
    it.now_s = 30.0
    assert [it.serve() for _ in range(6)] == ["b", "a", "c", "b", "a", "c"]


@pytest.mark.parametrize("strategy", ["RoundRobin", "LeastBusy"])
def test_whose_turn_it_is_shows_when_a_request_is_served(strategy: str) -> None:
    """Requests that are routed and then wait, for their key's limit say, do not all go to one."""
    it = three(strategy=strategy)
    it.sicken("a")
    waiting = [it.decide() for _ in range(6)]
    served = []
    for decision in waiting:
        served.append(serve(decision, it.store))
        it.load(served[-1]).in_flight += 1
    assert served == ["b", "c", "b", "c", "b", "c"]


def test_who_was_refused_does_not_get_a_turn_by_waiting() -> None:
    it = three(strategy="RoundRobin")
    it.pause("a", Reason.REFUSED, 60, 60)
    assert [it.serve() for _ in range(4)] == ["b", "c", "b", "c"]


def test_the_sick_stand_behind_their_own_priority_alone() -> None:
    it = world(
        *(provider(name, priority) for name, priority in zip("abcd", (0, 0, 1, 1), strict=True))
    )
    it.sicken("a")
    it.sicken("c")
    assert it.order() == ["b", "a", "d", "c"]


def test_nobody_is_sick_for_ever() -> None:
    it = three()
    it.sicken("a")
    it.now_s = 60.0
    assert it.order() == ["a", "b", "c"]


def test_a_score_moves_with_what_calls_come_to() -> None:
    load, scores = ProviderLoad(), []
    for goodness in (0.0, 0.0, 0.0, 1.0, 0.5):
        load.observe_outcome(goodness, 0.0)
        scores.append(round(load.score, 3))
    assert scores == [0.75, 0.562, 0.422, 0.566, 0.55]
    for _ in range(99):
        load.observe_outcome(1.0, 0.0)
    assert load.score == 1.0
    load.settle()
    assert not load.marred
