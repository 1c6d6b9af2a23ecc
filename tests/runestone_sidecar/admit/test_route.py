"""Policy, pools and state -> the order of offers."""

import random
from collections import Counter

import pytest

from runestone_contract.config import (
    Match,
    Model,
    Rule,
    Target,
)
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Router, Trace, visible_models
from runestone_sidecar.errors import BadRequest, ModelNotFound, NoProvider
from runestone_sidecar.upstream.surfaces.embeddings import EMBEDDINGS
from runestone_testing.routing import order, pool, priced, principal, provider, query, snapshot


def test_targets_come_in_their_order_and_providers_by_priority() -> None:
    found = snapshot(
        pool("one", provider("b", priority=1), provider("a", priority=0)),
        pool("two", provider("c")),
    )
    assert order(found) == ["one/a", "one/b", "two/c"]


def test_the_first_rule_that_matches_wins() -> None:
    pools = (pool("one", provider("a", "m", "x")), pool("two", provider("b", "m", "x")))
    rules = (
        Rule(name="x", match=Match(models=("x*",)), targets=(Target(pool="shop/two"),)),
        Rule(name="rest", targets=(Target(pool="shop/one"),)),
    )
    found = snapshot(*pools, rules=rules)
    assert order(found, query("x")) == ["two/b"]
    assert order(found, query("m")) == ["one/a"]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        pytest.param(Match(tenants=("team",)), True, id="tenant"),
        pytest.param(Match(tenants=("other",)), False, id="other-tenant"),
        pytest.param(Match(api_keys=("app",)), True, id="api-key"),
        pytest.param(Match(api_keys=("nobody",)), False, id="other-api-key"),
        pytest.param(Match(headers=(("x-experiment", "ab"),)), True, id="header"),
        pytest.param(Match(headers=(("x-experiment", "no"),)), False, id="other-header"),
        pytest.param(Match(capabilities=("Tools",)), True, id="capability-needed"),
        pytest.param(Match(capabilities=("Vision",)), False, id="capability-not-needed"),
        pytest.param(Match(capabilities=("Tools", "Reasoning")), True, id="capability-preferred"),
        pytest.param(Match(models=("m",), tenants=("other",)), False, id="all-parts-must-match"),
    ],
)
def test_each_part_of_a_match(match: Match, hit: bool) -> None:
    rules = (
        Rule(name="special", match=match, targets=(Target(pool="shop/two"),)),
        Rule(name="rest", targets=(Target(pool="shop/one"),)),
    )
    found = snapshot(pool("one", provider("a")), pool("two", provider("b")), rules=rules)
    asked = query(
        needs=frozenset({"Chat", "Tools"}),
        prefers=frozenset({"Reasoning"}),
        header={"x-experiment": "ab"}.get,
    )
    assert order(found, asked) == (["two/b"] if hit else ["one/a"])


def test_fallbacks_come_last_with_their_own_model() -> None:
    rules = (
        Rule(
            name="r",
            targets=(Target(pool="shop/one"),),
            fallbacks=(Target(pool="shop/two", model="spare"),),
        ),
    )
    found = snapshot(pool("one", provider("a")), pool("two", provider("b", "spare")), rules=rules)
    assert order(found) == ["one/a", "two/b"]


def test_a_fallback_does_not_make_an_unknown_model_known() -> None:
    rules = (
        Rule(
            name="r",
            targets=(Target(pool="shop/one"),),
            fallbacks=(Target(pool="shop/two", model="spare"),),
        ),
    )
    found = snapshot(pool("one", provider("a")), pool("two", provider("b", "spare")), rules=rules)
    with pytest.raises(ModelNotFound):
        order(found, query("gpt-99"))


def test_a_fallback_that_serves_the_model_itself_makes_it_known() -> None:
    rules = (
        Rule(name="r", targets=(Target(pool="shop/one"),), fallbacks=(Target(pool="shop/two"),)),
    )
    found = snapshot(pool("one", provider("a")), pool("two", provider("b", "more")), rules=rules)
    assert order(found, query("more")) == ["two/b"]
    assert list(visible_models(found, principal(found))) == ["m", "more"]


@pytest.mark.parametrize("glob", ["fast", "m"])
def test_a_rule_matches_a_model_by_its_alias_and_by_its_name(glob: str) -> None:
    rules = (
        Rule(name="r", match=Match(models=(glob,)), targets=(Target(pool="shop/two"),)),
        Rule(name="rest", targets=(Target(pool="shop/one"),)),
    )
    found = snapshot(
        pool("one", provider("a")),
        pool("two", provider("b")),
        rules=rules,
        aliases={"fast": "m"},
    )
    assert order(found, query("fast")) == ["two/b"]


def test_what_a_key_may_not_see_is_refused_like_what_does_not_exist() -> None:
    found = snapshot(pool("one", provider("a", "m", "secret")), key={"allowed_models": ["m"]})
    texts = []
    for model in ("secret", "absent"):
        with pytest.raises(ModelNotFound) as refused:
            order(found, query(model))
        texts.append(refused.value.message.replace(model, "X"))
    assert texts[0] == texts[1]


def test_an_alias_is_resolved_before_the_key_is_checked() -> None:
    found = snapshot(
        pool("one", provider("a", "m", "other")),
        aliases={"fast": "m", "sly": "other"},
        key={"allowed_models": ["m"]},
    )
    assert order(found, query("fast")) == ["one/a"]
    with pytest.raises(ModelNotFound):
        order(found, query("sly"))


def test_a_key_whose_policy_is_missing_is_refused() -> None:
    found = snapshot(pool("one", provider("a")), key={"policy": "shop/gone"})
    with pytest.raises(NoProvider):
        order(found)


def test_cost_sorts_over_all_targets_and_puts_the_unpriced_last() -> None:
    unpriced = Model(name="m", upstream="m")
    found = snapshot(
        pool("one", provider("dear", priced("m", 9)), provider("unknown", unpriced)),
        pool("two", provider("cheap", priced("m", 1))),
        policy="Cost",
    )
    assert order(found) == ["two/cheap", "one/dear", "one/unknown"]


def test_unavailable_and_unable_providers_are_left_out_with_a_reason() -> None:
    able = Model(name="m", upstream="m", capabilities=("Chat", "Tools"))
    unable = Model(name="m", upstream="m", capabilities=("Chat",))
    found = snapshot(
        pool(
            "one",
            provider("out", able, unavailable="CredentialsMissing"),
            provider("unable", unable),
            provider("elsewhere", "other"),
            provider("keyless", able, credentials=["cred-absent"]),
            provider("alien", able, dialect="Telepathy"),
            provider("good", able),
        )
    )
    trace = Trace()
    asked = query(needs=frozenset({"Chat", "Tools"}))
    router = Router(load=LoadStore(), random=random.Random(1))
    decision = router.decide(found, principal(found), asked, trace)
    assert [offer.provider.name for offer in decision.offers] == ["good"]
    reasons = {id_.rpartition("/")[2]: reason for id_, _, reason in trace.rejected}
    assert reasons == {
        "out": "CredentialsMissing",
        "unable": "LacksCapability: Tools",
        "elsewhere": "DoesNotServeModel",
        "keyless": "CredentialsMissing",
        "alien": "DialectUnknown",
    }


def test_a_known_model_that_nobody_can_serve_now_is_no_provider() -> None:
    found = snapshot(pool("one", provider("a", unavailable="CredentialsMissing")))
    with pytest.raises(NoProvider):
        order(found)


@pytest.mark.parametrize(
    ("model", "fields", "code", "param", "told"),
    [
        pytest.param(
            Model(name="m", upstream="m", capabilities=("Chat",)),
            {"needs": frozenset({"Chat", "Vision"})},
            "model_not_supported",
            "model",
            "does not offer Vision",
            id="capability",
        ),
        pytest.param(
            Model(name="m", upstream="m", capabilities=("Chat",)),
            {"surface": EMBEDDINGS, "needs": frozenset({"Embeddings"})},
            "model_not_supported",
            "model",
            "does not offer Embeddings",
            id="embeddings-of-a-chat-model",
        ),
        pytest.param(
            Model(name="m", upstream="m", capabilities=("Chat",), context_window=1_000),
            {"input_tokens": 1_300},
            "context_length_exceeded",
            "messages",
            "maximum context length is 1000 tokens",
            id="context-window",
        ),
    ],
)
def test_what_no_waiting_mends_is_a_bad_request(
    model: Model, fields: dict[str, object], code: str, param: str, told: str
) -> None:
    found = snapshot(pool("one", provider("a", model)))
    with pytest.raises(BadRequest) as caught:
        order(found, query(**fields))  # type: ignore[arg-type]
    assert told in caught.value.message
    assert (caught.value.code, caught.value.param) == (code, param)


def test_an_estimate_a_little_over_the_window_is_left_to_the_provider() -> None:
    model = Model(name="m", upstream="m", capabilities=("Chat",), context_window=1_000)
    assert order(snapshot(pool("one", provider("a", model))), query(input_tokens=1_200))


def test_strategies() -> None:
    providers = (
        provider("a", priced("m", 3), weight=1),
        provider("b", priced("m", 1), weight=8),
        provider("c", priced("m", 2), weight=1),
    )

    def firsts(strategy: str, router: Router, count: int = 1) -> list[str]:
        found = snapshot(pool("p", *providers, strategy=strategy))
        return [order(found, router=router)[0].removeprefix("p/") for _ in range(count)]

    def fresh() -> Router:
        return Router(load=LoadStore(), random=random.Random(3))

    assert firsts("LowestCost", fresh()) == ["b"]
    weighted = Counter(firsts("Weighted", fresh(), 1000))
    assert 750 <= weighted["b"] <= 850
    assert set(firsts("Random", fresh(), 100)) == {"a", "b", "c"}
    busy = fresh()
    busy.load.of("shop/p/a").in_flight = 2
    busy.load.of("shop/p/b").in_flight = 1
    assert firsts("LeastBusy", busy) == ["c"]
    slow = fresh()
    for name, seconds in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        slow.load.of(f"shop/p/{name}").begin_call(slow.load.now_s())
        slow.load.of(f"shop/p/{name}").observe_first_byte(seconds)
    assert firsts("LowestLatency", slow) == ["b"]


def test_visible_models_are_those_the_key_could_be_routed_to() -> None:
    found = snapshot(
        pool("one", provider("a", "m", "hidden")),
        pool("two", provider("b", "elsewhere")),
        rules=(
            Rule(name="not-mine", match=Match(tenants=("x",)), targets=(Target(pool="shop/two"),)),
            Rule(name="mine", targets=(Target(pool="shop/one"),)),
        ),
        aliases={"fast": "m", "dead": "absent"},
        key={"allowed_models": ["m", "fast"]},
    )
    assert list(visible_models(found, principal(found))) == ["fast", "m"]


ALIAS_ONLY = Rule(name="r", match=Match(models=("fast",)), targets=(Target(pool="shop/one"),))
HEADER_FIRST = Rule(
    name="h",
    match=Match(models=("fast",), headers=(("x-team", "b"),)),
    targets=(Target(pool="shop/gone"),),
)
GONE = Rule(name="g", match=Match(models=("fast",)), targets=(Target(pool="shop/gone"),))
REST = Rule(name="rest", targets=(Target(pool="shop/two"),))


@pytest.mark.parametrize(
    ("rules", "aliases", "visible"),
    [
        pytest.param((ALIAS_ONLY,), {"fast": "m"}, ["fast"], id="a-rule-for-the-alias-alone"),
        pytest.param((ALIAS_ONLY, REST), {"fast": "m"}, ["fast", "m"], id="and-one-for-the-rest"),
        pytest.param((GONE, REST), {"fast": "m"}, ["m"], id="the-alias-goes-nowhere"),
        pytest.param((HEADER_FIRST, REST), {"fast": "m"}, ["fast", "m"], id="headers-aside"),
        pytest.param((REST,), {"m": "absent"}, [], id="an-alias-hides-a-model"),
    ],
)
def test_what_is_visible_is_what_can_be_asked_for(
    rules: tuple[Rule, ...], aliases: dict[str, str], visible: list[str]
) -> None:
    found = snapshot(
        pool("one", provider("a")), pool("two", provider("b")), rules=rules, aliases=aliases
    )
    assert list(visible_models(found, principal(found))) == visible
    for name in ("fast", "m"):
        if name in visible:
            assert order(found, query(name))
        else:
            with pytest.raises(ModelNotFound):
                order(found, query(name))
