"""Which generation a provider's name for a model tells."""

import pytest

from runestone_sidecar.upstream.dialects.anthropic_models import (
    Generation,
    Sampling,
    Thinking,
    ThinkingOff,
    generation_of,
)

NEVER, OMIT = ThinkingOff.NEVER, ThinkingOff.OMIT
# name -> thinking, what turns it off, sampling, output_format, forced_tools
NAMES: dict[str, tuple[Thinking, ThinkingOff, Sampling, bool, bool]] = {
    "claude-3-haiku-20240307": (Thinking.NONE, OMIT, Sampling.BOTH, False, True),
    "claude-3-opus-20240229": (Thinking.NONE, OMIT, Sampling.BOTH, False, True),
    "claude-3-5-sonnet-20241022": (Thinking.NONE, OMIT, Sampling.BOTH, False, True),
    "claude-3.5-haiku": (Thinking.NONE, OMIT, Sampling.BOTH, False, True),
    "claude-3-7-sonnet-latest": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "claude-sonnet-4-20250514": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "claude-opus-4@20250514": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "claude-opus-4-0": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "claude-opus-4-1-20250805": (Thinking.BUDGET, OMIT, Sampling.EITHER, False, True),
    "claude-sonnet-4-5-20250929": (Thinking.BUDGET, OMIT, Sampling.EITHER, True, True),
    "claude-haiku-4-5": (Thinking.BUDGET, OMIT, Sampling.EITHER, True, True),
    "anthropic/claude-sonnet-4.6": (Thinking.ADAPTIVE, OMIT, Sampling.EITHER, True, True),
    "us.anthropic.claude-opus-4-6-v1": (Thinking.ADAPTIVE, OMIT, Sampling.EITHER, True, True),
    "claude-opus-4-7": (Thinking.ADAPTIVE, OMIT, Sampling.NONE, True, True),
    "eu.anthropic.claude-opus-4-8-20260528-v1:0": (
        Thinking.ADAPTIVE,
        OMIT,
        Sampling.NONE,
        True,
        True,
    ),
    "claude-opus-5": (Thinking.ADAPTIVE, ThinkingOff.DISABLED, Sampling.NONE, True, True),
    "claude-sonnet-5": (Thinking.ADAPTIVE, ThinkingOff.DISABLED, Sampling.NONE, True, True),
    "claude-fable-5": (Thinking.ADAPTIVE, NEVER, Sampling.NONE, True, True),
    "claude-mythos-5-1": (Thinking.ADAPTIVE, NEVER, Sampling.NONE, True, False),
    "claude-opus-5-5": (Thinking.ADAPTIVE, NEVER, Sampling.NONE, True, False),
    "claude-sonnet-5-5": (
        Thinking.ADAPTIVE,
        ThinkingOff.BETWEEN_TOOLS,
        Sampling.NONE,
        True,
        False,
    ),
    "claude-haiku-5-5": (Thinking.ADAPTIVE, ThinkingOff.DISABLED, Sampling.NONE, True, True),
    "Claude-Opus-5-5": (Thinking.ADAPTIVE, NEVER, Sampling.NONE, True, False),
    "claude-opus-latest": (Thinking.ADAPTIVE, NEVER, Sampling.NONE, True, False),
    "claude-sonnet-17": (Thinking.ADAPTIVE, ThinkingOff.BETWEEN_TOOLS, Sampling.NONE, True, False),
    "claude-2.1": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "deepseek-chat": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
    "": (Thinking.BUDGET, OMIT, Sampling.BOTH, False, True),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_generation_of_a_name(name: str) -> None:
    model = generation_of(name)
    found = (
        model.thinking,
        model.thinking_off,
        model.sampling,
        model.output_format,
        model.forced_tools,
    )
    assert found == NAMES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_weighs_its_thinking_has_efforts(name: str) -> None:
    model: Generation = generation_of(name)
    assert bool(model.efforts) is (model.thinking is Thinking.ADAPTIVE)
    assert model.thinking_display <= (model.sampling is Sampling.NONE)
