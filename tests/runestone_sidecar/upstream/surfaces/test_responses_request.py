"""A Responses request as a chat: golden transcripts, what is checked, and what cannot be said."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.errors import BadRequest
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.base import Traits
from runestone_sidecar.upstream.surfaces.codec import can_serve
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.responses_seal import sealed, unsealed
from runestone_testing.golden import Golden

FOLDER = Path(__file__).parent / "golden/responses/requests"
GOLDEN = [Golden(path) for path in sorted(FOLDER.glob("*.yaml"))]
IDS = [golden.path.stem for golden in GOLDEN]
CHATS = frozenset({"Chat", "Streaming"})
CLAUDE = ModelTarget("claude-sonnet-4-5", 8192)


def to_chat(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "Hello"} | fields
    request = Request(body, "m", body.get("stream") is True, "req_1", 1)
    RESPONSES.check(body)
    return dict(RESPONSES.translator.to_chat(request).body)


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_golden_request(golden: Golden) -> None:
    request = golden.request
    before = orjson.dumps(request.body)
    RESPONSES.check(request.body)
    chat = RESPONSES.translator.to_chat(request)
    golden.check(chat.body)
    assert orjson.dumps(request.body) == before, "the request is shared by all attempts"
    assert (chat.model, chat.stream) == (request.model, request.stream)


# Without those that ask for log probabilities and for its ear.
CLAUDES = [golden for golden in GOLDEN if golden.path.stem not in ("media", "settings")]


@pytest.mark.parametrize("golden", CLAUDES, ids=[golden.path.stem for golden in CLAUDES])
def test_a_claude_model_takes_the_chat(golden: Golden) -> None:
    chat = RESPONSES.translator.to_chat(golden.request)
    assert orjson.loads(Anthropic().chat.render(chat, CLAUDE).body)["messages"]


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def part(role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"input": [{"role": role, "content": [fields]}]}


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [fields]}


CHANGED = "runestone.thinking.1.e30="

# id -> (fields of the request, the param that the refusal names)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({"input": None}, "input"),
    "empty input": ({"input": []}, "input"),
    "instructions as items": ({"instructions": []}, "instructions"),
    "stored response": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "stored conversation": ({"conversation": "conv_1"}, "conversation"),
    "stored prompt": ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    "unknown field": ({"max_tokens": 5}, "max_tokens"),
    "metadata as a text": ({"metadata": "a"}, "metadata"),
    "reference": (item(type="item_reference", id="msg_1"), "input[0].type"),
    "reference without a type": (item(id="msg_1"), "input[0].type"),
    "item of a built-in tool": (item(type="web_search_call", id="ws_1"), "input[0].type"),
    "item of no known type": (item(type=["message"]), "input[0].type"),
    "role": (item(role="critic", content="x"), "input[0].role"),
    "content of a number": (item(role="user", content=5), "input[0].content"),
    "call without arguments": (item(type="function_call", name="f"), "input[0].arguments"),
    "call without an id": (
        item(type="function_call", name="f", arguments="{}"),
        "input[0].call_id",
    ),
    "call without a name": (item(type="function_call", call_id="c"), "input[0].name"),
    "output without an id": (item(type="function_call_output", output="x"), "input[0].call_id"),
    "output of a number": (
        item(type="function_call_output", call_id="c", output=1),
        "input[0].output",
    ),
    "output of audio": (
        item(type="function_call_output", call_id="c", output=[{"type": "input_audio"}]),
        "input[0].output[0].type",
    ),
    "sealed reasoning that was changed": (
        item(type="reasoning", id="rs_1", summary=[], encrypted_content=CHANGED),
        "input[0].encrypted_content",
    ),
    "unknown part": (part(type="text", text="x"), "input[0].content[0].type"),
    "part of a text": ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
    "text without text": (part(type="input_text"), "input[0].content[0].text"),
    "image of the model": (
        part("assistant", type="input_image", image_url="https://x"),
        "input[0].content[0].type",
    ),
    "image in instructions": (
        part("developer", type="input_image", image_url="https://x"),
        "input[0].content[0].type",
    ),
    "refusal of a user": (part(type="refusal", refusal="x"), "input[0].content[0].type"),
    "uploaded image": (
        part(type="input_image", file_id="file_1"),
        "input[0].content[0].file_id",
    ),
    "image without a URL": (part(type="input_image"), "input[0].content[0].image_url"),
    "uploaded file": (part(type="input_file", file_id="f"), "input[0].content[0].file_id"),
    "file elsewhere": (
        part(type="input_file", file_url="https://x"),
        "input[0].content[0].file_url",
    ),
    "file without content": (part(type="input_file"), "input[0].content[0].file_data"),
    "built-in tool": (tool(type="web_search"), "tools[0].type"),
    "tool of a server": (tool(type="mcp", server_label="s"), "tools[0].type"),
    "custom tool": (tool(type="custom", name="c"), "tools[0].type"),
    "tool as in a chat": (tool(type="function", function={"name": "f"}), "tools[0].name"),
    "choice of a built-in tool": ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
    "choice that is unknown": ({"tool_choice": "any"}, "tool_choice"),
    "allowed built-in tool": (
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
        "tool_choice.tools[0]",
    ),
    "format": ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    "unknown setting of the text": ({"text": {"style": "x"}}, "text.style"),
    "unknown setting of the reasoning": ({"reasoning": {"budget": 5}}, "reasoning.budget"),
    "reasoning as a text": ({"reasoning": "low"}, "reasoning"),
    "unknown include": ({"include": ["everything"]}, "include"),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_a_chat_cannot_say_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_chat(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"model": None}, "model", id="no model"),
        pytest.param({"stream": "yes"}, "stream", id="stream"),
        pytest.param({"max_output_tokens": 0}, "max_output_tokens", id="limit"),
        pytest.param({"input": 5}, "input", id="input"),
        pytest.param({"input": ["Hello"]}, "input[0]", id="item"),
        pytest.param({"tools": {}}, "tools", id="tools"),
        pytest.param({"text": []}, "text", id="text"),
        pytest.param({"include": "all"}, "include", id="include"),
    ],
)
def test_what_the_gateway_reads_is_checked(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        RESPONSES.check({"model": "m", "input": "Hello"} | fields)
    assert caught.value.param == param


JSON_SCHEMA = {"format": {"type": "json_schema", "name": "n", "schema": {}}}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        pytest.param({}, set(), id="text"),
        pytest.param({"prompt": {"id": "p"}, "input": None}, set(), id="stored prompt"),
        pytest.param({"stream": True}, {"Streaming"}, id="stream"),
        pytest.param({"tools": [{"type": "function", "name": "f"}]}, {"Tools"}, id="tools"),
        pytest.param({"tools": []}, set(), id="no tools"),
        pytest.param({"top_logprobs": 2}, {"Logprobs"}, id="logprobs"),
        pytest.param(
            {"include": ["message.output_text.logprobs"]}, {"Logprobs"}, id="logprobs included"
        ),
        pytest.param({"text": JSON_SCHEMA}, {"JSONSchema"}, id="schema"),
        pytest.param({"text": {"format": {"type": "json_object"}}}, set(), id="object"),
        pytest.param(part(type="input_image", image_url="https://x"), {"Vision"}, id="image"),
        pytest.param(
            item(type="function_call_output", call_id="c", output=[{"type": "input_image"}]),
            {"Vision"},
            id="image of a tool",
        ),
        pytest.param(part(type="input_audio", input_audio={}), {"Audio"}, id="audio"),
    ],
)
def test_needs(fields: dict[str, Any], needs: set[str]) -> None:
    body = {"model": "m", "input": "Hello"} | fields
    RESPONSES.check(body)
    assert RESPONSES.traits(body).needs == needs | {"Chat"}


def test_nothing_is_made_in_the_background() -> None:
    body = {"model": "m", "input": "x"}
    RESPONSES.check(body | {"background": False})
    RESPONSES.check(body | {"background": None})
    with pytest.raises(BadRequest) as refused:
        RESPONSES.check(body | {"background": True, "stream": True})
    assert refused.value.param == "background"


def test_traits() -> None:
    body = {"model": "m", "input": "x", "max_output_tokens": 9, "user": "u"}
    assert RESPONSES.traits(body) == Traits(frozenset({"Chat"}), 9, "u")
    assert RESPONSES.traits(body | {"safety_identifier": "s"}).user == "s"


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        pytest.param(CHATS | {"Responses"}, True, id="stated"),
        pytest.param(CHATS, False, id="not stated"),
        pytest.param(frozenset[str](), False, id="unknown"),
    ],
)
def test_only_models_that_state_it_are_asked_natively(
    capabilities: frozenset[str], native: bool
) -> None:
    assert RESPONSES.is_native(capabilities) is native
    for dialect in (OpenAI(), Anthropic()):
        assert can_serve(RESPONSES, dialect, capabilities)


@given(thinking=st.text(), signature=st.text(min_size=1))
def test_a_thinking_block_survives_the_journey(thinking: str, signature: str) -> None:
    block = {"type": "thinking", "thinking": thinking, "signature": signature}
    seal = sealed(block | {"index": 0})
    assert seal is not None
    assert unsealed(seal) == block


@pytest.mark.parametrize(
    "block",
    [
        pytest.param({"type": "thinking", "thinking": "A"}, id="no signature"),
        pytest.param({"type": "thinking", "thinking": "A", "signature": ""}, id="empty signature"),
        pytest.param({"type": "redacted_thinking"}, id="no data"),
    ],
)
def test_a_block_that_no_one_would_take_back_is_not_sealed(block: dict[str, Any]) -> None:
    assert sealed(block) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("runestone.thinking.1.%%%", id="not base64"),
        pytest.param("runestone.thinking.1.AAAA", id="not JSON"),
        pytest.param("runestone.thinking.1.W10=", id="not an object"),
        pytest.param(CHANGED, id="not a block"),
    ],
)
def test_a_seal_that_was_changed_is_refused(content: str) -> None:
    with pytest.raises(Untranslatable):
        unsealed(content)
