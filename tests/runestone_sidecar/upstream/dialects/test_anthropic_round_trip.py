"""What goes out comes back: generated replies, streamed in any pieces, and as a next turn."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_messages import conversation
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.sse import SSEParser

REQUEST = Request({"model": "m"}, "m", True, "r", 1)
TEXT = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=12)
NAME = st.from_regex(r"[a-zA-Z0-9_-]{1,8}", fullmatch=True)
INPUT = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, max_size=3)

BLOCKS = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
    | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXT, "signature": NAME})
    | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": NAME})
    | st.fixed_dictionaries(
        {"type": st.just("tool_use"), "id": NAME, "name": NAME, "input": INPUT}
    ),
    max_size=5,
)


def message_of(blocks: list[dict[str, Any]]) -> bytes:
    has_calls = any(block["type"] == "tool_use" for block in blocks)
    return orjson.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "content": blocks,
            "stop_reason": "tool_use" if has_calls else "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
    )


def events_of(message: bytes, size: int) -> bytes:
    """The stream of which this is the message, its deltas `size` characters each."""
    document = orjson.loads(message)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": document | {"content": []}}
    ]
    for index, block in enumerate(document["content"]):
        empty, deltas = opened(block, size)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": document["stop_reason"]}
    events.append({"type": "message_delta", "delta": delta, "usage": document["usage"]})
    events.append({"type": "message_stop"})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def opened(block: dict[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def pieces(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)]

    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            return block | {"text": ""}, deltas
        case "thinking":
            thoughts = pieces(block["thinking"])
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in thoughts]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "tool_use":
            text = orjson.dumps(block["input"]).decode() if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(text)]
            return block | {"input": {}}, deltas
    return block, []


@given(BLOCKS, st.integers(1, 5), st.integers(1, 200))
def test_a_streamed_reply_says_what_the_whole_one_says(
    blocks: list[dict[str, Any]], delta_size: int, feed_size: int
) -> None:
    message = message_of(blocks)
    provider = events_of(message, delta_size)
    stream = Anthropic().chat.stream(REQUEST)
    client = b"".join(
        stream.feed(provider[at : at + feed_size]) for at in range(0, len(provider), feed_size)
    )
    client += stream.finish()
    whole = Anthropic().chat.read(REQUEST, message)
    assert stream.usage == whole.usage
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for _, data in SSEParser().feed(client)[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(data, strict=True))
    rebuilt: Any = state.current_completion_snapshot.to_dict()
    expected: Any = ChatCompletion.model_validate_json(whole.body, strict=True).to_dict()
    for completion in (rebuilt, expected):
        for call in completion["choices"][0]["message"].get("tool_calls") or []:
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        for block in completion["choices"][0]["message"].get("thinking_blocks") or []:
            block.pop("index", None)
    assert rebuilt["choices"][0]["finish_reason"] == expected["choices"][0]["finish_reason"]
    said = {k: v for k, v in rebuilt["choices"][0]["message"].items() if v not in (None, "")}
    meant = {k: v for k, v in expected["choices"][0]["message"].items() if v not in (None, "")}
    assert said == meant


@given(BLOCKS)
def test_a_reply_sent_back_is_the_turn_that_it_was(blocks: list[dict[str, Any]]) -> None:
    reply = Anthropic().chat.read(REQUEST, message_of(blocks))
    message = orjson.loads(reply.body)["choices"][0]["message"]
    next_turn = {"role": "user", "content": "Go on."}
    _, turns = conversation([{"role": "user", "content": "Hello"}, message, next_turn])
    sent = orjson.loads(orjson.dumps(turns))
    thinking = [block for block in blocks if "thinking" in block["type"]]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [block for block in blocks if block["type"] == "tool_use"]
    texts = [{"type": "text", "text": text}] if text.strip() else []
    turn = [*thinking, *texts, *calls]
    assert sent[1:-1] == ([{"role": "assistant", "content": turn}] if turn else [])
