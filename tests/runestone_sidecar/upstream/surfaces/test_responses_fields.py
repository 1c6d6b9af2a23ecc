"""The tables of fields against the chats that they promise, and against OpenAI's own lists."""

from typing import Any

import pytest
from openai.types.responses import response_create_params, response_text_config_param
from openai.types.shared_params import reasoning

from runestone_sidecar.upstream.dialects.base import Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import Fate, Field
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.responses_fields import (
    FIELDS,
    ITEMS,
    REASONING_FIELDS,
    TEXT_FIELDS,
)

TOOLS = [{"type": "function", "name": "f"}]

# A value that asks for something, and what else it takes to ask for it.
ASKING: dict[str, dict[str, Any]] = {
    "model": {"model": "another"},
    "input": {"input": "Another"},
    "instructions": {"instructions": "Be brief."},
    "max_output_tokens": {"max_output_tokens": 77},
    "temperature": {"temperature": 0.3},
    "top_p": {"top_p": 0.3},
    "tools": {"tools": TOOLS},
    "tool_choice": {"tools": TOOLS, "tool_choice": "required"},
    "parallel_tool_calls": {"tools": TOOLS, "parallel_tool_calls": False},
    "text": {"text": {"format": {"type": "json_object"}}},
    "reasoning": {"reasoning": {"effort": "low"}},
    "top_logprobs": {"top_logprobs": 2},
    "include": {"include": ["message.output_text.logprobs"]},
    "user": {"user": "u"},
    "safety_identifier": {"safety_identifier": "u"},
    "service_tier": {"service_tier": "flex"},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "metadata": {"metadata": {"a": "b"}},
    "stream": {"stream": True},
    "stream_options": {"stream_options": {"include_obfuscation": True}},
    "store": {"store": True},
    "truncation": {"truncation": "auto"},
    "max_tool_calls": {"max_tool_calls": 3},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "implicit"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "background_options": {"background_options": {"completion_window": "2h"}},
    "access_programs": {"access_programs": {"cyber": "standard"}},
    "image": {"image": {"context_compression": "auto"}},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "background": {"background": True},
    "moderation": {"moderation": {"model": "omni"}},
}
NESTED: dict[str, tuple[Field, Any]] = {
    "text.format": (TEXT_FIELDS["format"], {"type": "json_object"}),
    "text.verbosity": (TEXT_FIELDS["verbosity"], "low"),
    "reasoning.effort": (REASONING_FIELDS["effort"], "low"),
    "reasoning.summary": (REASONING_FIELDS["summary"], "auto"),
    "reasoning.generate_summary": (REASONING_FIELDS["generate_summary"], "auto"),
    "reasoning.context": (REASONING_FIELDS["context"], "all_turns"),
    "reasoning.mode": (REASONING_FIELDS["mode"], "pro"),
}
ASKING_ITEMS: dict[str, dict[str, Any]] = {
    "message": {"role": "user", "content": "x"},
    "function_call": {"call_id": "c", "name": "f", "arguments": "{}"},
    "function_call_output": {"call_id": "c", "output": "x"},
    "reasoning": {"summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
    "item_reference": {"id": "msg_1"},
}
BASE: dict[str, Any] = {"model": "m", "input": "Hello"}
NOT_IN_THE_CHAT = {"metadata"}  # echoed in the reply


def to_chat(fields: dict[str, Any]) -> dict[str, Any]:
    body = BASE | fields
    request = Request(body, body["model"], bool(body.get("stream")), "r", 1)
    return dict(RESPONSES.translator.to_chat(request).body)


def check_fate(field: Field, param: str, without: dict[str, Any], asking: dict[str, Any]) -> None:
    match field.fate:
        case Fate.CARRIED:
            assert (to_chat(asking) != to_chat(without)) is (param not in NOT_IN_THE_CHAT)
        case Fate.DROPPED:
            assert to_chat(asking) == to_chat(without)
        case Fate.REFUSED:
            with pytest.raises(Untranslatable) as caught:
                to_chat(asking)
            assert caught.value.param == param
            assert caught.value.message == field.reason


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_meets_its_fate(name: str) -> None:
    without = {key: value for key, value in ASKING[name].items() if key != name}
    check_fate(FIELDS[name], name, without, ASKING[name])


@pytest.mark.parametrize("path", NESTED)
def test_a_nested_field_meets_its_fate(path: str) -> None:
    outer, _, inner = path.partition(".")
    field, value = NESTED[path]
    check_fate(field, path, {outer: {}}, {outer: {inner: value}})


@pytest.mark.parametrize("kind", ITEMS)
def test_an_item_meets_its_fate(kind: str) -> None:
    spoken = {"role": "assistant", "content": "y"}
    items = [{"type": kind, **ASKING_ITEMS[kind]}, spoken]
    check_fate(ITEMS[kind], "input[0].type", {"input": [spoken]}, {"input": items})


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in BASE])
def test_a_null_is_no_setting(name: str) -> None:
    assert to_chat({name: None}) == to_chat({})


NEUTRAL = [(name, value) for name, field in FIELDS.items() for value in field.neutral]


@pytest.mark.parametrize(("name", "value"), NEUTRAL, ids=[f"{n}={v}" for n, v in NEUTRAL])
def test_a_neutral_value_of_a_refused_field_passes(name: str, value: Any) -> None:
    assert to_chat({name: value}) == to_chat({})


def test_openai_has_no_field_that_the_tables_lack() -> None:
    known = set(response_create_params.ResponseCreateParamsBase.__annotations__) | {"stream"}
    assert known <= set(FIELDS)
    assert set(response_text_config_param.ResponseTextConfigParam.__annotations__) <= set(
        TEXT_FIELDS
    )
    assert set(reasoning.Reasoning.__annotations__) <= set(REASONING_FIELDS)


def test_the_tables_give_reasons() -> None:
    assert set(ASKING) == set(FIELDS)
    assert set(ASKING_ITEMS) == set(ITEMS)
    nested = {f"text.{name}" for name in TEXT_FIELDS} | {f"reasoning.{n}" for n in REASONING_FIELDS}
    assert set(NESTED) == nested
    tables = (FIELDS, TEXT_FIELDS, REASONING_FIELDS, ITEMS)
    assert all(field.reason for table in tables for field in table.values())
