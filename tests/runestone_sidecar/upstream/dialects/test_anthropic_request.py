"""Requests to the Messages API: golden transcripts, refusals, and totality over any JSON."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import MessageCreateParams
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_fields import FIELDS
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable

GOLDEN = sorted((Path(__file__).parent / "golden/requests").glob("*.yaml"))
SDK_PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
# Fields of anthropic-version 2023-06-01 that the SDK, of a later version, no longer names.
SAMPLING = {"temperature", "top_p", "top_k"}
HELLO = [{"role": "user", "content": "Hello"}]


def render_bytes(
    body: dict[str, Any], upstream: str = "claude-sonnet-4-5", limit: int | None = None
) -> bytes:
    request = Request(
        body=body, model="m", stream=bool(body.get("stream")), request_id="r", created_s=1
    )
    return Anthropic().chat.render(request, ModelTarget(upstream, limit)).body


def render(body: dict[str, Any], upstream: str = "claude-sonnet-4-5") -> Any:
    return json.loads(render_bytes(body, upstream))


def drained(value: Any) -> Any:
    """Pydantic checks what is typed as an iterable only when it is read."""
    if isinstance(value, dict):
        return {key: drained(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [drained(item) for item in value]
    return value


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=[path.stem for path in GOLDEN])
def test_golden_request(golden: Any) -> None:
    before = orjson.dumps(golden.request.body)
    request = golden.request
    try:
        rendered = Anthropic().chat.render(request, golden.target)
    except Untranslatable as refusal:
        golden.check({"refused": {"param": refusal.param, "message": refusal.message}})
        return
    assert rendered.path == b"/v1/messages"
    assert orjson.dumps(request.body) == before, "the request is shared by all attempts"
    body = json.loads(rendered.body)
    golden.check({"provider": body})
    seen = drained(SDK_PARAMS.validate_python(body))
    assert set(body) - set(seen) <= SAMPLING
    assert {key: body[key] for key in seen} == seen, "a field that the SDK does not know"


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def calling(**call: Any) -> list[Any]:
    function = {"name": "f", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function} | call
    return [*HELLO, {"role": "assistant", "tool_calls": [call]}]


def asking(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
# id -> (the fields of the request, the param that the refusal names)
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "messages missing": ({"messages": None}, "messages"),
    "messages a string": ({"messages": "Hello"}, "messages"),
    "message a string": ({"messages": ["Hello"]}, "messages[0]"),
    "messages that say nothing": ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "role function": ({"messages": [*HELLO, {"role": "function"}]}, "messages[1].role"),
    "role a list": ({"messages": [{"role": []}]}, "messages[0].role"),
    "content missing": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "content a number": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "part a string": ({"messages": user("x")}, "messages[0].content[0]"),
    "part unknown": ({"messages": user({"type": "x"})}, "messages[0].content[0].type"),
    "audio": (
        {"messages": user({"type": "text", "text": "x"}, {"type": "input_audio"})},
        "messages[0].content[1].type",
    ),
    "text a number": (
        {"messages": user({"type": "text", "text": 5})},
        "messages[0].content[0].text",
    ),
    "image in a system message": (
        {"messages": [{"role": "system", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].type",
    ),
    "image without URL": (
        {"messages": user({"type": "image_url", "image_url": {}})},
        "messages[0].content[0].image_url.url",
    ),
    "image from a file": (
        {"messages": user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})},
        "messages[0].content[0].image_url.url",
    ),
    "image not base64": (
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png,abc"}})},
        "messages[0].content[0].image_url.url",
    ),
    "image of a strange type": (
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,A"}})},
        "messages[0].content[0].image_url.url",
    ),
    "uploaded file": (
        {"messages": user({"type": "file", "file": {"file_id": "file-1"}})},
        "messages[0].content[0].file.file_data",
    ),
    "file of a strange type": (
        {"messages": user({"type": "file", "file": {"file_data": "data:a/zip;base64,A"}})},
        "messages[0].content[0].file.file_data",
    ),
    "text file not base64": (
        {"messages": user({"type": "file", "file": {"file_data": "data:text/plain;base64,!"}})},
        "messages[0].content[0].file.file_data",
    ),
    "text file not UTF-8": (
        {"messages": user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}})},
        "messages[0].content[0].file.file_data",
    ),
    "tool result without id": (
        {"messages": [*HELLO, {"role": "tool", "content": "x"}]},
        "messages[1].tool_call_id",
    ),
    "arguments not JSON": (
        {"messages": calling(function={"name": "f", "arguments": "{"})},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments not an object": (
        {"messages": calling(function={"name": "f", "arguments": "[]"})},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments not a string": (
        {"messages": calling(function={"name": "f", "arguments": {}})},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "call without id": ({"messages": calling(id="")}, "messages[1].tool_calls[0].id"),
    "call without name": (
        {"messages": calling(function={"arguments": "{}"})},
        "messages[1].tool_calls[0].function.name",
    ),
    "custom call": ({"messages": calling(type="custom")}, "messages[1].tool_calls[0].type"),
    "calls an object": (
        {"messages": [*HELLO, {"role": "assistant", "tool_calls": {}}]},
        "messages[1].tool_calls",
    ),
    "old function call": (
        {"messages": [*HELLO, {"role": "assistant", "function_call": {}}]},
        "messages[1].function_call",
    ),
    "spoken reply": (
        {"messages": [*HELLO, {"role": "assistant", "audio": {"id": "a"}}]},
        "messages[1].audio",
    ),
    "refusal a number": (
        {"messages": [*HELLO, {"role": "assistant", "refusal": 5}]},
        "messages[1].refusal",
    ),
    "max_tokens zero": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens a string": ({"max_tokens": "5"}, "max_tokens"),
    "max_completion_tokens true": ({"max_completion_tokens": True}, "max_completion_tokens"),
    "temperature a string": ({"temperature": "hot"}, "temperature"),
    "top_p a list": ({"top_p": []}, "top_p"),
    "stop a number": ({"stop": 5}, "stop"),
    "stop with a number": ({"stop": ["x", 5]}, "stop"),
    "user a number": ({"user": 5}, "user"),
    "service tier unknown": ({"service_tier": "turbo"}, "service_tier"),
    "reasoning effort unknown": ({"reasoning_effort": "huge"}, "reasoning_effort"),
    "thinking a string": ({"thinking": "hard"}, "thinking"),
    "tools an object": ({"tools": {}}, "tools"),
    "custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    "tool without name": ({"tools": [TOOL, {"function": {}}]}, "tools[1].function.name"),
    "parameters a string": (
        {"tools": [{"function": {"name": "f", "parameters": "x"}}]},
        "tools[0].function.parameters",
    ),
    "choice without tools": ({"tool_choice": "required"}, "tool_choice"),
    "choice of another tool": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
    ),
    "choice unknown": ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    "allowed tools not an array": (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}},
        "tool_choice.allowed_tools.tools",
    ),
    "response format unknown": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "response format a string": ({"response_format": "json"}, "response_format.type"),
    "no schema": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema.schema",
    ),
    "schema a list": ({"response_format": asking([])}, "response_format.json_schema.schema"),
    "schema of any array": (
        {"response_format": asking({"type": "array", "items": {}})},
        "response_format.json_schema.schema",
    ),
    "reserved tool name": (
        {
            "tools": [{"function": {"name": "runestone_answer"}}],
            "response_format": {"type": "json_object"},
        },
        "tools",
    ),
}


@pytest.mark.parametrize(("fields", "param"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_said_names_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        render({"model": "m", "messages": HELLO, **fields})
    assert caught.value.param == param
    assert caught.value.message


def test_nesting_beyond_the_encoder_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"properties": {"x": schema}}
    with pytest.raises(Untranslatable):
        render({"messages": HELLO, "tools": [{"function": {"name": "f", "parameters": schema}}]})


def test_numbers_in_arguments_are_not_rounded() -> None:
    arguments = '{"n": 123456789012345678901234567890, "x": 1.10}'
    call = {"name": "f", "arguments": arguments}
    assert arguments.encode() in render_bytes({"messages": calling(function=call)})


FORCING: dict[str, tuple[str, dict[str, Any]]] = {
    "json_schema": ("claude-3-7-sonnet-20250219", {"response_format": asking(SCHEMA)}),
    "json_object": ("claude-haiku-4-5", {"response_format": {"type": "json_object"}}),
    "a required tool": ("claude-haiku-4-5", {"tools": [TOOL], "tool_choice": "required"}),
}


@pytest.mark.parametrize(("upstream", "fields"), FORCING.values(), ids=FORCING)
def test_a_forced_tool_is_not_thought_about(upstream: str, fields: dict[str, Any]) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    body = render({"messages": HELLO, "thinking": thinking, "temperature": 0, **fields}, upstream)
    assert "thinking" not in body
    assert body["tool_choice"]["type"] in ("tool", "any")
    assert body["temperature"] == 0, "taken by a model that does not think"


# id -> (the client's fields, the model's limit, the max_tokens that is sent)
ROOMS: dict[str, tuple[dict[str, Any], int | None, int]] = {
    "no limit": ({}, None, 12_096),
    "a limit": ({}, 20_000, 20_000),
    "the client's own": ({"max_tokens": 9_000}, None, 9_000),
    "too little of its own": ({"max_tokens": 5_000}, None, 5_000),
    "no thinking": ({"thinking": {"type": "disabled"}}, None, 4_096),
    "adaptive": ({"thinking": {"type": "adaptive"}}, None, 4_096),
    "no number": ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, None, 4_096),
    "less than none": ({"thinking": {"type": "enabled", "budget_tokens": -9_000}}, None, 4_096),
    "too many": ({"thinking": {"type": "enabled", "budget_tokens": 1 << 62}}, None, 4_096),
}


@pytest.mark.parametrize(("fields", "limit", "max_tokens"), ROOMS.values(), ids=ROOMS)
def test_a_budget_has_room_where_the_client_named_none(
    fields: dict[str, Any], limit: int | None, max_tokens: int
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 8_000}
    body = orjson.loads(
        render_bytes({"messages": HELLO, "thinking": thinking} | fields, limit=limit)
    )
    assert body["max_tokens"] == max_tokens


UUID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
@pytest.mark.parametrize("user", ["42", "user_1-A", UUID, "x" * 64])
def test_a_users_id_is_carried(name: str, user: str) -> None:
    assert render({"messages": HELLO, name: user})["metadata"] == {"user_id": user}


PEOPLE = ["a@example.com", "+1 555 123 4567", "555-123-4567", "5551234567", "Ann Lee", "x" * 65]


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
@pytest.mark.parametrize("user", PEOPLE)
def test_who_a_user_is_is_carried_as_a_hash(name: str, user: str) -> None:
    hashed = hashlib.sha256(user.encode()).hexdigest()
    assert render({"messages": HELLO, name: user})["metadata"] == {"user_id": hashed}


def test_no_user_is_no_id() -> None:
    assert "metadata" not in render({"messages": HELLO, "user": ""})
    both = {"safety_identifier": "", "user": "u"}
    assert render({"messages": HELLO, **both})["metadata"] == {"user_id": "u"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "tool", "text", "function", "image_url", "file"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "type", "text", "function", "name", "arguments", "id", "image_url",
             "url", "file", "file_data", "tool_calls", "tool_call_id", "schema", "json_schema",
             "properties", "items", "$ref", "$defs", "parameters", "thinking_blocks", "anyOf"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "developer"])},
    optional={
        "content": JSON,
        "tool_calls": JSON,
        "tool_call_id": JSON,
        "thinking_blocks": JSON,
        "refusal": JSON,
    },
)


@given(
    messages=JSON | st.lists(MESSAGE, max_size=4),
    fields=st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=5),
    upstream=st.sampled_from(["claude-3-haiku", "claude-sonnet-4-5", "claude-opus-5-5", "other"]),
)
def test_any_json_is_rendered_or_refused(messages: Any, fields: Any, upstream: str) -> None:
    try:
        body = render({**fields, "messages": messages}, upstream)
    except Untranslatable as refusal:
        assert refusal.param
    else:
        assert body["messages"]
        assert body["max_tokens"] > 0


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "system", "developer"]), TEXT), min_size=1
    )
)
def test_every_visible_text_arrives_in_order(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": text} for role, text in turns]
    try:
        body = render({"messages": messages})
    except Untranslatable:
        said = [(role, text.strip()) for role, text in turns if role in ("user", "assistant")]
        while said and said[-1] == ("assistant", ""):
            said.pop()
        assert (said and said[-1] == ("user", "")) or not any(text.strip() for _, text in turns)
        return
    roles = [turn["role"] for turn in body["messages"]]
    assert all(a != b for a, b in zip(roles, roles[1:], strict=False))
    system = [text for role, text in turns if role in ("system", "developer") and text.strip()]
    spoken = [text for role, text in turns if role in ("user", "assistant") and text.strip()]
    sent = [block["text"] for turn in body["messages"] for block in turn["content"]]
    if spoken:
        assert body.get("system", "") == "\n".join(system)
        assert [text.rstrip() for text in sent] == [text.rstrip() for text in spoken]
    else:
        assert sent == system
