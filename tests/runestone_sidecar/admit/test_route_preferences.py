"""Who comes later because a request prefers what it cannot do."""

import pytest

from runestone_contract.config import Model, Rule, Target
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.messages import MESSAGES
from runestone_testing.routing import order, pool, priced, provider, query, snapshot

REASONING = frozenset({"Reasoning"})


def stating(*capabilities: str, dollars: int = 1) -> Model:
    return priced("m", dollars).model_copy(update={"capabilities": capabilities})


@pytest.mark.parametrize(
    ("surface", "expected"),
    [
        pytest.param(OPENAI_CHAT, ["unknown", "able", "claude", "cheap"], id="as-it-is"),
        pytest.param(MESSAGES, ["cheap", "unknown", "able", "claude"], id="translated"),
    ],
)
def test_who_would_refuse_what_is_preferred_goes_last(
    surface: Surface, expected: list[str]
) -> None:
    """Translations drop what a model cannot do: where nobody refuses, the order stays."""
    found = snapshot(
        pool(
            "one",
            provider("cheap", stating("Chat", dollars=1)),
            provider("unknown", stating(dollars=2)),
            provider("able", stating("Chat", "Reasoning", dollars=3)),
            provider("claude", stating("Chat", dollars=4), dialect="Anthropic"),
        ),
        policy="Cost",
    )
    names = [name.removeprefix("one/") for name in order(found, query(surface=surface))]
    assert names == ["cheap", "unknown", "able", "claude"]
    asked = query(surface=surface, prefers=REASONING)
    assert [name.removeprefix("one/") for name in order(found, asked)] == expected


def test_a_preference_makes_no_fallback_a_target_and_keeps_nobody_out() -> None:
    rule = Rule(
        name="r",
        targets=(Target(pool="shop/one"),),
        fallbacks=(Target(pool="shop/two"), Target(pool="shop/three")),
    )
    found = snapshot(
        pool("one", provider("plain", stating("Chat"))),
        pool("two", provider("spare", stating("Chat"))),
        pool("three", provider("able", stating("Chat", "Reasoning"))),
        rules=(rule,),
    )
    assert order(found, query(prefers=REASONING)) == ["one/plain", "three/able", "two/spare"]
