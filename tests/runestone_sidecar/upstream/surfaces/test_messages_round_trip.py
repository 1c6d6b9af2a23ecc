"""What goes through a chat comes out again: requests, and replies streamed in any pieces."""

from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.sse import SSEParser
from runestone_sidecar.upstream.surfaces.codec import TranslatedStream
from runestone_sidecar.upstream.surfaces.messages import Messages

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
THROUGH_CHAT = Messages.translator
SEEN = st.text(alphabet="aé€😀 \n", min_size=1, max_size=6).filter(str.strip)
NAME = st.from_regex(r"[a-zA-Z0-9_-]{1,8}", fullmatch=True)
INPUT = st.dictionaries(NAME, st.none() | st.booleans() | st.integers(-9, 9) | SEEN, max_size=3)


def block(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


TEXT = block("text", text=SEEN)
IMAGE = block(
    "image",
    source=st.sampled_from(
        [
            {"type": "url", "url": "https://example.com/a.png"},
            {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        ]
    ),
)
THINKING = st.lists(
    block("thinking", thinking=SEEN, signature=NAME) | block("redacted_thinking", data=NAME),
    max_size=2,
)
CALLS = st.lists(block("tool_use", id=NAME, name=NAME, input=INPUT), max_size=3)
ANSWER = st.tuples(THINKING, st.lists(TEXT, max_size=2), CALLS)
EXCHANGE = st.tuples(ANSWER, st.lists(TEXT | IMAGE, min_size=1, max_size=3))


def normal(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A user's texts with nothing between them are one."""
    if all(each["type"] == "text" for each in blocks):
        return [{"type": "text", "text": "\n\n".join(each["text"] for each in blocks)}]
    return blocks


@given(st.lists(TEXT | IMAGE, min_size=1, max_size=3), st.lists(EXCHANGE, max_size=3), SEEN)
def test_a_conversation_comes_back_through_a_chat(
    first: list[Any], exchanges: list[Any], system: str
) -> None:
    turns: list[Any] = [{"role": "user", "content": first}]
    expected: list[Any] = [{"role": "user", "content": normal(first)}]
    for (thoughts, texts, calls), words in exchanges:
        said = "".join(each["text"] for each in texts)
        answer = [*thoughts, *([{"type": "text", "text": said}] if texts else []), *calls]
        results = [
            {"type": "tool_result", "tool_use_id": each["id"], "content": "done"} for each in calls
        ]
        if answer:
            turns.append({"role": "assistant", "content": [*thoughts, *texts, *calls]})
            turns.append({"role": "user", "content": [*results, *words]})
            expected.append({"role": "assistant", "content": answer})
            expected.append({"role": "user", "content": [*results, *normal(words)]})
    body = {
        "model": "m",
        "max_tokens": 50_000,
        "system": [{"type": "text", "text": system}],
        "messages": turns,
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "temperature": 0.5,
        "service_tier": "standard_only",
    }
    request = Request(body, "m", False, "r", 1)
    chat = THROUGH_CHAT.to_chat(request)
    rendered = Anthropic().chat.render(chat, ModelTarget("claude-3-opus", None)).body
    assert orjson.loads(rendered) == body | {"model": "claude-3-opus", "system": system} | {
        "messages": expected
    }


BLOCKS = st.builds(
    lambda thoughts, texts, calls: [*thoughts, *texts, *calls],
    THINKING,
    st.lists(TEXT, max_size=1),
    CALLS,
)


def usage_of(message: Any) -> Any:
    return {name: count for name, count in message["usage"].items() if count}


@given(BLOCKS, st.sampled_from(["end_turn", "max_tokens", "refusal"]))
def test_a_reply_comes_back_through_a_chat(blocks: list[dict[str, Any]], reason: str) -> None:
    has_calls = any(each["type"] == "tool_use" for each in blocks)
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": blocks,
        "stop_reason": "tool_use" if has_calls else reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5},
    }
    request = Request({"model": "m"}, "m", False, "r", 1)
    chat = Anthropic().chat.read(request, orjson.dumps(message)).body
    said = orjson.loads(THROUGH_CHAT.read_chat(request, orjson.loads(chat)))
    assert said | {"usage": usage_of(said)} == message


def chunks_of(blocks: list[dict[str, Any]], size: int) -> bytes:
    """A vendor's stream of a chat that says these, in deltas of `size` characters."""

    def pieces(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)]

    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    calls = 0
    for each in blocks:
        if each["type"] == "thinking":
            deltas += [{"reasoning_content": piece} for piece in pieces(each["thinking"])]
        elif each["type"] == "text":
            deltas += [{"content": piece} for piece in pieces(each["text"])]
        elif each["type"] == "tool_use":
            function = {"name": each["name"], "arguments": ""}
            deltas.append(
                {"tool_calls": [{"index": calls, "id": each["id"], "function": function}]}
            )
            deltas += [
                {"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}
                for piece in pieces(orjson.dumps(each["input"]).decode())
            ]
            calls += 1
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    chunks: list[dict[str, Any]] = [{"id": "chatcmpl-1", "choices": [each]} for each in choices]
    chunks.append({"id": "chatcmpl-1", "choices": [], "usage": usage})
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks)


UNSIGNED = st.builds(
    lambda thoughts, texts, calls: [*thoughts, *texts, *calls],
    st.lists(block("thinking", thinking=SEEN, signature=st.just("")), max_size=1),
    st.lists(TEXT, max_size=1),
    st.lists(
        block("tool_use", id=NAME, name=NAME, input=INPUT), max_size=3, unique_by=lambda c: c["id"]
    ),
)


@given(UNSIGNED, st.integers(1, 5), st.integers(1, 200))
def test_a_stream_in_any_pieces_is_the_message(
    blocks: list[dict[str, Any]], delta_size: int, feed_size: int
) -> None:
    request = Request({"model": "m"}, "m", True, "r", 1)
    provider = chunks_of(blocks, delta_size) + b"data: [DONE]\n\n"
    stream = TranslatedStream(OpenAI().chat.stream(request), THROUGH_CHAT.stream_chat(request))
    feeds = [provider[at : at + feed_size] for at in range(0, len(provider), feed_size)]
    client = b"".join(stream.feed(piece) for piece in feeds) + stream.finish()
    message: Any = None
    buffers: dict[int, bytes] = {}
    for _, data in SSEParser().feed(client):
        event = EVENT.validate_json(data)
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    said = orjson.loads(message.to_json())
    assert said["content"] == blocks
    has_calls = any(each["type"] == "tool_use" for each in blocks)
    assert said["stop_reason"] == ("tool_use" if has_calls else "end_turn")
    assert usage_of(said) == {"input_tokens": 3, "output_tokens": 4}
