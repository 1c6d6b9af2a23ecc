"""How hard a Claude model is to think, from OpenAI's `reasoning_effort` or its own `thinking`.

The tables are the documentation. A hint gives way to a demand: where a tool call is forced, or the
conversation lacks what thinking would need, the model does not think.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.upstream.dialects.anthropic_messages import Turn, lacks_thinking
from runestone_sidecar.upstream.dialects.anthropic_models import Generation, Thinking, ThinkingOff
from runestone_sidecar.upstream.dialects.base import MAX_TOKENS, Untranslatable

# reasoning_effort -> `output_config.effort`: the first of these that the model knows
EFFORTS: Final[Mapping[str, tuple[str, ...]]] = {
    "none": ("low",),  # of a model that cannot but think
    "minimal": ("low",),
    "low": ("low",),
    "medium": ("medium",),
    "high": ("high",),
    "xhigh": ("xhigh", "high"),
    "max": ("max",),
}
# reasoning_effort -> `thinking.budget_tokens`, at most half of max_tokens; too little for the
# smallest budget means no thinking
BUDGETS_TOKENS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
_MIN_BUDGET_TOKENS: Final = 1_024


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    thinking: dict[str, Any] | None = None
    effort: str | None = None

    @property
    def is_on(self) -> bool:
        return self.thinking is not None and self.thinking.get("type") in ("enabled", "adaptive")


def thinking_of(
    body: Mapping[str, Any],
    generation: Generation,
    turns: list[Turn],
    *,
    max_tokens: int,
    forces_a_call: bool,
) -> ThinkingPlan:
    """Raises Untranslatable."""
    effort = body.get("reasoning_effort")
    if effort is not None and not (isinstance(effort, str) and effort in EFFORTS):
        raise Untranslatable("This reasoning effort is not known.", param="reasoning_effort")
    own = body.get("thinking")
    if own is not None:
        if not isinstance(own, dict):
            raise Untranslatable("This must be an object.", param="thinking")
        plan = ThinkingPlan(own)
        if not (plan.is_on and forces_a_call):
            return plan
    match generation.thinking:
        case Thinking.ADAPTIVE:
            return _adaptive(effort, generation, forces_a_call=forces_a_call)
        case Thinking.BUDGET if effort is not None and not forces_a_call:
            return _budget(effort, turns, max_tokens)
        case _:
            return ThinkingPlan()


def budget_of(body: Mapping[str, Any]) -> int:
    """The tokens that the client itself lets the model think."""
    match body.get("thinking"):
        case {"type": "enabled", "budget_tokens": int() as budget} if 0 < budget < MAX_TOKENS:
            return budget
    return 0


def _adaptive(effort: str | None, generation: Generation, *, forces_a_call: bool) -> ThinkingPlan:
    level = None
    if effort is not None:
        level = next(name for name in EFFORTS[effort] if name in generation.efforts)
    if effort == "none" or forces_a_call:
        match generation.thinking_off:
            case ThinkingOff.OMIT:
                return ThinkingPlan(effort=None if effort == "none" else level)
            case ThinkingOff.NEVER:
                return ThinkingPlan(effort=level)
            case off:
                return ThinkingPlan({"type": off.value}, _with_thinking_off(effort, level))
    if level is None:
        return ThinkingPlan()  # the model's own default
    thinking = {"type": "adaptive"}
    if generation.thinking_display:
        thinking["display"] = "summarized"
    return ThinkingPlan(thinking, level)


def _with_thinking_off(effort: str | None, level: str | None) -> str | None:
    # Thinking can be turned off at an effort of high or less only.
    return None if effort == "none" or level not in ("low", "medium", "high") else level


def _budget(effort: str, turns: list[Turn], max_tokens: int) -> ThinkingPlan:
    budget = min(BUDGETS_TOKENS[effort], max_tokens // 2)
    is_prefill = turns[-1]["role"] == "assistant"
    if budget < _MIN_BUDGET_TOKENS or is_prefill or lacks_thinking(turns):
        return ThinkingPlan()
    return ThinkingPlan({"type": "enabled", "budget_tokens": budget})
