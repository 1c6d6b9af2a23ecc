"""The tables of fields and blocks against the chat that they promise and the SDK's own lists."""

from typing import Any, get_args, get_type_hints

import anthropic.types
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_params

from runestone_sidecar.upstream.dialects.base import Missing, Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import Fate
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.messages_fields import BLOCKS, FIELDS

TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}

# A value that asks for something, and what else it takes to ask for it.
ASKING: dict[str, dict[str, Any]] = {
    "model": {"model": "another"},
    "messages": {"messages": [{"role": "user", "content": "Another"}]},
    "system": {"system": "Be brief."},
    "max_tokens": {"max_tokens": 77},
    "stream": {"stream": True},
    "stop_sequences": {"stop_sequences": ["END"]},
    "temperature": {"temperature": 0.3},
    "top_p": {"top_p": 0.3},
    "tools": {"tools": TOOLS},
    "tool_choice": {"tools": TOOLS, "tool_choice": {"type": "any"}},
    "metadata": {"metadata": {"user_id": "u"}},
    "service_tier": {"service_tier": "standard_only"},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "output_config": {"output_config": {"effort": "low"}},
    "output_format": {"output_format": FORMAT},
    "top_k": {"top_k": 5},
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "speed": {"speed": "fast"},
    "context_management": {"context_management": {"edits": []}},
    "diagnostics": {"diagnostics": {"previous_message_id": "m"}},
    "fallbacks": {"fallbacks": [{"model": "x"}]},
    "fallback_credit_token": {"fallback_credit_token": "x"},
    "user_profile_id": {"user_profile_id": "x"},
    "container": {"container": "c"},
    "mcp_servers": {"mcp_servers": [{"type": "url"}]},
    "compaction": {"compaction": {"type": "auto"}},
    "thread": {"thread": {"id": "t"}},
    "inference_geo": {"inference_geo": "us"},
    "billing_policy": {"billing_policy": {"bill_to": "user_profile"}},
}
BASE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hello"}],
}
HEADERS = {"betas", "user_profile_id", "workspace_id"}  # named as parameters by the SDK only


def chat(fields: dict[str, Any]) -> Any:
    body = BASE | fields
    request = Request(body, "m", bool(body.get("stream")), "r", 1)
    return Messages.translator.to_chat(request).body


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_meets_its_fate(name: str) -> None:
    asked = ASKING[name]
    without = chat({key: value for key, value in asked.items() if key != name})
    match FIELDS[name].fate:
        case Fate.CARRIED:
            assert chat(asked) != without
        case Fate.DROPPED:
            assert chat(asked) == without
        case Fate.REFUSED:
            with pytest.raises(Untranslatable) as caught:
                chat(asked)
            assert caught.value.param == name
            assert caught.value.message == FIELDS[name].reason


@pytest.mark.parametrize(
    ("thread", "error_code"),
    [
        pytest.param({"type": "create"}, "thread_unsupported_request", id="create"),
        pytest.param({"type": "continue"}, "thread_not_found", id="continue"),
        pytest.param("t", "thread_unsupported_request", id="no-object"),
    ],
)
def test_a_thread_is_refused_by_what_the_sdk_looks_for(thread: Any, error_code: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        chat({"container": "c", "thread": thread})
    assert caught.value.details is not None
    assert caught.value.details["error_code"] == error_code
    assert isinstance(caught.value, Missing) is (error_code == "thread_not_found")


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in BASE])
def test_a_null_is_no_setting(name: str) -> None:
    assert chat({name: None}) == chat({})


NEUTRAL = [(name, value) for name, field in FIELDS.items() for value in field.neutral]


@pytest.mark.parametrize(("name", "value"), NEUTRAL, ids=[f"{n}={v}" for n, v in NEUTRAL])
def test_a_neutral_value_of_a_refused_field_passes(name: str, value: Any) -> None:
    assert chat({name: value}) == chat({})


def test_the_sdk_has_no_field_that_the_table_lacks() -> None:
    known = {"stream"}
    for params in (
        message_create_params.MessageCreateParamsBase,
        beta_params.MessageCreateParamsBase,
        message_count_tokens_params.MessageCountTokensParams,
    ):
        known |= set(params.__annotations__)
    assert known - HEADERS <= set(FIELDS)


def test_the_sdk_has_no_block_that_the_table_lacks() -> None:
    blocks = get_args(anthropic.types.ContentBlockParam)
    kinds = {kind for block in blocks for kind in get_args(get_type_hints(block)["type"])}
    assert "text" in kinds
    assert kinds <= set(BLOCKS)


def test_the_tables_give_reasons() -> None:
    assert set(ASKING) == set(FIELDS)
    assert all(field.reason for field in (*FIELDS.values(), *BLOCKS.values()))
