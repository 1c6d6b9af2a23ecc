"""In turn: each provider of a pool gets its share of each model, whatever else is asked."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from runestone_contract.config import Model, Rule, Target
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Decision, Router
from runestone_sidecar.config.snapshot import Offer, Snapshot
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS
from runestone_testing.routing import pool, priced, principal, provider, query, serve, snapshot


@dataclass
class Served:
    """One pool of three in turn, and whom its requests went to."""

    snapshot: Snapshot
    load: LoadStore = field(default_factory=LoadStore)
    router: Router = field(init=False)

    def __post_init__(self) -> None:
        self.router = Router(load=self.load, random=random.Random(1))

    def decide(
        self, model: str = "m", surface: Surface = OPENAI_CHAT, **fields: object
    ) -> Decision:
        asked = query(model, surface=surface, **fields)
        return self.router.decide(self.snapshot, principal(self.snapshot), asked)

    def ask(self, model: str = "m", surface: Surface = OPENAI_CHAT, **fields: object) -> str:
        return serve(self.decide(model, surface, **fields), self.load, surface.name)


def in_turn(
    *rules: Rule, models: tuple[str | Model, ...] = ("m", "n"), dialect: str = "OpenAI"
) -> Served:
    found = pool(
        "p", *(provider(name, *models, dialect=dialect) for name in "abc"), strategy="RoundRobin"
    )
    return Served(snapshot(found, rules=rules or None))


HERE = Target(pool="shop/p")
PLAIN = Rule(name="r", targets=(HERE,))
SPARE = Rule(name="r", targets=(HERE,), fallbacks=(Target(pool="shop/p", model="n"),))
SPLIT = Rule(
    name="r",
    targets=tuple(Target(pool="shop/p", model=name, weight=1) for name in ("m", "n")),
)
CHEAPEST = Rule(name="r", targets=(HERE,), policy="Cost")


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(SPARE, id="fallback-to-the-same-pool"),
        pytest.param(CHEAPEST, id="of-one-price"),
    ],
)
def test_one_after_the_other(rule: Rule) -> None:
    it = in_turn(rule, models=(priced("m", 1), priced("n", 1)))
    assert [it.ask() for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_split_between_two_models_of_a_pool_leaves_both_in_turn() -> None:
    it, served = in_turn(SPLIT), Counter[tuple[str, str]]()
    for _ in range(120):
        decision = it.decide()
        served[decision.offers[0].model, serve(decision, it.load)] += 1
    for model in ("m", "n"):
        shares = [served[model, name] for name in "abc"]
        assert max(shares) - min(shares) <= 1 < min(shares)


def test_to_look_takes_no_turn() -> None:
    """What an estimate of costs does, and a job that is submitted."""
    it = in_turn()
    served = []
    for _ in range(6):
        first = it.decide().offers[0].provider.name
        assert it.decide().offers[0].provider.name == first
        served.append(it.ask())
        assert served[-1] == first
    assert served == ["a", "b", "c", "a", "b", "c"]


def test_each_model_has_its_own_turns() -> None:
    it = in_turn()
    for name in "abcabc":
        assert (it.ask("m"), it.ask("n"), it.ask("n")) == (
            name,
            *{"a": "ab", "b": "ca", "c": "bc"}[name],
        )


def test_each_api_has_its_own_turns() -> None:
    """Who counts the tokens of each chat first."""
    it = in_turn(dialect="Anthropic")
    served = [(it.ask(surface=COUNT_TOKENS), it.ask()) for _ in range(3)]
    assert served == [("a", "a"), ("b", "b"), ("c", "c")]


def test_the_others_of_a_pool_do_not_take_the_turn_of_a_target() -> None:
    only_b = Target(pool="shop/p", provider="b")
    weights = (HERE.model_copy(update={"weight": 0}), only_b.model_copy(update={"weight": 1}))
    for targets in ((only_b, HERE), weights):
        it = in_turn(Rule(name="r", targets=targets))
        assert [it.ask() for _ in range(3)] == ["b", "b", "b"]


def test_the_dearer_do_not_take_the_turn_of_the_cheap() -> None:
    providers = (
        provider(name, priced("m", dollars)) for name, dollars in zip("abc", (1, 2, 1), strict=True)
    )
    it = Served(snapshot(pool("p", *providers, strategy="RoundRobin"), rules=(CHEAPEST,)))
    assert [it.ask() for _ in range(4)] == ["a", "c", "a", "c"]


def test_who_would_refuse_what_is_preferred_takes_no_turn() -> None:
    unable = Model(name="m", upstream="m", capabilities=("Chat",))
    providers = (provider("a", unable), provider("b"), provider("c"))
    it = Served(snapshot(pool("p", *providers, strategy="RoundRobin")))
    assert [it.ask(prefers=frozenset({"Reasoning"})) for _ in range(4)] == ["b", "c", "b", "c"]


def test_in_the_stead_of_one_that_fails_the_others_serve_evenly() -> None:
    it = in_turn()
    called: list[str] = []

    def call(offers: list[Offer]) -> None:
        for offer in offers:
            called.append(offer.provider.name)
            it.load.take_turn(offer, offers[0], OPENAI_CHAT.name)
            if offer.provider.name != "a":
                return

    for _ in range(60):
        call([*it.decide().offers])
    counts = Counter(called)
    assert abs(counts["b"] - counts["c"]) <= 1
    assert counts["a"] == 20  # it is the first of no more than its share


def test_turns_are_kept_over_reloads_as_long_as_their_model_is_there() -> None:
    it = in_turn()
    assert [it.ask("m"), it.ask("n"), it.ask("n")] == ["a", "a", "b"]
    it.load.follow(it.snapshot.providers(), {"n"})
    assert [it.ask("m"), it.ask("n")] == ["a", "c"]
