"""The table of fields against the request that it promises, and against OpenAI's own list."""

from typing import Any

import orjson
import pytest
from openai.types.chat import completion_create_params

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_fields import FIELDS
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import Fate

TOOLS = [{"type": "function", "function": {"name": "f"}}]

# A value that asks for something, and what else it takes to ask for it.
ASKING: dict[str, dict[str, Any]] = {
    "model": {"model": "another"},
    "messages": {"messages": [{"role": "user", "content": "Another"}]},
    "max_tokens": {"max_tokens": 77},
    "max_completion_tokens": {"max_completion_tokens": 77},
    "stream": {"stream": True},
    "stream_options": {"stream_options": {"include_usage": True}},
    "temperature": {"temperature": 0.3},
    "top_p": {"top_p": 0.3},
    "stop": {"stop": "END"},
    "tools": {"tools": TOOLS},
    "tool_choice": {"tools": TOOLS, "tool_choice": "required"},
    "parallel_tool_calls": {"tools": TOOLS, "parallel_tool_calls": False},
    "response_format": {"response_format": {"type": "json_object"}},
    "reasoning_effort": {"reasoning_effort": "low"},
    "user": {"user": "u"},
    "safety_identifier": {"safety_identifier": "u"},
    "service_tier": {"service_tier": "default"},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "top_k": {"top_k": 5},
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "seed": {"seed": 7},
    "verbosity": {"verbosity": "low"},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "implicit"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "store": {"store": True},
    "metadata": {"metadata": {"a": "b"}},
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"top_logprobs": 3},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "modalities": {"modalities": ["text", "audio"]},
    "audio": {"audio": {"voice": "x", "format": "wav"}},
    "web_search_options": {"web_search_options": {}},
    "moderation": {"moderation": {"model": "omni"}},
    "functions": {"functions": [{"name": "f"}]},
    "function_call": {"function_call": "auto"},
}
BASE = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
# Carried without a trace in the body: the model's name is the target's, stream_options are ours.
NOT_IN_THE_BODY = {"model", "stream_options"}


def render(fields: dict[str, Any]) -> bytes:
    body = BASE | fields
    request = Request(body, "m", bool(body.get("stream")), "r", 1)
    return Anthropic().chat.render(request, ModelTarget("claude-sonnet-4-5", 8192)).body


def with_others(name: str) -> dict[str, Any]:
    return {key: value for key, value in ASKING[name].items() if key != name}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_meets_its_fate(name: str) -> None:
    without = render(with_others(name))
    match FIELDS[name].fate:
        case Fate.CARRIED:
            assert (render(ASKING[name]) != without) is (name not in NOT_IN_THE_BODY)
        case Fate.DROPPED:
            assert render(ASKING[name]) == without
        case Fate.REFUSED:
            with pytest.raises(Untranslatable) as caught:
                render(ASKING[name])
            assert caught.value.param == name
            assert caught.value.message == FIELDS[name].reason


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in BASE])
def test_a_null_is_no_setting(name: str) -> None:
    assert render({name: None}) == render({})


NEUTRAL = [(name, value) for name, field in FIELDS.items() for value in field.neutral]


@pytest.mark.parametrize(("name", "value"), NEUTRAL, ids=[f"{n}={v}" for n, v in NEUTRAL])
def test_a_neutral_value_of_a_refused_field_passes(name: str, value: Any) -> None:
    assert render({name: value}) == render({})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(Untranslatable) as caught:
        render({"guided_json": {}})
    assert caught.value.param == "guided_json"


def test_openai_has_no_field_that_the_table_lacks() -> None:
    known = set(completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert known <= set(FIELDS)


def test_the_table_gives_reasons() -> None:
    assert set(ASKING) == set(FIELDS)
    assert all(field.reason for field in FIELDS.values())
    assert orjson.loads(render({}))["model"] == "claude-sonnet-4-5"
