"""A streamed chat as vendors send it, in orders and with gaps of their own, as a response."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.sse import SSEParser
from runestone_sidecar.upstream.surfaces import responses_stream
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.responses_stream import ResponsesSink
from runestone_testing.golden import Golden
from runestone_testing.response_streams import REQUEST, events_of, read, sse, stream_of

CLAUDES = Path(__file__).parent.parent / "dialects/golden/streams"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(name: str | None = None, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": fields.pop("arguments", None)}
    piece = {"function": function, **fields}
    return chunk(tool_calls=[piece if index is None else {"index": index, **piece}])


def said(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """The output of the final response; every event on the way is checked."""
    sink = ResponsesSink(REQUEST)
    client = b"".join(map(sink.feed, chunks)) + sink.finish()
    *_, last = events_of(client)
    assert last["type"] in ("response.completed", "response.incomplete")
    output: list[dict[str, Any]] = last["response"]["output"]
    return output


STOP = chunk("stop")


def test_an_error_in_the_middle_is_told_with_the_next_number() -> None:
    stream = stream_of(OpenAI(), REQUEST)
    error = {"error": {"message": "Overloaded.", "type": "server_error", "code": "overloaded"}}
    client, complete = read(stream, [sse([chunk(content="Hi")]), sse([error])])
    assert not complete
    *_, last = SSEParser().feed(client)
    told = orjson.loads(last[1])
    assert last[0] == b"error"
    assert (told["sequence_number"], told["message"], told["code"]) == (
        client.count(b"\n\n") - 1,
        "Overloaded.",
        "overloaded",
    )


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        pytest.param(
            [call("f", id="a", arguments="{}"), call("g", id="b", arguments="[]")],
            [("a", "f", "{}"), ("b", "g", "[]")],
            id="all of one index",
        ),
        pytest.param(
            [call("f", None, id="a", arguments="{}"), call("g", None, id="b", arguments="[]")],
            [("a", "f", "{}"), ("b", "g", "[]")],
            id="no index",
        ),
        pytest.param(
            [call("f", id="a", arguments="{"), call(None, id="a", arguments="}")],
            [("a", "f", "{}")],
            id="the id in every piece",
        ),
        pytest.param(
            [call("f", id="a", arguments="{"), call("f", id="", arguments="}")],
            [("a", "f", "{}")],
            id="the name in every piece",
        ),
        pytest.param([call("f", id="a")], [("a", "f", "{}")], id="no arguments"),
        pytest.param(
            [call("f", 3, id="a", arguments="{}"), call("g", 1, id="b", arguments="[]")],
            [("a", "f", "{}"), ("b", "g", "[]")],
            id="indices with gaps",
        ),
    ],
)
def test_calls_as_vendors_send_them(
    chunks: list[dict[str, Any]], calls: list[tuple[str, str, str]]
) -> None:
    output = said(*chunks, STOP)
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output] == calls


def test_a_call_that_was_cut_before_its_arguments_has_none() -> None:
    (item,) = said(call("f", id="a"), chunk("length"))
    assert (item["status"], item["arguments"]) == ("incomplete", "")


def test_arguments_that_a_vendor_leaves_out_are_told_as_a_delta_too() -> None:
    sink = ResponsesSink(REQUEST)
    events = [*events_of(b"".join(map(sink.feed, [call("f", id="a"), STOP])) + sink.finish())]
    (delta,) = (each["delta"] for each in events if each["type"].endswith("arguments.delta"))
    (done,) = (each["arguments"] for each in events if each["type"].endswith("arguments.done"))
    assert delta == done == "{}"


def test_a_call_without_an_id_gets_one() -> None:
    (item,) = said(call("f"), STOP)
    assert item["call_id"].startswith("call_")


def thinking(**piece: Any) -> dict[str, Any]:
    return chunk(thinking_blocks=[piece])


@pytest.mark.parametrize(
    ("chunks", "summaries"),
    [
        pytest.param(
            [
                thinking(type="thinking", thinking="A", signature=None),
                thinking(type="thinking", thinking="", signature="1"),
                thinking(type="thinking", thinking="B", signature=None),
                thinking(type="thinking", thinking="", signature="2"),
            ],
            ["A", "B"],
            id="blocks without an index",
        ),
        pytest.param(
            [
                thinking(index=0, thinking="A", signature="1"),
                chunk(content="x"),
                thinking(index=0, signature="1"),
            ],
            ["A"],
            id="a signature that comes late",
        ),
        pytest.param(
            [chunk(reasoning="A"), chunk(content="x"), chunk(reasoning_content="B")],
            ["A", "B"],
            id="plain reasoning between texts",
        ),
    ],
)
def test_reasoning_as_vendors_send_it(chunks: list[dict[str, Any]], summaries: list[str]) -> None:
    thoughts = [item for item in said(*chunks, STOP) if item["type"] == "reasoning"]
    texts = [(item["summary"] or item["content"])[0]["text"] for item in thoughts]
    assert texts == summaries


def test_what_comes_after_the_finish_is_said_too() -> None:
    output = said(chunk(content="A"), STOP, chunk(content="B"), STOP)
    assert [item["content"][0]["text"] for item in output] == ["A", "B"]
    assert {item["status"] for item in output} == {"completed"}


def test_only_the_last_item_is_the_one_that_was_cut() -> None:
    output = said(call("f", id="a", arguments="{}"), call("g", 1, id="b"), chunk("length"))
    assert [item["status"] for item in output] == ["completed", "incomplete"]


def test_items_end_in_the_order_of_their_places() -> None:
    sink = ResponsesSink(REQUEST)
    calls = [call("f", 0, id="a"), call("g", 1, id="b"), call("h", 0, id="c"), STOP]
    events = events_of(b"".join(map(sink.feed, calls)) + sink.finish())
    done = [each for each in events if each["type"] == "response.output_item.done"]
    assert [each["output_index"] for each in done] == [0, 1, 2]


def test_text_between_calls_keeps_its_place() -> None:
    output = said(chunk(content="A"), call("f", id="a"), chunk(content="B"), STOP)
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="nothing"),
        pytest.param([chunk(content="A")], id="no finish reason"),
        pytest.param([chunk("error")], id="a failure"),
        pytest.param([chunk(content=5)], id="content of a number"),
        pytest.param([chunk(tool_calls={"a": 1})], id="calls of an object"),
        pytest.param([chunk(tool_calls=["a"])], id="call of a text"),
        pytest.param([chunk(tool_calls=[{"index": 0, "function": "f"}])], id="function of a text"),
        pytest.param([call(None, id="a")], id="call without a name"),
        pytest.param([call("f", id="a", arguments={"a": 1})], id="arguments of an object"),
        pytest.param([chunk(thinking_blocks=["x"])], id="thinking of a text"),
        pytest.param([{"choices": "x"}], id="choices of a text"),
        pytest.param([{"choices": [{"index": 0}]}], id="no delta"),
    ],
)
def test_a_response_is_never_made_up(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(BadReply):
        said(*chunks)


def test_what_is_kept_for_the_last_event_is_bounded() -> None:
    sink = ResponsesSink(REQUEST)
    piece = "x" * (responses_stream.MAX_CHARS // 4)
    for _ in range(4):
        sink.feed(chunk(content=piece))
    with pytest.raises(BadReply, match="too long"):
        sink.feed(chunk(content="x"))


def test_items_are_bounded() -> None:
    sink = ResponsesSink(REQUEST)
    for number in range(responses_stream.MAX_ITEMS):
        sink.feed(call("f", number, id=f"call_{number}"))
    with pytest.raises(BadReply, match="too many"):
        sink.feed(call("f", responses_stream.MAX_ITEMS, id="one more"))


def test_a_chain_of_thought_comes_back_to_its_model() -> None:
    """What a Claude model thought is sent back to it as it was, by way of a client's input."""
    golden = Golden(CLAUDES / "thinking.yaml")
    client, _ = read(stream_of(Anthropic(), REQUEST), [golden.given["provider"].encode()])
    *_, last = events_of(client)
    body = {"model": "m", "input": [*last["response"]["output"], {"role": "user", "content": "?"}]}
    chat = RESPONSES.translator.to_chat(Request(body, "m", False, "r", 1))
    rendered = Anthropic().chat.render(chat, ModelTarget("claude-sonnet-4-5", 8192))
    turn = orjson.loads(rendered.body)["messages"][0]
    assert turn == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "The user wants 4.", "signature": "EqQB=="},
            {"type": "redacted_thinking", "data": "EmwK=="},
            {"type": "thinking", "thinking": "", "signature": "Eq=="},
            {"type": "text", "text": "4"},
        ],
    }
