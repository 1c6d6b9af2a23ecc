"""Streamed replies of the Messages API: golden transcripts, however they are cut."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_stream import AnthropicStream
from runestone_sidecar.upstream.dialects.base import BadReply, Request, Usage
from runestone_sidecar.upstream.sse import MAX_LINE_BYTES, SSEParser

GOLDEN = sorted((Path(__file__).parent / "golden/streams").glob("*.yaml"))
IDS = [path.stem for path in GOLDEN]
REQUEST = Request({"model": "m"}, "m", True, "r", 1)


def read(stream: AnthropicStream, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the client gets, and whether the reply was whole."""
    out = [stream.feed(piece) for piece in pieces]
    try:
        out.append(stream.finish())
    except BadReply:
        assert not stream.complete
    else:
        assert stream.complete
    return b"".join(out), stream.complete


def data_of(client: bytes) -> list[bytes]:
    return [data for _, data in SSEParser().feed(client)]


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=IDS)
def test_golden_stream(golden: Any) -> None:
    stream = Anthropic().chat.stream(golden.request)
    client, complete = read(stream, [golden.given["provider"].encode()])
    usage = stream.usage
    golden.check(
        {
            "client": client.decode(),
            "complete": complete,
            "usage": usage and [usage.input_tokens, usage.output_tokens],
        }
    )
    *chunks, last = data_of(client)
    assert (last == b"[DONE]") is complete
    for chunk in chunks if complete else []:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=IDS)
def test_cuts_change_nothing(golden: Any) -> None:
    given = golden.given["provider"].encode()
    request = golden.request
    whole = read(AnthropicStream(request), [given])
    assert read(AnthropicStream(request), [given[i : i + 1] for i in range(len(given))]) == whole
    for offset in range(len(given) + 1):
        assert read(AnthropicStream(request), [given[:offset], given[offset:]]) == whole, offset


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=IDS)
def test_line_ends_change_nothing(golden: Any, line_end: bytes) -> None:
    given = golden.given["provider"].encode()
    whole = read(AnthropicStream(golden.request), [given])
    assert read(AnthropicStream(golden.request), [given.replace(b"\n", line_end)]) == whole


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=IDS)
def test_fault_c15_no_cut_makes_a_reply_look_whole(golden: Any) -> None:
    given, request = golden.given["provider"].encode(), golden.request
    before_it_is_whole = given.partition(b'"message_stop"')[0]
    for length in range(len(before_it_is_whole)):
        client, complete = read(AnthropicStream(request), [given[:length]])
        assert not complete, length
        assert b"[DONE]" not in client, length


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=IDS)
def test_the_sdk_rebuilds_what_a_whole_reply_holds(golden: Any) -> None:
    provider = golden.given["provider"].encode()
    client, complete = read(AnthropicStream(golden.request), [provider])
    if not complete:
        pytest.skip("not a whole reply")
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in data_of(client)[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(chunk))
    rebuilt: Any = state.current_completion_snapshot.choices[0].to_dict()
    whole = Anthropic().chat.read(golden.request, assembled(provider))
    expected = orjson.loads(whole.body)["choices"][0]
    assert rebuilt["finish_reason"] == expected["finish_reason"]
    assert comparable(rebuilt["message"]) == comparable(expected["message"])


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """Without what an accumulator adds or leaves out, and without the spacing of arguments."""
    message = {key: value for key, value in message.items() if value not in (None, "")}
    for call in message.get("tool_calls", []):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    for block in message.get("thinking_blocks", []):
        block.pop("index", None)
    return message


def assembled(provider: bytes) -> bytes:
    """The message of which the provider's events are the stream."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in map(orjson.loads, data_of(provider.replace(b"data: [DONE]", b"") + b"\n\n")):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                block = blocks.setdefault(event["index"], {"type": "text"})
                for field, text in event["delta"].items():
                    if field in ("text", "thinking", "signature", "partial_json"):
                        block[field] = block.get(field, "") + text
            case "message_delta":
                message |= event["delta"]
    for block in blocks.values():
        if text := block.pop("partial_json", ""):
            block["input"] = orjson.loads(text)
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return orjson.dumps(message)


def event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


def block(index: int = 0, **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block=fields)


START = event("message_start", message={"id": "msg_1", "usage": {"input_tokens": 3}})
STOP = event("message_delta", delta={"stop_reason": "end_turn"})
END = event("message_stop")
HELLO = delta(type="text_delta", text="Hello")
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "secret"})

HALVES = [(rb"\ud83d", "\ufffd"), (rb"\uDE00x", "\ufffdx"), (rb"\ud83d\ude00", "😀")]


@pytest.mark.parametrize(("half", "said"), HALVES, ids=["high", "low", "whole"])
def test_a_half_of_a_surrogate_pair_is_no_failure(half: bytes, said: str) -> None:
    pieces = [
        START,
        block(type="thinking"),
        delta(type="thinking_delta", thinking="HALF"),
        delta(type="text_delta", text="HALF"),
        block(1, type="tool_use", id="t", name="HALF", input={"HALF": "HALF"}),
        STOP,
        END,
    ]
    client, complete = read(AnthropicStream(REQUEST), [b"".join(pieces).replace(b"HALF", half)])
    assert complete
    deltas = [orjson.loads(data)["choices"][0]["delta"] for data in data_of(client)[:-1]]
    assert [d["content"] for d in deltas if d.get("content")] == [said]
    assert [d["reasoning_content"] for d in deltas if "reasoning_content" in d] == [said]
    calls = [d["tool_calls"][0]["function"] for d in deltas if "tool_calls" in d]
    assert calls[0]["name"] == said
    assert orjson.loads(calls[1]["arguments"]) == {said: said}


BAD: dict[str, bytes] = {
    "half a text": START + rb'data: {"type":"\ud83d' + b"\n\n",
    "not JSON": START + b"data: {secret\n\n",
    "not UTF-8": START + b'data: {"type":"\xff"}\n\n',
    "not an object": START + b"data: []\n\n",
    "no type": START + b"data: {}\n\n",
    "type a list": START + b'data: {"type":[]}\n\n',
    "no delta": START + event("content_block_delta", index=0),
    "text a number": START + delta(type="text_delta", text=5),
    "thought never begun": START + delta(type="thinking_delta", thinking="x"),
    "call without id": START + block(type="tool_use", name="f"),
    "block without type": START + block(),
    "text before the start": HELLO,
    "call before the start": block(type="tool_use", name="f", id="t"),
    "stop before the start": STOP,
    "no stop reason": START + HELLO + END,
    "error before the start": OVERLOADED,
    "endless line": START + b"data: " + b"x" * MAX_LINE_BYTES,
    "endless blocks": START + b"".join(block(i, type="thinking") for i in range(300)),
}


@pytest.mark.parametrize("provider", BAD.values(), ids=BAD)
def test_faults_c16_c18_what_is_no_stream_of_messages(provider: bytes) -> None:
    stream = AnthropicStream(REQUEST)
    with pytest.raises(BadReply) as caught:
        stream.feed(provider)
    assert "secret" not in str(caught.value)
    assert not stream.complete


@pytest.mark.parametrize(
    "page", [b"<html>502</html>", b'{"type":"message"}', b""], ids=["page", "JSON", "nothing"]
)
def test_fault_c20_no_stream_at_all(page: bytes) -> None:
    assert read(AnthropicStream(REQUEST), [page]) == (b"", False)


def test_an_error_of_the_clients_is_told_even_at_the_start() -> None:
    stream = AnthropicStream(REQUEST)
    error = {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}
    client = stream.feed(event("error", error=error))
    assert orjson.loads(data_of(client)[0])["error"]["code"] == "context_length_exceeded"
    assert stream.error is not None
    assert not stream.complete


def test_a_cut_stream_has_told_what_it_used() -> None:
    stream = AnthropicStream(REQUEST)
    stream.feed(START)
    assert stream.usage == Usage(input_tokens=3, output_tokens=0)


def test_a_delta_is_handed_on_at_once() -> None:
    stream = AnthropicStream(REQUEST)
    assert stream.feed(START)
    assert stream.feed(HELLO[:-1]) == b""
    assert b'"content":"Hello"' in stream.feed(HELLO[-1:])
    assert stream.at_boundary
