"""A chat that is refused, told in the words of the API that it was said for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import (
    Codec,
    ModelTarget,
    ProviderError,
    Request,
    Untranslatable,
)
from runestone_sidecar.upstream.dialects.fields import Fate
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces import (
    completions_fields,
    messages_fields,
    messages_params,
    responses_fields,
    responses_params,
)
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.codec import as_asked, codec_for
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.messages import MESSAGES
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.translated_refusal import place_of, reworded

if TYPE_CHECKING:
    from runestone_sidecar.upstream.surfaces.base import Surface

INVALID = "invalid_request_error"
CHATS = frozenset({"Chat", "Streaming"})
TARGET = ModelTarget("upstream-name", 4096)

TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "sunny"}
TALK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        },
        {"role": "user", "content": [TOOL_RESULT, {"type": "text", "text": "And?"}]},
    ],
}
IN_A_ROW = TALK | {
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": "Now"},
        TALK["messages"][1],
        {"role": "user", "content": [TOOL_RESULT]},
        {"role": "user", "content": [TOOL_RESULT | {"tool_use_id": "u"}]},
        {"role": "user", "content": "And?"},
    ],
}
ITEMS: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Hello"},
        {"type": "reasoning", "summary": [], "content": []},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ],
}
PROMPT: dict[str, Any] = {"model": "m", "prompt": "Once"}
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": []}

# What the client asked, what the chat is refused for, and what that is to the client
SHOT = [{"type": "input_image", "image_url": "https://example.com/a.png"}]
SHOTS: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": "Look"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": SHOT},
        {"role": "developer", "content": "Go on"},
        {"role": "assistant", "content": "Once more"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "b", "output": SHOT},
        {"role": "user", "content": "What is it?"},
    ],
}

NAMED: dict[str, tuple[Surface, dict[str, Any], str, str | None]] = {
    "messages-limit": (MESSAGES, TALK, "max_completion_tokens", "max_tokens"),
    "messages-limit-elsewhere": (MESSAGES, TALK, "max_tokens", "max_tokens"),
    "messages-stop": (MESSAGES, TALK, "stop", "stop_sequences"),
    "messages-stop-one": (MESSAGES, TALK, "stop[1]", "stop_sequences"),
    "messages-user": (MESSAGES, TALK, "user", "metadata.user_id"),
    "messages-parallel": (
        MESSAGES,
        TALK,
        "parallel_tool_calls",
        "tool_choice.disable_parallel_tool_use",
    ),
    "messages-format": (MESSAGES, TALK, "response_format", "output_config.format"),
    "messages-format-old": (
        MESSAGES,
        TALK | {"output_format": FORMAT},
        "response_format.json_schema.schema",
        "output_format",
    ),
    "messages-effort": (MESSAGES, TALK, "reasoning_effort", "output_config.effort"),
    "messages-thinking": (
        MESSAGES,
        TALK | {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "reasoning_effort",
        "thinking.budget_tokens",
    ),
    "messages-schema": (
        MESSAGES,
        TALK,
        "tools[2].function.parameters.properties",
        "tools[2].input_schema",
    ),
    "messages-tool-name": (MESSAGES, TALK, "tools.0.function.name", "tools[0].name"),
    "messages-tool": (MESSAGES, TALK, "tools[1].function", "tools[1]"),
    "messages-tools": (MESSAGES, TALK, "tools", "tools"),
    "messages-system": (MESSAGES, TALK, "messages[0].content", "system"),
    "messages-first": (MESSAGES, TALK, "messages.[1].content[0].text", "messages[0].content"),
    "messages-call": (
        MESSAGES,
        TALK,
        "messages[2].tool_calls[0].function.arguments",
        "messages[1].content",
    ),
    "messages-result": (MESSAGES, TALK, "messages[3].tool_call_id", "messages[2].content"),
    "messages-after-result": (MESSAGES, TALK, "messages[4].role", "messages[2].role"),
    "messages-turn": (MESSAGES, TALK, "messages[4]", "messages[2]"),
    "messages-no-such-turn": (MESSAGES, TALK, "messages[5].content", "messages"),
    "messages-in-a-row": (MESSAGES, IN_A_ROW, "messages[1]", "messages[0]"),
    "messages-after-a-row": (MESSAGES, IN_A_ROW, "messages[2].content", "messages[2].content"),
    "messages-second-result": (MESSAGES, IN_A_ROW, "messages[4].content", "messages[4].content"),
    "messages-after-results": (MESSAGES, IN_A_ROW, "messages[5].content", "messages[5].content"),
    "messages-far-beyond": (MESSAGES, IN_A_ROW, f"messages[{1 << 70}]", "messages"),
    "messages-all": (MESSAGES, TALK, "messages", "messages"),
    "messages-azure": (MESSAGES, TALK, "prompt", "messages"),
    "messages-not-asked-for": (MESSAGES, TALK, "stream_options", None),
    "messages-not-known": (MESSAGES, TALK, "max_output_tokens", None),
    "messages-no-path": (MESSAGES, TALK, "body -> model", None),
    "responses-limit": (RESPONSES, ITEMS, "max_completion_tokens", "max_output_tokens"),
    "responses-limit-elsewhere": (RESPONSES, ITEMS, "max_tokens", "max_output_tokens"),
    "responses-format": (RESPONSES, ITEMS, "response_format", "text.format"),
    "responses-effort": (RESPONSES, ITEMS, "reasoning_effort", "reasoning.effort"),
    "responses-verbosity": (RESPONSES, ITEMS, "verbosity", "text.verbosity"),
    "responses-logprobs": (RESPONSES, ITEMS, "logprobs", "top_logprobs"),
    "responses-logprobs-included": (
        RESPONSES,
        ITEMS | {"include": ["message.output_text.logprobs"]},
        "logprobs",
        "include",
    ),
    "responses-schema": (
        RESPONSES,
        ITEMS,
        "tools[0].function.parameters",
        "tools[0].parameters",
    ),
    "responses-fewer-tools": (
        RESPONSES,
        ITEMS | {"tool_choice": ALLOWED},
        "tools[0].function.parameters",
        "tools",
    ),
    "responses-text": (RESPONSES, ITEMS | {"input": "Hello"}, "messages[1].content", "input"),
    "responses-instructions": (RESPONSES, ITEMS, "messages[0].content", "instructions"),
    "responses-item": (RESPONSES, ITEMS, "messages[1].content", "input[0]"),
    "responses-said": (RESPONSES, ITEMS, "messages[2].content", "input[2]"),
    "responses-call": (
        RESPONSES,
        ITEMS,
        "messages[2].tool_calls[1].function.arguments",
        "input[4]",
    ),
    "responses-no-such-call": (RESPONSES, ITEMS, "messages[2].tool_calls[2]", "input"),
    "responses-several-items": (RESPONSES, ITEMS, "messages[2]", "input"),
    "responses-result": (RESPONSES, ITEMS, "messages[4].content", "input[6]"),
    "responses-no-such-item": (RESPONSES, ITEMS, "messages[5]", "input"),
    "responses-all": (RESPONSES, ITEMS, "messages", "input"),
    "responses-not-asked-for": (RESPONSES, ITEMS, "stream_options.include_usage", None),
    "responses-before-an-image": (RESPONSES, SHOTS, "messages[0].content", "input[0]"),
    "responses-result-with-an-image": (RESPONSES, SHOTS, "messages[2].content", "input[2]"),
    "responses-image-of-a-result": (RESPONSES, SHOTS, "messages[3].content[1]", "input"),
    "responses-after-an-image": (RESPONSES, SHOTS, "messages[4].content", "input[3]"),
    "responses-call-after-an-image": (
        RESPONSES,
        SHOTS,
        "messages[5].tool_calls[0].function.arguments",
        "input[5]",
    ),
    "responses-image-with-a-question": (RESPONSES, SHOTS, "messages[7].content[1]", "input"),
    "responses-no-such-message": (RESPONSES, SHOTS, "messages[8]", "input"),
    "responses-limit-beside-images": (RESPONSES, SHOTS, "model", "model"),
    "completions-limit": (COMPLETIONS, PROMPT, "max_completion_tokens", "max_tokens"),
    "completions-limit-elsewhere": (COMPLETIONS, PROMPT, "max_tokens", "max_tokens"),
    "completions-prompt": (COMPLETIONS, PROMPT, "messages[0].content", "prompt"),
    "completions-azure": (COMPLETIONS, PROMPT, "prompt", "prompt"),
    "completions-choices": (COMPLETIONS, PROMPT, "n", "n"),
    "completions-not-asked-for": (COMPLETIONS, PROMPT, "stream_options", None),
    "completions-tools": (COMPLETIONS, PROMPT, "tools[0]", None),
    "chat": (OPENAI_CHAT, TALK, "messages[2].content", "messages[2].content"),
}


def request_of(body: dict[str, Any]) -> Request:
    return Request(body, "m", body.get("stream") is True, "req_1", 1, orjson.dumps(body))


def rendered(surface: Surface, request: Request, dialect: OpenAI | Anthropic) -> Codec:
    codec = codec_for(surface, dialect, CHATS)
    codec.render(request, TARGET)
    return codec


@pytest.mark.parametrize(("surface", "body", "theirs", "ours"), NAMED.values(), ids=NAMED)
def test_the_client_is_told_of_its_own_field(
    surface: Surface, body: dict[str, Any], theirs: str, ours: str | None
) -> None:
    request = request_of(body)
    codec = rendered(surface, request, OpenAI())
    told = as_asked(codec, request, ProviderError(f"Invalid '{theirs}'.", INVALID, "x", theirs))
    assert (told.param, told.type, told.code) == (ours, INVALID, "x")
    if ours is None:
        assert told.message.endswith(f"refused it: Invalid '{theirs}'.")
    else:
        assert told.message == f"Invalid '{ours}'."


def test_no_param_is_no_param() -> None:
    request = request_of(TALK)
    told = ProviderError("Invalid 'stop'.", INVALID)
    assert as_asked(rendered(MESSAGES, request, OpenAI()), request, told) is told


TEXTS: dict[str, tuple[str, str, str | None, str]] = {
    "quoted": ("Invalid 'stop'.", "stop", "stop_sequences", "Invalid 'stop_sequences'."),
    "a word": ("Please stop.", "stop", "stop_sequences", "Please stop."),
    "a name": (
        "max_tokens is too large: 9, see max_tokens.",
        "max_tokens",
        "max_output_tokens",
        "max_output_tokens is too large: 9, see max_output_tokens.",
    ),
    "part of a name": (
        "Use max_tokens_2, not x.max_tokens or max_tokens.y",
        "max_tokens",
        "max_output_tokens",
        "Use max_tokens_2, not x.max_tokens or max_tokens.y",
    ),
    "nowhere": ("Too long.", "messages[2].content", "input[1]", "Too long."),
    "nowhere, nor ours": ("Too long.", "stream_options", None, "Too long."),
    "the same": ("Invalid 'n'", "n", "n", "Invalid 'n'"),
    "Anthropic's path": (
        "messages.0.content.1: text is blank: really",
        "messages",
        "prompt",
        "prompt: text is blank: really",
    ),
    "Anthropic's name": ("stop_sequences: too many", "stop", "stop", "stop: too many"),
    "Anthropic's path, and ours": ("tools.0.name: bad", "tools", "tools", "tools.0.name: bad"),
    "Anthropic's path, nor ours": (
        "thinking.budget_tokens: too few",
        "reasoning_effort",
        None,
        "The provider was asked this as a chat, and refused it: thinking.budget_tokens: too few",
    ),
    "no path of Anthropic's": ("system: bad", "stop", "end", "system: bad"),
    "a backslash": ("Invalid `user`", "user", r"metadata.\1", r"Invalid `metadata.\1`"),
}


@pytest.mark.parametrize(("text", "theirs", "ours", "said"), TEXTS.values(), ids=TEXTS)
def test_a_text_names_no_wrong_field(text: str, theirs: str, ours: str | None, said: str) -> None:
    assert reworded(text, theirs, ours) == said


@pytest.mark.parametrize("param", ["", "a b", "[0]", "messages[x]", "é-", "x..", "a[1", "9" * 5])
def test_what_is_no_path_is_none_or_a_field(param: str) -> None:
    place = place_of(param)
    assert place is None or place.field


# What an Anthropic model cannot be asked for, in words of another API
UNSAYABLE: dict[str, tuple[Surface, dict[str, Any], str]] = {
    "completions-n": (COMPLETIONS, PROMPT | {"n": 2}, "n"),
    "completions-bias": (COMPLETIONS, PROMPT | {"logit_bias": {"1": 2}}, "logit_bias"),
    "completions-temperature": (COMPLETIONS, PROMPT | {"temperature": "x"}, "temperature"),
    "completions-blank": (COMPLETIONS, PROMPT | {"prompt": " "}, "prompt"),
    "responses-logprobs": (RESPONSES, ITEMS | {"top_logprobs": 2}, "top_logprobs"),
    "responses-limit": (RESPONSES, ITEMS | {"max_output_tokens": 1.5}, "max_output_tokens"),
    "responses-tier": (RESPONSES, ITEMS | {"service_tier": "x"}, "service_tier"),
    "responses-schema": (
        RESPONSES,
        ITEMS | {"tools": [{"type": "function", "name": "f", "parameters": 5}]},
        "tools[0].parameters",
    ),
    "responses-arguments": (
        RESPONSES,
        ITEMS
        | {
            "input": [
                {"role": "user", "content": "Hello"},
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "["},
            ]
        },
        "input[1]",
    ),
    "responses-audio": (
        RESPONSES,
        ITEMS
        | {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}}
                    ],
                }
            ]
        },
        "input[0]",
    ),
}


@pytest.mark.parametrize(("surface", "body", "param"), UNSAYABLE.values(), ids=UNSAYABLE)
def test_what_the_dialect_cannot_say_is_named_so_too(
    surface: Surface, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(Untranslatable) as caught:
        rendered(surface, request_of(body), Anthropic())
    assert caught.value.param == param


CARRIED = [
    ("messages", messages_fields.FIELDS, {n for ns in messages_params.PARAMS.values() for n in ns}),
    (
        "responses",
        responses_fields.FIELDS,
        {n for ns in responses_params.PARAMS.values() for n in ns},
    ),
]
# Carried, and yet nothing of a chat's can be refused for their sake
UNHEARD = {
    "messages": {"system", "thinking"},
    "responses": {"instructions", "metadata", "include"},
}


@pytest.mark.parametrize(("name", "fields", "named"), CARRIED, ids=[row[0] for row in CARRIED])
def test_every_field_that_is_carried_can_be_named(
    name: str, fields: dict[str, Any], named: set[str]
) -> None:
    tops = {param.partition(".")[0] for param in named}
    carried = {field for field, row in fields.items() if row.fate is Fate.CARRIED}
    assert tops <= carried
    assert carried - tops <= UNHEARD[name]
    unheard = {"prompt", "stream_options"}
    texts = completions_fields.FIELDS
    found = {n for n, row in texts.items() if isinstance(row, completions_fields.Carried)}
    assert set(completions_fields.PARAMS.values()) >= found - unheard
