"""A stream that we ask for its usage: the body asks, and the client sees what it would have."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream.dialects.base import (
    AsksUsage,
    BadReply,
    Codec,
    ModelTarget,
    Request,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.openai_usage_stream import MAX_HELD_BYTES, UsageStream

GOLDEN = sorted((Path(__file__).parent / "golden/exchanges").glob("stream*.yaml"))
NATIVE = OpenAI().native
CODECS = pytest.mark.parametrize(
    "codec", [NATIVE["chat"], NATIVE["completions"]], ids=["chat", "completions"]
)
TARGET = ModelTarget("theirs", None)
COUNTED = {
    "prompt_tokens": 50,
    "completion_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 60},
}
SPENT = Usage(50, 70, 40, 60)


def asking(raw: bytes, *, asks: AsksUsage = AsksUsage.GATEWAY) -> Request:
    return Request(orjson.loads(raw), "m", True, "r", 1, raw=raw, asks_usage=asks)


# --- what is sent

ASKS = b',"stream_options":{"include_usage":true}}'
# id -> (the client's body, the provider's)
BODIES: dict[str, tuple[bytes, bytes]] = {
    "no options": (
        b'{"model":"m","stream":true}',
        b'{"model":"theirs","stream":true' + ASKS,
    ),
    "spaces and numbers stay": (
        b' {\n "temperature" : 1.0,\n "model" : "m" \n}\n ',
        b' {\n "temperature" : 1.0,\n "model" : "theirs" \n' + ASKS,
    ),
    "null": (
        b'{"stream_options":null,"model":"m"}',
        b'{"stream_options":{"include_usage":true},"model":"theirs"}',
    ),
    "empty": (
        b'{"model":"m","stream_options" : { }, "n":1}',
        b'{"model":"theirs","stream_options" : {"include_usage":true}, "n":1}',
    ),
    "false": (
        b'{"model":"m","stream_options":{"include_usage":false}}',
        b'{"model":"theirs"' + ASKS,
    ),
    "other members stay": (
        b'{"model":"m","stream_options":{"include_obfuscation":false,"x":"}"}}',
        b'{"model":"theirs","stream_options":'
        b'{"include_obfuscation":false,"x":"}","include_usage":true}}',
    ),
    "an object within": (
        b'{"model":"m","stream_options":{"x":{"y":1}}}',
        b'{"model":"theirs","stream_options":{"x":{"y":1},"include_usage":true}}',
    ),
    "twice: the last counts": (
        b'{"stream_options":{"a":1},"model":"m","stream_options":{"b":1.0}}',
        b'{"stream_options":{"b":1.0,"include_usage":true},"model":"theirs"}',
    ),
    "spelled so that only a parser sees it": (
        b'{"model":"m","stream_opt\\u0069ons":{"include_usage":false}}',
        b'{"model":"theirs"' + ASKS,
    ),
    "in another place": (
        b'{"model":"m","metadata":{"stream_options":{}}}',
        b'{"model":"theirs","metadata":{"stream_options":{}}' + ASKS,
    ),
    "in a text": (
        b'{"model":"m","user":"\\"stream_options\\":{} }"}',
        b'{"model":"theirs","user":"\\"stream_options\\":{} }"' + ASKS,
    ),
    "in another case before": (
        b'{"model":"m","Stream_Options":{"include_usage":false}}',
        b'{"model":"theirs","Stream_Options":{"include_usage":false}' + ASKS,
    ),
}


@CODECS
@pytest.mark.parametrize(("sent", "wanted"), BODIES.values(), ids=BODIES)
def test_the_body_asks_and_is_else_the_clients(codec: Codec, sent: bytes, wanted: bytes) -> None:
    assert codec.render(asking(sent), TARGET).body == wanted


@CODECS
@pytest.mark.parametrize("asks", [AsksUsage.CLIENT, AsksUsage.NOBODY], ids=lambda each: each.name)
def test_nobody_else_asks(codec: Codec, asks: AsksUsage) -> None:
    sent = b'{"model":"m" ,"stream_options":{"include_usage":true}}'
    request = asking(sent, asks=asks)
    assert codec.render(request, TARGET).body == sent.replace(b'"m"', b'"theirs"')
    data = event(choices=[], usage=COUNTED)
    assert codec.stream(request).feed(data) is data


@CODECS
def test_a_body_that_cannot_be_written_anew_is_refused(codec: Codec) -> None:
    nested: Any = {}
    for _ in range(400):
        nested = {"x": nested}
    request = Request({"model": "m", "metadata": nested}, "m", True, "r", 1)
    request.asks_usage = AsksUsage.GATEWAY
    with pytest.raises(Untranslatable):
        codec.render(request, TARGET)


VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.dictionaries(st.sampled_from(["include_usage", "include_obfuscation", "x"]), VALUES)


@given(
    st.dictionaries(st.text(), VALUES, max_size=3),
    st.none() | OPTIONS,
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_any_body_asks_and_is_else_the_clients(
    fields: dict[str, Any], options: Any, has_options: bool, indent: int | None
) -> None:
    body = {**fields, "model": "m"} | ({"stream_options": options} if has_options else {})
    raw = json.dumps(body, indent=indent, ensure_ascii=False).encode()
    sent = orjson.loads(NATIVE["chat"].render(asking(raw), TARGET).body)
    options = {**(body.get("stream_options") or {}), "include_usage": True}
    assert sent == body | {"model": "theirs", "stream_options": options}


# --- what comes back


def event(**chunk: Any) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def said(content: str = "x", *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return event(id="c", choices=[choice], **more)


FINISH = said(finish="stop")
USAGE = event(id="c", choices=[], usage=COUNTED)
DONE = b"data: [DONE]\n\n"

# id -> (what the provider sends, in parts that the client gets or does not, and the usage)
Parts = list[tuple[bytes, bool]]
STREAMS: dict[str, tuple[Parts, Usage | None]] = {
    "usage": ([(said() + FINISH, True), (USAGE, False), (DONE, True)], SPENT),
    "null before": (
        [(said(usage=None) + said(finish="stop", usage=None), True), (USAGE, False), (DONE, True)],
        SPENT,
    ),
    "none": ([(said() + FINISH + DONE, True)], None),
    "with the finish": ([(said() + said(finish="stop", usage=COUNTED) + DONE, True)], SPENT),
    "with the finish and alone": (
        [(said(finish="stop", usage={"prompt_tokens": 1}), True), (USAGE, False), (DONE, True)],
        SPENT,
    ),
    "in every chunk": (
        [
            (said(usage={"prompt_tokens": 1}) + said(finish="stop", usage=COUNTED), True),
            (DONE, True),
        ],
        SPENT,
    ),
    "no DONE": ([(said() + FINISH, True), (USAGE, False)], SPENT),
    "no DONE, no blank line": ([(said() + FINISH, True), (USAGE[:-2], False)], SPENT),
    "no blank line after DONE": ([(FINISH, True), (USAGE, False), (DONE[:-2], True)], SPENT),
    "choices null": ([(FINISH, True), (event(choices=None, usage=COUNTED), False)], SPENT),
    "no choices": ([(FINISH, True), (event(usage=COUNTED), False), (DONE, True)], SPENT),
    "with more": (
        [(FINISH, True), (event(choices=[], usage=COUNTED, timings={"n": 1}), False), (DONE, True)],
        SPENT,
    ),
    "no choices and no usage": (
        [(event(choices=[], usage=None, filters=[{}]) + FINISH + DONE, True)],
        None,
    ),
    "named, with an id": (
        [(FINISH, True), (b"event: message\nid: 7\n: c\n" + USAGE, False), (DONE, True)],
        SPENT,
    ),
    "comments": (
        [(b": a\n\n" + FINISH + b": b\n\n", True), (USAGE, False), (b": c\n\n" + DONE, True)],
        SPENT,
    ),
    "spaces": (
        [
            (FINISH, True),
            (b'data: {"choices" : [ ], "usage" : {"prompt_tokens" : 50}}\n\n', False),
            (DONE, True),
        ],
        Usage(50, 0),
    ),
    "over two lines": (
        [(FINISH, True), (b'data: {"choices":[],\ndata: "usage":{}}\n\n', False), (DONE, True)],
        Usage(0, 0),
    ),
    "BOM": ([(b"\xef\xbb\xbf" + FINISH, True), (USAGE, False), (DONE, True)], SPENT),
    "a text that looks like it": ([(said('{"choices":[],"usage":{}}') + FINISH, True)], None),
    "several": ([(FINISH, True), (USAGE + USAGE, False), (DONE, True)], SPENT),
    "a long event": (
        [(said("y" * 2 * MAX_HELD_BYTES) + FINISH, True), (USAGE, False), (DONE, True)],
        SPENT,
    ),
}


def sent_in(parts: Parts, line_end: bytes) -> tuple[bytes, bytes]:
    """All, and what the client is to get of it."""
    framed = [(part.replace(b"\n", line_end), kept) for part, kept in parts]
    return b"".join(p for p, _ in framed), b"".join(p for p, kept in framed if kept)


def read(pieces: list[bytes], *, one_choice: bool = True) -> tuple[bytes, Usage | None]:
    stream = UsageStream(one_choice=one_choice)
    got = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert stream.complete
    return got, stream.usage


LINE_ENDS = pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
ALL_STREAMS = pytest.mark.parametrize(("parts", "usage"), STREAMS.values(), ids=STREAMS)


@LINE_ENDS
@ALL_STREAMS
def test_the_usage_is_known_and_taken_out(
    parts: Parts, usage: Usage | None, line_end: bytes
) -> None:
    sent, wanted = sent_in(parts, line_end)
    for one_choice in (True, False):
        assert read([sent], one_choice=one_choice) == (wanted, usage)


@LINE_ENDS
@ALL_STREAMS
def test_cuts_change_nothing(parts: Parts, usage: Usage | None, line_end: bytes) -> None:
    sent, wanted = sent_in(parts, line_end)
    if len(sent) < MAX_HELD_BYTES:
        assert read([sent[i : i + 1] for i in range(len(sent))]) == (wanted, usage)
    for offset in range(0, len(sent) + 1, 1 + len(sent) // 1000):
        assert read([sent[:offset], sent[offset:]]) == (wanted, usage), offset


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=[path.stem for path in GOLDEN])
def test_a_recorded_stream(golden: Any) -> None:
    sent = golden.given["reply"].encode()
    events = [each + b"\n\n" for each in sent.split(b"\n\n")[:-1]]
    wanted = b"".join(each for each in events if b'"choices":[]' not in each)
    whole, usage = read([sent])
    assert whole == wanted
    assert (usage is not None) is (b'"usage":{' in sent)
    assert read([sent[i : i + 100] for i in range(0, len(sent), 100)]) == (whole, usage)


PARTS = st.sampled_from(
    [
        (said(), True),
        (said(usage=None), True),
        (said(usage=COUNTED), True),
        (FINISH, True),
        (USAGE, False),
        (DONE, True),
        (b": ping\n\n", True),
        (event(choices=[]), True),
        (said("z" * MAX_HELD_BYTES), True),
    ]
)


@given(
    st.lists(PARTS, max_size=6),
    st.lists(st.integers(0, 40_000) | st.integers(0, 1_000), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
)
def test_any_cuts_of_any_stream(
    parts: Parts, at: list[int], line_end: bytes, one_choice: bool
) -> None:
    sent, wanted = sent_in([*parts, (FINISH, True)], line_end)
    edges = [0, *sorted(min(offset, len(sent)) for offset in at), len(sent)]
    stream, got = UsageStream(one_choice=one_choice), b""
    for a, b in zip(edges, edges[1:], strict=False):
        got += stream.feed(sent[a:b])
        assert wanted.startswith(got)
        assert len(stream._held) <= MAX_HELD_BYTES
        if line_end == b"\n" and got:
            assert stream.at_boundary is got.endswith(b"\n\n")
    assert got + stream.finish() == wanted


def test_an_ordinary_read_is_handed_on_as_it_is_without_being_parsed() -> None:
    stream = UsageStream(one_choice=True)
    stream.feed(said())
    not_json = b'data: {"choices":[{"finish_reason":null,oops}],"usage":null}\n\n'
    assert stream.feed(not_json) is not_json
    with pytest.raises(BadReply):
        stream.feed(b'data: {"choices":[{"finish_reason":"stop",oops}]}\n\n')


@pytest.mark.parametrize("pieces", [[b"<!DOCTYPE"], [b"{", b'"']], ids=["page", "JSON in pieces"])
def test_what_is_no_stream_is_noticed_at_once(pieces: list[bytes]) -> None:
    stream = UsageStream(one_choice=True)
    with pytest.raises(BadReply):
        for piece in pieces:
            stream.feed(piece)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(said()[:-9], id="half-an-event"),
        pytest.param(USAGE[:-9], id="half-the-usage"),
        pytest.param(event(error={"message": "boom"})[:-2], id="an-error-that-has-not-ended"),
    ],
)
def test_a_lost_tail_is_held_back_and_told_by_us(tail: bytes) -> None:
    stream = UsageStream(one_choice=True)
    assert stream.feed(said() + tail) == said()
    with pytest.raises(BadReply):
        stream.finish()
    assert stream.at_boundary
    assert not stream.complete
    assert stream.error is None


@pytest.mark.parametrize("more", [{}, {"choices": [], "usage": COUNTED}], ids=["alone", "beside"])
def test_an_error_is_handed_on(more: dict[str, Any]) -> None:
    stream = UsageStream(one_choice=True)
    stream.feed(said())
    told = event(error={"message": "boom"}, **more)
    assert stream.feed(told) == told
    assert stream.error is not None
    assert not stream.complete


def test_an_error_after_nothing_but_usage_is_worth_another_provider() -> None:
    stream = UsageStream(one_choice=True)
    assert stream.feed(USAGE) == b""
    with pytest.raises(BadReply):
        stream.feed(event(error={"message": "boom"}))


def test_a_usage_of_which_something_went_out_goes_out_whole() -> None:
    long = event(choices=[], usage=COUNTED, more="x" * 2 * MAX_HELD_BYTES)
    sent = FINISH + long + USAGE + DONE
    pieces = [sent[at : at + 1000] for at in range(0, len(sent), 1000)]
    assert read(pieces) == (FINISH + long + DONE, SPENT)


def test_events_that_cannot_be_told_apart_go_out() -> None:
    sent = FINISH[:-1] + b"\r" + USAGE + DONE  # a blank line that no vendor would write
    assert read([sent]) == (sent, SPENT)


def test_what_is_held_is_bounded() -> None:
    stream = UsageStream(one_choice=True)
    got = stream.feed(b"data: ")
    for _ in range(100):
        got += stream.feed(b"x" * 1000)
        assert len(stream._held) <= MAX_HELD_BYTES
    assert got == b"data: " + b"x" * 100_000
    assert not stream.at_boundary
