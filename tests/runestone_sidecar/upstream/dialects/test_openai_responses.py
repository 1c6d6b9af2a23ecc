"""The Responses API natively: nothing is touched, and the tap sees how it ended."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.openai_responses import ResponsesStream
from runestone_sidecar.upstream.sse import MAX_LINE_BYTES
from runestone_sidecar.upstream.surfaces.responses_seal import sealed

CODEC = OpenAI().native["responses"]
TOLD = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 12,
}
USAGE = Usage(5, 7, 4, 6)


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def last(kind: str = "completed", **response: Any) -> bytes:
    whole = {"status": kind, "error": None, "output": [], "usage": TOLD} | response
    return event(f"response.{kind}", sequence_number=3, response=whole)


CREATED = event("response.created", sequence_number=0, response={"error": None, "usage": None})
DELTA = event("response.output_text.delta", sequence_number=1, item_id="m", delta="x", logprobs=[])
LOOKALIKE = event(
    "response.output_text.delta",
    delta='"type":"response.completed","type":"error","error":{} data: {"type":"error"}',
)
PART = event(
    "response.output_item.done",
    item={"type": "mcp_call", "error": {"type": "error", "message": "theirs"}},
)
ERROR = event("error", error={"type": "server_error", "code": "overloaded", "message": "Boom"})
FLAT_ERROR = event("error", code="overloaded", message="Boom", param=None)
FAILED = last("failed", error={"code": "server_error", "message": "Boom"})


def test_a_request_passes_unchanged() -> None:
    raw = b'{ "input" : "Hi",\n "model":"m", "temperature": 1.10, "new": [1] }'
    request = Request(orjson.loads(raw), "m", False, "r", 1, raw, b"openai-beta: x\r\n")
    rendered = CODEC.render(request, ModelTarget("theirs", None))
    assert rendered.path == b"/responses"
    assert rendered.body == raw.replace(b'"m"', b'"theirs"')
    assert rendered.headers == b"openai-beta: x\r\n"


CLAUDES: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [],
    "encrypted_content": sealed({"type": "thinking", "thinking": "A", "signature": "B"}),
}
OPENAIS = CLAUDES | {"encrypted_content": "gAAAAABo"}
QUESTION = {"role": "user", "content": "And runestone.thinking.1.?"}


def asked(*items: Any, **more: Any) -> Request:
    body = {"model": "m", "input": list(items), **more}
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)
    return Request(orjson.loads(raw), "m", False, "r", 1, raw)


def test_reasoning_that_we_sealed_is_not_for_openai() -> None:
    request = asked(QUESTION, CLAUDES, OPENAIS, QUESTION, store=False)
    before = orjson.dumps(request.body)
    rendered = CODEC.render(request, ModelTarget("theirs", None))
    assert orjson.loads(rendered.body) == {
        "model": "theirs",
        "input": [QUESTION, OPENAIS, QUESTION],
        "store": False,
    }
    assert orjson.dumps(request.body) == before, "the request is shared by all attempts"


@pytest.mark.parametrize(
    "item",
    [OPENAIS, QUESTION, CLAUDES | {"type": "message"}, CLAUDES | {"encrypted_content": 5}, "x"],
    ids=["OpenAI's own", "a text", "no reasoning", "a number", "no item"],
)
def test_all_else_passes_byte_for_byte(item: Any) -> None:
    request = asked(item)
    assert CODEC.render(request, ModelTarget("m", None)).body == request.raw


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        pytest.param({"status": "completed", "output": [{}], "usage": TOLD}, USAGE, id="whole"),
        pytest.param({"status": "incomplete", "output": [], "usage": TOLD}, USAGE, id="cut short"),
        pytest.param({"status": "failed", "output": [], "error": {"code": "x"}}, None, id="failed"),
        pytest.param({"status": "queued", "output": [], "usage": None}, None, id="background"),
    ],
)
def test_a_reply_passes_unchanged(body: dict[str, Any], usage: Usage | None) -> None:
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)
    reply = CODEC.read(Request({}, "m", False, "r", 1), raw)
    assert reply.body is raw
    assert reply.usage == usage


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"error":{"message":"x"}}', b'{"output":null}'],
    ids=["nothing", "page", "array", "empty", "error", "no output"],
)
def test_what_is_no_response_is_noticed(body: bytes) -> None:
    with pytest.raises(BadReply):
        CODEC.read(Request({}, "m", False, "r", 1), body)


def read(pieces: list[bytes]) -> tuple[bool, Usage | None, str | None]:
    """Whether the stream was whole, what it used, and what the provider reported."""
    stream = ResponsesStream()
    try:
        for piece in pieces:
            assert stream.feed(piece) is piece
        assert stream.finish() == b""
    except BadReply:
        assert not stream.complete
    else:
        assert stream.complete
    return stream.complete, stream.usage, None if stream.error is None else stream.error.message


# id -> (the stream, whole?, usage, error)
STREAMS: dict[str, tuple[bytes, bool, Usage | None, str | None]] = {
    "completed": (CREATED + DELTA + last(), True, USAGE, None),
    "incomplete": (CREATED + DELTA + last("incomplete"), True, USAGE, None),
    "failed": (CREATED + DELTA + FAILED, True, USAGE, "Boom"),
    "cancelled": (CREATED + last("cancelled", usage=None), True, None, None),
    "a mark at the end": (CREATED + last() + b"data: [DONE]\n\n", True, USAGE, None),
    "unnamed events": (
        b"data: " + (CREATED + last()).partition(b"data: ")[2].replace(b"event: ", b": "),
        True,
        USAGE,
        None,
    ),
    "spaces": (
        b'data: {"type" : "response.completed", "response": {"output": []}}\n\n',
        True,
        None,
        None,
    ),
    "no blank line at the end": (CREATED + last()[:-1], True, USAGE, None),
    "no line end": (CREATED + last()[:-2], True, USAGE, None),
    "nothing": (b"", False, None, None),
    "no end": (CREATED + DELTA + DELTA, False, None, None),
    "cut in the last event": (CREATED + DELTA + last()[:-20], False, None, None),
    "a text that looks like the end": (CREATED + LOOKALIKE, False, None, None),
    "a part that looks like an error": (CREATED + PART + last(), True, USAGE, None),
    "error": (CREATED + DELTA + ERROR, False, None, "Boom"),
    "error as it is documented": (CREATED + DELTA + FLAT_ERROR, False, None, "Boom"),
    "error without a type": (
        CREATED + b'data: {"error":{"message":"Boom"}}\n\n',
        False,
        None,
        "Boom",
    ),
}


@pytest.mark.parametrize(("sent", "whole", "usage", "error"), STREAMS.values(), ids=STREAMS)
def test_faults_c15_c17_what_the_tap_sees(
    sent: bytes, whole: bool, usage: Usage | None, error: str | None
) -> None:
    first = len(CREATED) if sent.startswith(CREATED) else 0
    for line_end in (b"\n", b"\r\n", b"\r"):
        head, tail = (part.replace(b"\n", line_end) for part in (sent[:first], sent[first:]))
        assert read([head, tail]) == (whole, usage, error)


@pytest.mark.parametrize(("sent", "whole", "usage", "error"), STREAMS.values(), ids=STREAMS)
def test_cuts_change_nothing(
    sent: bytes, whole: bool, usage: Usage | None, error: str | None
) -> None:
    assert read([sent[i : i + 1] for i in range(len(sent))]) == (whole, usage, error)
    # Before the first event went out, an error is none that the client was told.
    for offset in range(len(CREATED), len(sent)):
        assert read([sent[:offset], sent[offset:]]) == (whole, usage, error), offset


def test_a_delta_is_not_parsed() -> None:
    stream = ResponsesStream()
    stream.feed(CREATED)
    not_json = b'data: {"type":"response.output_text.delta",oops}\n\n'
    assert stream.feed(not_json) is not_json
    with pytest.raises(BadReply):
        stream.feed(b'data: {"type":"response.completed",oops}\n\n')


def test_a_last_event_without_its_response_is_bad() -> None:
    with pytest.raises(BadReply):
        ResponsesStream().feed(event("response.completed"))


@pytest.mark.parametrize(
    "begin", [ERROR, FLAT_ERROR, FAILED, CREATED + ERROR], ids=["error", "flat", "failed", "both"]
)
def test_an_error_at_the_start_is_worth_another_provider(begin: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        ResponsesStream().feed(begin)
    assert "Boom" not in str(caught.value)


def test_an_error_of_the_clients_is_told_even_at_the_start() -> None:
    stream = ResponsesStream()
    refused = event("error", error={"type": "invalid_request_error", "message": "Too long"})
    assert stream.feed(refused) is refused
    assert stream.error is not None
    assert stream.error.message == "Too long"


@pytest.mark.parametrize(
    ("sent", "at_boundary"),
    [
        pytest.param(b"", True, id="start"),
        pytest.param(CREATED + DELTA, True, id="event"),
        pytest.param(CREATED + b"event: response.output", False, id="inside an event"),
        pytest.param(CREATED + DELTA[:-1], False, id="before the blank line"),
        pytest.param(CREATED + last(), True, id="end"),
    ],
)
def test_the_boundary_is_known(sent: bytes, at_boundary: bool) -> None:
    for pieces in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        stream = ResponsesStream()
        for piece in pieces:
            stream.feed(piece)
        assert stream.at_boundary is at_boundary


def test_fault_c18_an_endless_line_is_bounded() -> None:
    stream = ResponsesStream()
    stream.feed(b"data: ")
    with pytest.raises(BadReply):
        for _ in range(MAX_LINE_BYTES // 65_536 + 1):
            stream.feed(b"x" * 65_536)


def test_fault_c20_no_stream_is_noticed_before_it_goes_out() -> None:
    with pytest.raises(BadReply):
        ResponsesStream().feed(b'{"object":"response"}')
