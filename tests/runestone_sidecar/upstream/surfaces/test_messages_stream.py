"""Streamed chats as streamed messages: golden transcripts, cuts, and the SDK's own accumulator."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from runestone_sidecar.errors import UpstreamFailed
from runestone_sidecar.upstream.dialects.base import BadReply, Miswritten, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.codec import codec_for
from runestone_sidecar.upstream.surfaces.messages import MESSAGES, Messages
from runestone_sidecar.upstream.surfaces.messages_stream import MessagesSink
from runestone_testing.golden import Golden
from runestone_testing.message_stream import accumulated, check_order, events_of, whole_of

FOLDER = Path(__file__).parent / "golden/messages_streams"
GOLDEN = [Golden(path) for path in sorted(FOLDER.glob("*.yaml"))]
IDS = [each.path.stem for each in GOLDEN]
BODY: dict[str, Any] = {
    "model": "asked",
    "max_tokens": 9,
    "stream": True,
    "stop_sequences": ["END"],
    "messages": [{"role": "user", "content": "Hello"}],
}
REQUEST = Request(BODY, "asked", True, "req-1", 1)


def read(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the client gets through the whole path, and whether the reply was whole."""
    codec = codec_for(MESSAGES, OpenAI(), frozenset())
    codec.render(REQUEST, ModelTarget("gpt-5", None))
    stream = codec.stream(REQUEST)
    out = []
    whole = False
    try:
        for piece in pieces:
            out.append(stream.feed(piece))
            assert stream.at_boundary
        out.append(stream.finish())
        whole = stream.error is None
    except BadReply:
        pass
    return b"".join(out), whole


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_golden_stream(golden: Golden) -> None:
    client, whole = read([golden.given["provider"].encode()])
    golden.check({"client": client.decode(), "whole": whole})
    events = events_of(client)
    if whole:
        check_order(events)


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_faults_c15_cuts_change_nothing_and_make_nothing_whole(golden: Golden) -> None:
    given = golden.given["provider"].encode()
    client, whole = read([given])
    assert read([given[i : i + 1] for i in range(len(given))]) == (client, whole)
    for line_end in (b"\r\n", b"\r"):
        assert read([given.replace(b"\n", line_end)]) == (client, whole)
    finished = given.find(b"}", given.find(b'"finish_reason":"'))
    for length in range(len(given)):
        assert read([given[:length], given[length:]]) == (client, whole), length
        if length <= finished:
            cut, _ = read([given[:length]])
            assert b"message_stop" not in cut, length
            assert client.startswith(cut), length


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_sdk_rebuilds_what_a_whole_reply_holds(golden: Golden) -> None:
    provider = golden.given["provider"].encode()
    client, whole = read([provider])
    if not whole or golden.given.get("differs_from_whole"):
        pytest.skip("no whole reply says the same")
    body = Messages.translator.read_chat(REQUEST, whole_of(provider))
    assert accumulated(events_of(client)) == orjson.loads(body)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(arguments: Any = "{}", index: Any = 0, **fields: Any) -> dict[str, Any]:
    """`name` goes to the function; all others to the call."""
    function = {"arguments": arguments, "name": fields.pop("name", "f")}
    piece = {"index": index, "id": "call_0", "type": "function", "function": function} | fields
    return {key: value for key, value in piece.items() if value is not None}


def more(arguments: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments}}


def said_of(*chunks: dict[str, Any]) -> list[Any]:
    sink = MessagesSink(REQUEST)
    client = b"".join([sink.feed(chunk) for chunk in chunks]) + sink.finish()
    events = events_of(client)
    check_order(events)
    content = accumulated(events)["content"]
    assert isinstance(content, list)
    return content


def use(identifier: str, given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "f", "input": given}


END = chunk("tool_calls")
# id -> (the calls in each chunk, the blocks)
CALLS: dict[str, tuple[list[list[dict[str, Any]]], list[Any]]] = {
    "interleaved": (
        [
            [call("", 0, id="a"), call("", 1, id="b")],
            [more('{"x"', 1), more('{"y"', 0)],
            [more(":1}", 0), more(":2}", 1)],
        ],
        [use("a", {"y": 1}), use("b", {"x": 2})],
    ),
    "one after the other in one chunk": (
        [[call('{"x":1}', 0, id="a"), call('{"x":2}', 1, id="b")]],
        [use("a", {"x": 1}), use("b", {"x": 2})],
    ),
    "all of index 0": (
        [[call('{"x":1}', 0, id="a")], [call('{"x":2}', 0, id="b")]],
        [use("a", {"x": 1}), use("b", {"x": 2})],
    ),
    "no index": (
        [[call('{"x"', None, id="a")], [{"function": {"arguments": ":1}"}}]],
        [use("a", {"x": 1})],
    ),
    "no index, two calls": (
        [[call("{}", None, id="a")], [call("{}", None, id="b")]],
        [use("a", {}), use("b", {})],
    ),
    "the name again and again": (
        [[call('{"x"', 0, id="a")], [call(":1}", 0, id="a")]],
        [use("a", {"x": 1})],
    ),
    "no id": (
        [[call("{}", 0, id=None)], [call("{}", 1, id="")]],
        [use("toolu_req-1_0", {}), use("toolu_req-1_1", {})],
    ),
    "an object": (
        [[call({"x": [1]}, 0, id="a")], [call({}, 1, id="b")]],
        [use("a", {"x": [1]}), use("b", {})],
    ),
    "an empty object before the text": (
        [[call({}, 0, id="a")], [more('{"x":1}')]],
        [use("a", {"x": 1})],
    ),
    "no arguments": ([[call("", 0, id="a")], [call("", 1, id="b")]], [use("a", {}), use("b", {})]),
    "arguments null": ([[call("nu", 0, id="a")], [more("ll", 0)]], [use("a", {})]),
    "spaces around": (
        [[call(" \n", 0, id="a")], [more(' {"x":1} ')], [more("\n")]],
        [use("a", {"x": 1})],
    ),
    "spaces after another began": (
        [[call('{"x":1}', 0, id="a"), call("{", 1, id="b")], [more("\n", 0)], [more("}", 1)]],
        [use("a", {"x": 1}), use("b", {})],
    ),
}


@pytest.mark.parametrize(("pieces", "blocks"), CALLS.values(), ids=CALLS)
def test_calls_become_blocks_one_after_the_other(pieces: Any, blocks: list[Any]) -> None:
    assert said_of(*[chunk(tool_calls=piece) for piece in pieces], END) == blocks


def test_a_call_flows_while_it_comes() -> None:
    sink = MessagesSink(REQUEST)
    sink.feed(chunk(tool_calls=[call("", id="a")]))
    assert b'"partial_json":"{\\"x"' in sink.feed(chunk(tool_calls=[more('{"x')]))
    assert sink.feed(chunk(tool_calls=[call('{"y"', 1, id="b")])) == b"", "it waits"
    sink.feed(chunk(tool_calls=[more('":1}')]))
    opened = sink.feed(chunk(tool_calls=[call("{}", 2, id="c")]))
    assert b'"partial_json":"{\\"y\\""' in opened, "the first one is whole, so the next one flows"


# As a model wrote the value of x -> what it is
WRITTEN_TEXTS = {
    r"\ud83d": "\ufffd",
    r"\ude00": "\ufffd",
    r"\ud83d\ude00": "😀",
    r"\uD83D\uD83D\uDE00": "\ufffd😀",
    r"\ud83d\n": "\ufffd\n",
    r"\\ud83d": r"\ud83d",
    r"\\\ud83d\\": "\\\ufffd\\",
    r"\"\u00e9": '"é',
}


@pytest.mark.parametrize(("text", "said"), WRITTEN_TEXTS.items(), ids=WRITTEN_TEXTS)
def test_half_of_a_surrogate_pair_is_carried_however_it_comes(text: str, said: str) -> None:
    """The SDK cannot read one."""
    arguments = '{"x":"' + text + '"}'
    for cut in range(len(arguments)):
        for second in range(cut, len(arguments)):
            parts = arguments[:cut], arguments[cut:second], arguments[second:]
            pieces = [call(parts[0], id="a"), *map(more, parts[1:])]
            chunks = [chunk(tool_calls=[piece]) for piece in pieces]
            assert said_of(*chunks, END) == [use("a", {"x": said})], parts


@pytest.mark.parametrize(("came", "told"), [(r"\ud83d", r"\ufffd"), (r"\u", r"\u"), ("\\", "\\")])
def test_an_escape_that_a_cut_fell_into_is_told_at_the_end(came: str, told: str) -> None:
    sink = MessagesSink(REQUEST)
    client = sink.feed(chunk("length", tool_calls=[call('{"x":"ab' + came)])) + sink.finish()
    deltas = [each["delta"] for each in events_of(client) if each["type"] == "content_block_delta"]
    assert "".join(each["partial_json"] for each in deltas) == '{"x":"ab' + told


ORDERS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "text after a call": (
        [
            chunk(tool_calls=[call("{")]),
            chunk(content="Hi"),
            chunk(tool_calls=[more("}")]),
        ],
        ["tool_use", "text"],
    ),
    "text before and after a call": (
        [chunk(content="a"), chunk(tool_calls=[call('{"x":1}')]), chunk(content="b")],
        ["text", "tool_use", "text"],
    ),
    "reasoning between": (
        [chunk(content="a"), chunk(reasoning="b"), chunk(content="c")],
        ["text", "thinking", "text"],
    ),
    "two thoughts": (
        [
            chunk(thinking_blocks=[{"index": 0, "type": "thinking", "thinking": "a"}]),
            chunk(thinking_blocks=[{"index": 1, "type": "thinking", "thinking": "b"}]),
        ],
        ["thinking", "thinking"],
    ),
    "a thought after a call": (
        [
            chunk(tool_calls=[call("{")]),
            chunk(thinking_blocks=[{"index": 0, "thinking": "a"}, {"index": 0, "signature": "s"}]),
            chunk(tool_calls=[more("}")]),
        ],
        ["tool_use", "thinking"],
    ),
    "all at once": (
        [chunk(reasoning_content="a", content="b", tool_calls=[call()])],
        ["thinking", "text", "tool_use"],
    ),
    "nothing but a refusal": ([chunk(refusal="No"), chunk(refusal=".")], ["text"]),
    "text that shows nothing": ([chunk(content=" "), chunk(content="\n")], []),
    "nothing": ([chunk(role="assistant", content="")], []),
    "another choice": ([{"choices": [{"index": 1, "delta": {"content": "x"}}]}, chunk()], []),
}


@pytest.mark.parametrize(("chunks", "kinds"), ORDERS.values(), ids=ORDERS)
def test_order_of_blocks(chunks: list[dict[str, Any]], kinds: list[str]) -> None:
    assert [block["type"] for block in said_of(*chunks, chunk("stop"))] == kinds


def test_a_thought_that_waited_keeps_its_signature() -> None:
    chunks, _ = ORDERS["a thought after a call"]
    assert said_of(*chunks, END)[1] == {"type": "thinking", "thinking": "a", "signature": "s"}


START = chunk(role="assistant", content="")
BAD: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "no choice": [{"choices": []}],
    "no finish reason": [chunk(content="Hi")],
    "a failure": [chunk("error", content="Hi")],
    "content a number": [chunk("stop", content=5)],
    "a call a text": [chunk("stop", tool_calls=["f"])],
    "a call without function": [chunk("stop", tool_calls=[{"index": 0}])],
    "a call without name": [chunk("stop", tool_calls=[{"index": 0, "function": {}}])],
    "a call with an empty name": [
        chunk("stop", tool_calls=[{"index": 0, "function": {"name": ""}}])
    ],
    "a thought a text": [chunk("stop", thinking_blocks=["f"])],
    "arguments cut": [chunk("tool_calls", tool_calls=[call('{"x":')])],
    "arguments a list": [chunk("tool_calls", tool_calls=[call("[1]")])],
    "arguments an object twice": [
        chunk("tool_calls", tool_calls=[call({"x": 1}), call({"x": 1})]),
    ],
    "arguments a number": [chunk("tool_calls", tool_calls=[call(0)])],
    "arguments words": [chunk(tool_calls=[call("a long text that is no JSON")])],
    "a call that goes on after its end": [
        chunk(tool_calls=[call('{"x":1}', 0), call("{", 1, id="b")]),
        chunk(tool_calls=[more("}", 0)]),
        chunk("tool_calls", tool_calls=[more("}", 1)]),
    ],
}


WRITTEN = {name for name in BAD if name.startswith("arguments")} | {"a call with an empty name"}


@pytest.mark.parametrize("name", BAD)
def test_faults_c16_c18_what_is_no_stream_of_a_chat(name: str) -> None:
    sink = MessagesSink(REQUEST)
    said: list[bytes] = []
    with pytest.raises(BadReply) as caught:
        said.extend(sink.feed(each) for each in BAD[name])
        said.append(sink.finish())
    assert b"message_stop" not in b"".join(said)
    assert isinstance(caught.value, Miswritten) is (name in WRITTEN), "else the vendor's failure"


HUGE = "y" * 8 * 1024 * 1024
ENDLESS: dict[str, list[dict[str, Any]]] = {
    "arguments": [chunk(tool_calls=[call('{"x":"')]), chunk(tool_calls=[more(HUGE)])],
    "waiting": [chunk(tool_calls=[call("{")]), chunk(content="x" + HUGE)],
    "blocks": [chunk(tool_calls=[call("{}", n, id=f"c{n}") for n in range(1_025)])],
    "a refusal": [chunk(refusal=HUGE), chunk(refusal=".")],
}


@pytest.mark.parametrize("chunks", ENDLESS.values(), ids=ENDLESS)
def test_fault_c18_what_is_held_is_bounded(chunks: list[dict[str, Any]]) -> None:
    sink = MessagesSink(REQUEST)
    *first, last = chunks
    for each in first:
        sink.feed(each)
    with pytest.raises(Miswritten):
        sink.feed(last)


def test_blanks_are_held_for_a_while_only() -> None:
    sink = MessagesSink(REQUEST)
    sink.feed(chunk(content=" " * 1_023))
    assert b"text_delta" in sink.feed(chunk(content=" "))


def test_a_long_text_is_not_held() -> None:
    sink = MessagesSink(REQUEST)
    for _ in range(3):
        assert len(sink.feed(chunk(content=HUGE))) > len(HUGE)


def test_a_call_that_the_limit_cut_has_told_what_came() -> None:
    sink = MessagesSink(REQUEST)
    client = sink.feed(chunk("length", tool_calls=[call('{"x":"ab')])) + sink.finish()
    message = accumulated(events_of(client))
    assert message["stop_reason"] == "max_tokens"
    assert message["content"][0]["type"] == "tool_use"


def test_an_error_inside_the_stream_is_told_in_the_messages_words() -> None:
    error = b'data: {"error":{"message":"Overloaded","type":"server_error"}}\n\n'
    start = b"data: " + orjson.dumps(chunk(content="Hi")) + b"\n\n"
    client, whole = read([start, error])
    assert not whole
    assert events_of(client)[-1] == {
        "type": "error",
        "error": {"type": "api_error", "message": "Overloaded"},
    }


def test_an_error_frame_is_an_event() -> None:
    frame = MessagesSink(REQUEST).error_frame(UpstreamFailed("The connection was lost."))
    told = {"type": "api_error", "message": "The connection was lost."}
    assert events_of(frame) == [{"type": "error", "error": told}]
    assert MESSAGES.error_frame(UpstreamFailed("The connection was lost."), 7) == frame


def test_a_text_delta_is_handed_on_at_once() -> None:
    sink = MessagesSink(REQUEST)
    assert events_of(sink.feed(START))[0]["type"] == "message_start"
    for text in ("Hel", "lo"):
        last = events_of(sink.feed(chunk(content=text)))[-1]
        assert last["delta"] == {"type": "text_delta", "text": text}
