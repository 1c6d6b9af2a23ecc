"""The estimate of a request: what counts in each format, what never does, and any JSON at all."""

import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream.text_tokens import estimate_text
from runestone_sidecar.upstream.tokens import (
    ANTHROPIC_IMAGE_TOKENS,
    ANTHROPIC_TOOLS_TOKENS,
    IMAGE_TOKENS,
    LOW_DETAIL_IMAGE_TOKENS,
    MESSAGE_TOKENS,
    PAGE_TOKENS,
    REPLY_TOKENS,
    estimate_request,
)

TEXT = "Kubernetes schedules each pod onto a node that satisfies its resource requests. " * 5
TOKENS = estimate_text(TEXT)
TURN = MESSAGE_TOKENS + REPLY_TOKENS
PAYLOAD = "iVBORw0KGgoAAAANSUhEUgAA" * 4_000  # 96 kB of base64: 72 kB
FIELDS = (
    "messages", "system", "prompt", "input", "instructions", "tools", "functions", "text",
    "response_format", "content", "type", "source", "data", "image_url", "file", "input_audio",
)  # fmt: skip
KINDS = (
    "text", "image", "image_url", "input_image", "file", "input_file", "document", "base64",
    "input_audio", "tool_use", "tool_result", "content", "message",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4)
    ),
    max_leaves=30,
)


def ask(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


SAID_ONCE: dict[str, tuple[dict[str, Any], int]] = {
    "chat": ({"messages": [{"role": "user", "content": TEXT}]}, TURN),
    "chat, parts": (ask({"type": "text", "text": TEXT}), TURN),
    "chat, tool call": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"arguments": TEXT}}
                    ],
                }
            ]
        },
        TURN,
    ),
    "completions": ({"prompt": TEXT}, 0),
    "completions, several": ({"prompt": [TEXT]}, 0),
    "embeddings": ({"input": TEXT}, 0),
    "embeddings, several": ({"input": [TEXT]}, 0),
    "anthropic, system": ({"system": TEXT, "messages": []}, 0),
    "anthropic, system blocks": (
        {"system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}]},
        0,
    ),
    "anthropic, tool result": (
        ask({"type": "tool_result", "tool_use_id": "toolu_1", "content": TEXT}),
        TURN,
    ),
    "anthropic, thinking": (
        ask({"type": "thinking", "thinking": TEXT, "signature": PAYLOAD}),
        TURN,
    ),
    "anthropic, text document": (
        ask({"type": "document", "source": {"type": "text", "data": TEXT}}),
        TURN,
    ),
    "anthropic, document of blocks": (
        ask(
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "text", "text": TEXT}]},
            }
        ),
        TURN,
    ),
    "responses": ({"input": TEXT}, 0),
    "responses, instructions": ({"instructions": TEXT}, 0),
    "responses, items": (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]},
        TURN,
    ),
    "responses, call's output": (
        {"input": [{"type": "function_call_output", "call_id": "call_1", "output": TEXT}]},
        TURN,
    ),
    "responses, reasoning": (
        {
            "input": [
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "encrypted_content": PAYLOAD,
                    "summary": [{"type": "summary_text", "text": TEXT}],
                }
            ]
        },
        TURN,
    ),
    "what no model reads": (
        {"prompt": TEXT, "model": TEXT, "user": TEXT, "metadata": {"a": TEXT}},
        0,
    ),
}


@pytest.mark.parametrize(("body", "frame"), SAID_ONCE.values(), ids=SAID_ONCE)
def test_text_counts_once_wherever_a_format_has_it(body: dict[str, Any], frame: int) -> None:
    assert estimate_request(body) == TOKENS + frame


PARTS: dict[str, tuple[dict[str, Any], int]] = {
    "openai image": (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PAYLOAD}"}},
        IMAGE_TOKENS,
    ),
    "openai image, low detail": (
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        LOW_DETAIL_IMAGE_TOKENS,
    ),
    "responses image": (
        {"type": "input_image", "image_url": f"data:image/png;base64,{PAYLOAD}"},
        IMAGE_TOKENS,
    ),
    "responses image, low detail": (
        {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"},
        LOW_DETAIL_IMAGE_TOKENS,
    ),
    "anthropic image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PAYLOAD}},
        ANTHROPIC_IMAGE_TOKENS,
    ),
    "anthropic image in a tool's result": (
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example"}}],
        },
        ANTHROPIC_IMAGE_TOKENS,
    ),
    "wav, 1.5 s": (
        {"type": "input_audio", "input_audio": {"format": "wav", "data": PAYLOAD}},
        15,
    ),
    "mp3, 4.5 s": (
        {"type": "input_audio", "input_audio": {"format": "mp3", "data": PAYLOAD}},
        45,
    ),
    "openai pdf of two pages": (
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PAYLOAD}"}},
        2 * PAGE_TOKENS,
    ),
    "responses text file": (
        {"type": "input_file", "file_data": f"data:text/csv;base64,{PAYLOAD}"},
        18_000 + 4,  # the prefix counts with it
    ),
    "file elsewhere": ({"type": "input_file", "file_id": "file-1"}, PAGE_TOKENS),
    "anthropic pdf": (
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PAYLOAD},
        },
        2 * PAGE_TOKENS,
    ),
    "anthropic pdf elsewhere": (
        {"type": "document", "source": {"type": "url", "url": "https://x.example/" + "a" * 500}},
        PAGE_TOKENS,
    ),
    "base64 in a part we do not know": (
        {"type": "hologram", "source": {"type": "base64", "data": PAYLOAD}},
        2 * PAGE_TOKENS,
    ),
}


@pytest.mark.parametrize(("part", "tokens"), PARTS.values(), ids=PARTS)
def test_what_is_no_text_has_its_own_number(part: dict[str, Any], tokens: int) -> None:
    assert estimate_request(ask(part)) == tokens + TURN


def test_tokens_are_counted_not_weighed() -> None:
    assert estimate_request({"prompt": list(range(1_000))}) == 1_000
    assert estimate_request({"input": [[1, 2, 3], [4, 5]]}) == 5


def test_schemas_count_with_their_keys() -> None:
    schema = {"type": "object", "properties": {"colour_of_the_roof": {"type": "string"}}}
    openai = [{"type": "function", "function": {"name": "paint", "parameters": schema}}]
    anthropic = [{"name": "paint", "input_schema": schema}]
    keys = estimate_request({"response_format": schema})
    assert keys > estimate_text("colour_of_the_roof") + 4
    assert estimate_request({"tools": openai}) > keys
    assert estimate_request({"tools": anthropic}) > ANTHROPIC_TOOLS_TOKENS + keys
    call = {"type": "tool_use", "id": "toolu_1", "name": "paint", "input": schema}
    assert estimate_request(ask(call)) > TURN + keys


def test_turns_cost() -> None:
    turn = {"role": "user", "content": TEXT}
    difference = estimate_request({"messages": [turn] * 3}) - estimate_request({"messages": [turn]})
    assert difference == pytest.approx(2 * (TOKENS + MESSAGE_TOKENS), rel=0.1)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_gives_a_number(body: dict[str, Any]) -> None:
    assert estimate_request(body) >= 0


@pytest.mark.parametrize("field", ["messages", "input", "tools"])
def test_depth_is_no_recursion(field: str) -> None:
    deep: Any = TEXT
    for _ in range(20_000):
        deep = [{"content": deep}]
    assert estimate_request({field: deep}) >= TOKENS


def count_calls(body: dict[str, Any]) -> int:
    """Calls of Python functions, which are what this costs: the text itself takes a few."""
    calls = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        estimate_request(body)
    finally:
        sys.setprofile(before)
    return calls


def test_a_long_text_takes_no_more_work_than_a_short_one() -> None:
    short, long = ({"messages": [{"role": "user", "content": TEXT * n}]} for n in (1, 250))
    assert len(orjson.dumps(long)) > 100_000
    assert count_calls(long) <= count_calls(short) + 2 <= 20


def test_work_grows_with_the_messages_and_no_faster() -> None:
    turn = {"role": "user", "content": TEXT}
    ten, hundred = (count_calls({"messages": [turn] * number}) for number in (10, 100))
    assert hundred - ten <= 90 * 2
