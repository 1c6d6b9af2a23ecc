"""A streamed chat as a streamed response: golden transcripts, OpenAI's SDK, cuts and faults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.responses import ResponseErrorEvent, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from runestone_sidecar.errors import UpstreamFailed
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.sse import SSEParser
from runestone_sidecar.upstream.surfaces import responses_stream
from runestone_sidecar.upstream.surfaces.codec import TranslatedStream, codec_for
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.responses_stream import ResponsesSink
from runestone_testing.golden import Golden

FOLDER = Path(__file__).parent / "golden/responses/streams"
GOLDEN = [Golden(path) for path in sorted(FOLDER.glob("*.yaml"))]
IDS = [golden.path.stem for golden in GOLDEN]
CLAUDES = [
    Golden(path)
    for path in sorted((Path(__file__).parent.parent / "dialects/golden/streams").glob("*.yaml"))
]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REQUEST = Request({"model": "m", "input": "Hello", "stream": True}, "m", True, "req_1", 1)
LIFECYCLE = ("response.created", "response.in_progress", "response.completed")


def sse(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks)


def whole(golden: Golden) -> bytes:
    return sse(golden.given["chat"]) + b"data: [DONE]\n\n"


def request_of(golden: Golden) -> Request:
    request = golden.request
    body = {"input": "Hello", **request.body, "stream": True}
    return Request(body, request.model, True, request.request_id, request.created_s)


def stream_of(dialect: OpenAI | Anthropic, request: Request) -> TranslatedStream:
    codec = codec_for(RESPONSES, dialect, frozenset({"Chat"}))
    codec.render(request, ModelTarget("claude-sonnet-4-5", 8192))
    stream = codec.stream(request)
    assert isinstance(stream, TranslatedStream)
    return stream


def read(stream: TranslatedStream, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the client gets, and whether the reply was whole."""
    out = [stream.feed(piece) for piece in pieces]
    try:
        out.append(stream.finish())
    except BadReply:
        return b"".join(out), False
    return b"".join(out), stream.error is None


def events_of(client: bytes) -> Iterator[dict[str, Any]]:
    for number, (name, data) in enumerate(SSEParser().feed(client)):
        event = orjson.loads(data)
        assert event["type"] == name.decode()
        assert event["sequence_number"] == number
        EVENT.validate_json(data, strict=True)
        yield event


def shown(event: dict[str, Any]) -> dict[str, Any]:
    """Without what the replies' transcripts show already."""
    if "response" not in event:
        return event
    kept = ("status", "incomplete_details", "output", "usage", "service_tier")
    response = {name: event["response"][name] for name in kept if name in event["response"]}
    return {**event, "response": response}


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_golden_stream(golden: Golden) -> None:
    client, complete = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    assert complete
    golden.check([shown(event) for event in events_of(client)])


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_cuts_change_nothing(golden: Golden) -> None:
    given, request = whole(golden), request_of(golden)
    expected = read(stream_of(OpenAI(), request), [given])
    pieces = [given[i : i + 1] for i in range(len(given))]
    assert read(stream_of(OpenAI(), request), pieces) == expected
    for offset in range(len(given) + 1):
        halves = [given[:offset], given[offset:]]
        assert read(stream_of(OpenAI(), request), halves) == expected, offset


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_fault_c15_no_cut_makes_a_reply_look_whole(golden: Golden) -> None:
    given, request = whole(golden), request_of(golden)
    finished = given.index(b"}", given.index(b'"finish_reason":"'))
    for length in range(finished):
        client, complete = read(stream_of(OpenAI(), request), [given[:length]])
        assert not complete, length
        assert b"event: response.completed" not in client, length
        assert b"event: response.incomplete" not in client, length


@pytest.mark.parametrize("golden", CLAUDES, ids=[golden.path.stem for golden in CLAUDES])
def test_a_claude_stream_is_said_as_events(golden: Golden) -> None:
    stream = stream_of(Anthropic(), REQUEST)
    client, complete = read(stream, [golden.given["provider"].encode()])
    kinds = [event["type"] for event in events_of(client)]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert (kinds[-1] in ("response.completed", "response.incomplete")) is complete


def assembled(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat of which the chunks are the stream."""
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "message": message}
    chat: dict[str, Any] = {"id": chunks[0]["id"], "choices": [choice]}
    for chunk in chunks:
        chat |= {key: chunk[key] for key in ("usage", "service_tier") if chunk.get(key)}
        for part in chunk["choices"]:
            choice |= {key: part[key] for key in ("finish_reason", "logprobs") if part.get(key)}
            merge(message, part["delta"])
    return chat


def merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if isinstance(value, list):
            pieces = whole.setdefault(key, [])
            for piece in value:
                if piece["index"] == len(pieces):
                    pieces.append({})
                merge(pieces[piece["index"]], piece)
        elif isinstance(value, dict):
            merge(whole.setdefault(key, {}), value)
        elif isinstance(value, str) and key not in ("id", "type", "role"):
            whole[key] = whole.get(key, "") + value
        else:
            whole[key] = value


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_last_event_holds_what_a_whole_reply_does(golden: Golden) -> None:
    request = request_of(golden)
    client, _ = read(stream_of(OpenAI(), request), [whole(golden)])
    *_, last = events_of(client)
    completion = assembled(golden.given["chat"])
    assert last["response"] == orjson.loads(RESPONSES.translator.read_chat(request, completion))


def sdk_of(client: bytes) -> openai.OpenAI:
    """The SDK, of a gateway that answers so."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=client)

    transport = httpx2.MockTransport(answer)
    return openai.OpenAI(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport, trust_env=False)
    )


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_sdk_rebuilds_what_was_said(golden: Golden) -> None:
    client, _ = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    *_, last = events_of(client)
    with sdk_of(client).responses.stream(model="m", input="Hello") as stream:
        kinds = [event.type for event in stream]
        assert kinds[-1] == f"response.{last['response']['status']}"
        if kinds[-1] == "response.completed":
            final = stream.get_final_response().to_dict()["output"]
            assert without_parsed(final) == last["response"]["output"]


def without_parsed(value: Any) -> Any:
    """Without what the SDK adds."""
    if isinstance(value, list):
        return [without_parsed(each) for each in value]
    if isinstance(value, dict):
        return {
            key: without_parsed(each)
            for key, each in value.items()
            if key not in ("parsed", "parsed_arguments")
        }
    return value


class Person(BaseModel):
    name: str


def test_the_sdk_parses_a_structured_answer() -> None:
    golden = Golden(FOLDER / "json-schema.yaml")
    client, _ = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    responses = sdk_of(client).responses
    with responses.stream(model="m", input="Hello", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ann")


FRAMES = {
    "translated": lambda: ResponsesSink(REQUEST).error_frame(UpstreamFailed("Lost.", param="p")),
    "native": lambda: RESPONSES.error_frame(UpstreamFailed("Lost.", param="p"), 0),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_an_error_frame_makes_the_sdk_raise(frame: Any) -> None:
    with (
        pytest.raises(openai.APIError, match=r"Lost\.") as caught,
        sdk_of(frame()).responses.stream(model="m", input="Hello") as stream,
    ):
        stream.until_done()
    assert (caught.value.code, caught.value.param) == ("upstream_error", "p")
    (told,) = SSEParser().feed(frame())
    documented = ResponseErrorEvent.model_validate_json(told[1], strict=True)
    assert (documented.code, documented.message) == ("upstream_error", "Lost.")


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
        pytest.param([call("f", id="a")], [("a", "f", "")], id="no arguments"),
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
        pytest.param([chunk("error")], id="unknown finish reason"),
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
    golden = next(golden for golden in CLAUDES if golden.path.stem == "thinking")
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
