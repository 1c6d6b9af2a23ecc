"""The tap on a passing stream: it sees the end and the usage, and touches nothing."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream.dialects.base import BadReply, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.openai_stream import OpenAIStream
from runestone_sidecar.upstream.sse import MAX_LINE_BYTES

GOLDEN = sorted((Path(__file__).parent / "golden/exchanges").glob("stream*.yaml"))
DONE = b"data: [DONE]\n\n"


def stream_of(**body: Any) -> OpenAIStream:
    return OpenAI().chat.stream(Request({"model": "m", **body}, "m", True, "r", 1))


def event(**chunk: Any) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def chunk(content: str = "x", *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return event(id="c", choices=[choice], **more)


USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
FINISH = chunk(finish="stop")
LOOKALIKE = (
    '"finish_reason":"stop","usage":{"prompt_tokens":9},"error":{"message":"no"} data: [DONE]'
)


def read(stream: OpenAIStream, pieces: list[bytes]) -> tuple[bool, Usage | None]:
    """Whether the reply was whole, and what it used; every piece must come back as it is."""
    try:
        for piece in pieces:
            assert stream.feed(piece) is piece
        assert stream.finish() == b""
    except BadReply:
        assert not stream.complete
    else:
        assert stream.complete
    return stream.complete, stream.usage


# id -> (fields of the request, the stream, whole?, usage)
STREAMS: dict[str, tuple[dict[str, Any], bytes, bool, Usage | None]] = {
    "done": ({}, chunk() + FINISH + DONE, True, None),
    "no DONE": ({}, chunk() + FINISH, True, None),
    "no DONE but usage": ({}, chunk() + FINISH + event(choices=[], usage=USAGE), True, Usage(5, 7)),
    "usage with the finish": ({}, chunk(finish="stop", usage=USAGE) + DONE, True, Usage(5, 7)),
    "usage in every chunk": (
        {},
        chunk(usage=USAGE | {"completion_tokens": 1}) + chunk(finish="stop", usage=USAGE) + DONE,
        True,
        Usage(5, 7),
    ),
    "usage null": ({}, chunk(usage=None) + FINISH + DONE, True, None),
    "usage details": (
        {},
        event(
            choices=[],
            usage=USAGE
            | {
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
        )
        + DONE,
        True,
        Usage(5, 7, 4, 6),
    ),
    "spaces": (
        {},
        b'data: {"choices": [{"index": 0, "finish_reason": null}], "usage": null}\n\n'
        b'data: {"choices": [{"index": 0, "finish_reason" : "stop"}]}\n\n'
        b'data: {"choices": [], "usage" : {"prompt_tokens": 5, "completion_tokens": 7}}\n\n',
        True,
        Usage(5, 7),
    ),
    "nothing": ({}, b"", False, None),
    "only comments": ({}, b": ping\n\n: ping\n\n", False, None),
    "no finish": ({}, chunk() + chunk(), False, None),
    "an empty finish reason": ({}, chunk(finish=""), False, None),
    "a text that looks like the end": ({}, chunk(LOOKALIKE), False, None),
    "cut in the last event": ({}, chunk() + FINISH[:-20], False, None),
    "cut in DONE": ({}, chunk() + DONE[:-5], False, None),
    "no blank line after DONE": ({}, chunk() + DONE[:-1], True, None),
    "no line end after DONE": ({}, chunk() + DONE[:-2], True, None),
    "no line end after the finish": ({}, chunk() + FINISH[:-2], True, None),
    "comments": ({}, b": a\n\n" + chunk() + b": b\n\n" + FINISH + b": c\n\n" + DONE, True, None),
    "no space": ({}, FINISH.replace(b"data: ", b"data:") + b"data:[DONE]\n\n", True, None),
    "BOM": ({}, b"\xef\xbb\xbf" + FINISH + DONE, True, None),
    "named events": ({}, b"event: message\nid: 1\n" + FINISH + DONE, True, None),
    "two choices": (
        {"n": 2},
        chunk(index=0) + chunk(index=1) + chunk(index=1, finish="stop") + FINISH,
        True,
        None,
    ),
    "one of two choices unfinished": (
        {"n": 2},
        chunk(index=0) + chunk(index=1) + chunk(index=1, finish="stop"),
        False,
        None,
    ),
    "one choice though two were asked for": ({"n": 2}, chunk() + FINISH, True, None),
    "error": ({}, chunk() + event(error={"message": "boom"}), False, None),
    "error, then DONE": ({}, chunk() + event(error={"message": "boom"}) + DONE, False, None),
    "error after the finish": ({}, chunk() + FINISH + event(error={"message": "b"}), False, None),
    "error as a string": ({}, chunk() + FINISH + event(error="boom"), False, None),
    "error null": ({}, chunk(error=None) + FINISH, True, None),
    "raw JSON after the events": ({}, chunk() + b'{"error": {"message": "boom"}}', False, None),
}


@pytest.mark.parametrize(("body", "sent", "whole", "usage"), STREAMS.values(), ids=STREAMS)
def test_faults_c15_c17_what_the_tap_sees(
    body: dict[str, Any], sent: bytes, whole: bool, usage: Usage | None
) -> None:
    for line_end in (b"\n", b"\r\n", b"\r"):
        framed = sent.replace(b"\n", line_end)
        assert read(stream_of(**body), [framed]) == (whole, usage)


@pytest.mark.parametrize(("body", "sent", "whole", "usage"), STREAMS.values(), ids=STREAMS)
def test_cuts_change_nothing(
    body: dict[str, Any], sent: bytes, whole: bool, usage: Usage | None
) -> None:
    assert read(stream_of(**body), [sent[i : i + 1] for i in range(len(sent))]) == (whole, usage)
    for offset in range(len(sent) + 1):
        pieces = [sent[:offset], sent[offset:]]
        assert read(stream_of(**body), pieces) == (whole, usage), offset


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=[path.stem for path in GOLDEN])
def test_a_recorded_stream_is_not_whole_before_its_finish(golden: Any) -> None:
    sent = golden.given["reply"].encode()
    finished = sent.find(b"}", sent.find(b'"finish_reason":"'))
    for length in range(finished):
        assert read(stream_of(), [sent[:length]]) == (False, None), length


CHUNKS = st.sampled_from([chunk(), chunk(usage=None), FINISH, DONE, event(choices=[], usage=USAGE)])


@given(
    st.lists(CHUNKS | st.sampled_from([b": ping\n\n", chunk(LOOKALIKE)]), min_size=1, max_size=6),
    st.lists(st.integers(0, 800), max_size=6),
)
def test_any_cuts_of_any_stream_tell_the_same(chunks: list[bytes], at: list[int]) -> None:
    sent = b"".join(chunks)
    edges = [0, *sorted(min(offset, len(sent)) for offset in at), len(sent)]
    pieces = [sent[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    cut, whole = stream_of(), stream_of()
    assert read(cut, pieces) == read(whole, [sent])
    assert cut.at_boundary is whole.at_boundary is True


def test_an_ordinary_chunk_is_not_parsed() -> None:
    stream = stream_of()
    stream.feed(chunk())
    not_json = b'data: {"choices":[{"finish_reason":null,oops}],"usage":null}\n\n'
    assert stream.feed(not_json) is not_json
    with pytest.raises(BadReply):
        stream.feed(b'data: {"choices":[{"finish_reason":"stop",oops}]}\n\n')


@pytest.mark.parametrize(
    ("sent", "at_boundary"),
    [
        pytest.param(b"", True, id="start"),
        pytest.param(chunk(), True, id="event"),
        pytest.param(chunk() + b"data: {", False, id="inside an event"),
        pytest.param(chunk()[:-1], False, id="before the blank line"),
        pytest.param(chunk() + b": ping", False, id="inside a comment"),
        pytest.param(chunk() + b'{"error": "raw"}', False, id="inside a raw tail"),
        pytest.param(chunk() + DONE, True, id="end"),
    ],
)
def test_the_boundary_is_known(sent: bytes, at_boundary: bool) -> None:
    for pieces in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        stream = stream_of()
        for piece in pieces:
            stream.feed(piece)
        assert stream.at_boundary is at_boundary


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html>", b'{"choices":[]}', b"upstream error", b" data: x", b"\x1f\x8b\x08"],
    ids=["page", "JSON", "text", "space", "gzip"],
)
def test_fault_c20_no_stream_is_noticed_before_it_goes_out(page: bytes) -> None:
    for pieces in ([page], [page[i : i + 1] for i in range(len(page))]):
        stream = stream_of()
        with pytest.raises(BadReply):
            for piece in pieces:
                stream.feed(piece)


def test_fault_c18_an_endless_line_is_bounded() -> None:
    stream = stream_of()
    stream.feed(b"data: ")
    with pytest.raises(BadReply):
        for _ in range(MAX_LINE_BYTES // 65_536 + 1):
            stream.feed(b"x" * 65_536)


def test_an_error_at_the_start_is_worth_another_provider() -> None:
    with pytest.raises(BadReply) as caught:
        stream_of().feed(event(error={"type": "overloaded", "message": "secret"}))
    assert "secret" not in str(caught.value)


def test_an_error_of_the_clients_is_told_even_at_the_start() -> None:
    stream = stream_of()
    error = event(error={"type": "invalid_request_error", "message": "too long"})
    assert stream.feed(error) is error
    assert stream.error is not None
    assert stream.error.message == "too long"


def test_an_error_in_the_middle_is_known() -> None:
    stream = stream_of()
    stream.feed(chunk())
    stream.feed(event(error={"type": "server_error", "message": "boom", "code": 500}))
    assert stream.error is not None
    assert (stream.error.type, stream.error.code) == ("server_error", "500")
