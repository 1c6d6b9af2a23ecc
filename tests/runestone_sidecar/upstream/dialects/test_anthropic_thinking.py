"""Reasoning effort on every generation of models: each row of the tables, and never an error."""

from typing import Any

import pytest

from runestone_sidecar.upstream.dialects.anthropic_models import (
    Thinking,
    ThinkingOff,
    generation_of,
)
from runestone_sidecar.upstream.dialects.anthropic_thinking import (
    BUDGETS_TOKENS,
    EFFORTS,
    ThinkingPlan,
    thinking_of,
)

TURNS: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
PREFILL = [*TURNS, {"role": "assistant", "content": [{"type": "text", "text": "y"}]}]
MODELS = ["claude-3-haiku", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "other"]
MODELS += ["claude-opus-5", "claude-fable-5", "claude-sonnet-5-5", "claude-opus-5-5"]


def plan(
    model: str, effort: str, *, forced: bool = False, turns: Any = None, max_tokens: int = 100_000
) -> ThinkingPlan:
    return thinking_of(
        {"reasoning_effort": effort},
        generation_of(model),
        turns or TURNS,
        max_tokens=max_tokens,
        forces_a_call=forced,
    )


@pytest.mark.parametrize("forced", [False, True], ids=["free", "forced"])
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("model", MODELS)
def test_no_model_is_asked_for_what_it_refuses(model: str, effort: str, forced: bool) -> None:
    generation, asked = generation_of(model), plan(model, effort, forced=forced)
    assert asked.effort is None or asked.effort in generation.efforts
    kind = asked.thinking and asked.thinking["type"]
    match generation.thinking:
        case Thinking.NONE:
            assert asked == ThinkingPlan()
        case Thinking.BUDGET:
            budget = BUDGETS_TOKENS[effort]
            wanted = {"type": "enabled", "budget_tokens": budget}
            assert asked == ThinkingPlan(None if forced or not budget else wanted)
        case Thinking.ADAPTIVE if forced or effort == "none":
            known = {ThinkingOff.OMIT: None, ThinkingOff.NEVER: None}
            off = generation.thinking_off
            assert kind == known.get(off, off.value)
            assert not asked.is_on
        case Thinking.ADAPTIVE:
            assert kind == "adaptive"
            assert asked.is_on


OWN = [{"type": "enabled", "budget_tokens": 2_000}, {"type": "adaptive"}]


def own_plan(model: str, forced: bool, **body: Any) -> ThinkingPlan:
    return thinking_of(body, generation_of(model), TURNS, max_tokens=100_000, forces_a_call=forced)


@pytest.mark.parametrize("effort", [None, "high"], ids=["alone", "with an effort"])
@pytest.mark.parametrize("own", OWN, ids=["budget", "adaptive"])
@pytest.mark.parametrize("model", MODELS)
def test_a_clients_own_way_of_thinking_gives_way_to_a_forced_tool(
    model: str, own: dict[str, Any], effort: str | None
) -> None:
    assert own_plan(model, False, thinking=own, reasoning_effort=effort) == ThinkingPlan(own)
    forced = own_plan(model, True, thinking=own, reasoning_effort=effort)
    assert not forced.is_on
    assert forced == own_plan(model, True, reasoning_effort=effort)


@pytest.mark.parametrize("kind", ["disabled", "between_tools"])
def test_what_turns_thinking_off_is_sent_with_a_forced_tool(kind: str) -> None:
    own = {"type": kind}
    assert own_plan("claude-opus-5", True, thinking=own) == ThinkingPlan(own)


@pytest.mark.parametrize("effort", EFFORTS)
def test_an_effort_keeps_its_name_where_it_can(effort: str) -> None:
    level = {"none": None, "minimal": "low"}.get(effort, effort)
    assert plan("claude-opus-4-8", effort).effort == level


@pytest.mark.parametrize(
    ("max_tokens", "budget"),
    [(2_047, None), (2_048, 1_024), (10_000, 5_000), (40_000, 16_384)],
    ids=["too little", "least", "half", "enough"],
)
def test_a_budget_leaves_room_for_the_answer(max_tokens: int, budget: int | None) -> None:
    asked = plan("claude-sonnet-4-5", "high", max_tokens=max_tokens)
    assert asked.thinking == (budget and {"type": "enabled", "budget_tokens": budget})


def test_a_reply_to_be_continued_leaves_no_room_for_a_budget() -> None:
    assert plan("claude-sonnet-4-5", "high", turns=PREFILL) == ThinkingPlan()
