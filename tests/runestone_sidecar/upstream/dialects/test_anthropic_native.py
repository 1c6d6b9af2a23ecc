"""The Messages API passing through: bytes unchanged but for the model, and what the tap sees."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_native import MessagesTap
from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    ModelTarget,
    Request,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.sse import MAX_LINE_BYTES

STREAMS = sorted((Path(__file__).parent / "golden/streams").glob("*.yaml"))
MESSAGES = Anthropic().native["messages"]
COUNT = Anthropic().native["count_tokens"]
TARGET = ModelTarget("the-providers-name", None)
RAW = b'{ "max_tokens" : 10, "model": "m", "messages":[{"role":"user","content":1e2}], "new":[]}'


def request_of(raw: bytes, headers: bytes = b"") -> Request:
    return Request(orjson.loads(raw), "m", False, "r", 1, raw, headers)


@pytest.mark.parametrize(
    ("codec", "path"),
    [(MESSAGES, b"/v1/messages"), (COUNT, b"/v1/messages/count_tokens")],
    ids=["messages", "count_tokens"],
)
def test_a_request_passes_with_its_headers(codec: Any, path: bytes) -> None:
    rendered = codec.render(request_of(RAW, b"anthropic-beta: new-1\r\n"), TARGET)
    assert rendered.path == path
    assert rendered.body == RAW.replace(b'"m"', b'"the-providers-name"')
    version = b"anthropic-version: 2023-06-01\r\n"  # none was given
    assert rendered.headers == b"anthropic-beta: new-1\r\n" + version


def test_a_second_model_does_not_pass() -> None:
    raw = RAW.replace(b'"new":[]', b'"model":"another"')
    body = orjson.loads(MESSAGES.render(request_of(raw), TARGET).body)
    assert body == orjson.loads(raw) | {"model": "the-providers-name"}


def test_nesting_beyond_the_encoder_is_refused() -> None:
    nested: Any = {}
    for _ in range(400):
        nested = {"x": nested}
    with pytest.raises(Untranslatable):
        MESSAGES.render(Request({"model": "m", "x": nested}, "m", False, "r", 1), TARGET)


USAGE = {
    "input_tokens": 3,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 5,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}
USAGES: dict[str, tuple[Any, Usage | None]] = {
    "whole": (USAGE, Usage(12, 7, 4, 2)),
    "plain": ({"input_tokens": 3, "output_tokens": 7}, Usage(3, 7)),
    "missing": (None, None),
    "a list": ([], None),
    "nonsense": ({"input_tokens": "3"}, None),
}


@pytest.mark.parametrize(("told", "usage"), USAGES.values(), ids=USAGES)
def test_a_reply_passes_and_tells_its_usage(told: Any, usage: Usage | None) -> None:
    body = orjson.dumps({"type": "message", "content": [], "usage": told})
    reply = MESSAGES.read(request_of(RAW), body)
    assert reply.body is body
    assert reply.usage == usage


def test_a_count_passes_and_is_no_usage() -> None:
    body = b'{"input_tokens": 2095}'
    reply = COUNT.read(request_of(RAW), body)
    assert reply.body is body
    assert reply.usage is None
    with pytest.raises(BadReply):
        COUNT.stream(request_of(RAW))


BAD = {
    "nothing": b"",
    "a page": b"<html>secret</html>",
    "cut JSON": b'{"content":[],"input_tokens":1',
    "not UTF-8": b'{"content":["\xff"]}',
    "null": b"null",
    "an array": b"[1]",
    "an error": b'{"type":"error","error":{"message":"secret"}}',
    "null for it": b'{"content":null,"input_tokens":null}',
    "a truth": b'{"content":true,"input_tokens":true}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
@pytest.mark.parametrize("codec", [MESSAGES, COUNT], ids=["messages", "count_tokens"])
def test_fault_c20_what_is_no_reply(codec: Any, body: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        codec.read(request_of(RAW), body)
    assert "secret" not in str(caught.value)


def read(pieces: list[bytes]) -> tuple[bool, Usage | None, bool]:
    """Whole?, the usage, an error told?; every piece must come back as it is."""
    tap = MessagesTap()
    try:
        for piece in pieces:
            assert tap.feed(piece) is piece
        assert tap.finish() == b""
    except BadReply:
        assert not tap.complete
    else:
        assert tap.complete
    return tap.complete, tap.usage, tap.error is not None


@pytest.mark.parametrize("golden", STREAMS, indirect=True, ids=[path.stem for path in STREAMS])
def test_a_stream_passes_and_tells_what_its_translation_tells(golden: Any) -> None:
    sent = golden.given["provider"].encode()
    told = golden.expected["usage"]
    complete, usage, _ = read([sent])
    assert complete == golden.expected["complete"]
    assert (usage and [usage.input_tokens, usage.output_tokens]) == told


@pytest.mark.parametrize("golden", STREAMS, indirect=True, ids=[path.stem for path in STREAMS])
def test_cuts_and_line_ends_change_nothing(golden: Any) -> None:
    sent = golden.given["provider"].encode()
    if b'"type":"error"' in sent:
        pytest.skip("in the first piece it is not handed on")
    whole = read([sent])[:2]
    for line_end in (b"\n", b"\r\n", b"\r"):
        framed = sent.replace(b"\n", line_end)
        assert read([framed])[:2] == whole
        assert read([framed[i : i + 1] for i in range(len(framed))])[:2] == whole
    for offset in range(len(sent)):
        assert read([sent[:offset], sent[offset:]])[:2] == whole, offset


@pytest.mark.parametrize("golden", STREAMS, indirect=True, ids=[path.stem for path in STREAMS])
def test_fault_c15_no_cut_makes_a_reply_look_whole(golden: Any) -> None:
    sent = golden.given["provider"].encode()
    for length in range(len(sent.partition(b'"message_stop"')[0])):
        assert not read([sent[:length]])[0], length


def event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def text(said: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})


START = event("message_start", message={"id": "m", "usage": {"input_tokens": 3}})
LAST = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4})
STOP = event("message_stop")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
IMITATED = b'data: {"error": {"message": "x"}}\n\n'
LOOKALIKE = '"type":"message_stop" {"type":"error","error":{"message":"no"}} data: [DONE]'
USED = Usage(3, 4)

# id -> (the stream, whole?, usage, an error told?)
SEEN: dict[str, tuple[bytes, bool, Usage | None, bool]] = {
    "whole": (START + text("a") + LAST + STOP, True, USED, False),
    "no stop": (START + text("a") + LAST, False, USED, False),
    "no blank line after the stop": (START + LAST + STOP[:-1], True, USED, False),
    "text that looks like the end": (START + text(LOOKALIKE), False, Usage(3, 0), False),
    "pings": (event("ping") + START + event("ping") + LAST + STOP, True, USED, False),
    "error": (START + text("a") + ERROR, False, Usage(3, 0), True),
    "error, then the stop": (START + ERROR + STOP, False, Usage(3, 0), True),
    "error after the stop": (START + STOP + ERROR, False, Usage(3, 0), True),
    "an imitator's error": (START + IMITATED, False, Usage(3, 0), True),
    "an input with a type": (
        START + event("content_block_start", index=0, content_block={"input": {"type": "error"}}),
        False,
        Usage(3, 0),
        False,
    ),
    "nothing": (b"", False, None, False),
    "usage at the end": (
        event("message_start", message={}) + event("message_delta", delta={}, usage=USAGE) + STOP,
        True,
        Usage(12, 7, 4, 2),
        False,
    ),
}


@pytest.mark.parametrize(("sent", "whole", "usage", "erred"), SEEN.values(), ids=SEEN)
def test_faults_c15_c17_what_the_tap_sees(
    sent: bytes, whole: bool, usage: Usage | None, erred: bool
) -> None:
    # Event by event, as providers send them: what tells nothing is not even parsed.
    events = [piece + b"\n\n" for piece in sent.split(b"\n\n")[:-1]]
    assert read([*events, sent[len(b"".join(events)) :]]) == (whole, usage, erred)
    assert read([sent[i : i + 1] for i in range(len(sent))]) == (whole, usage, erred)
    assert read([sent])[0] == whole


@pytest.mark.parametrize(
    "sent",
    [
        b"<html>secret</html>",
        b'{"type":"message"}',
        ERROR,
        START + b'data: {"type":"message_stop", secret\n\n',
        START + b'data: ["type":"message_stop"]\n\n',
        START + b'data: [{"type":"message_stop"}]\n\n',
        START + b"data: " + b"x" * MAX_LINE_BYTES,
    ],
    ids=["page", "JSON", "error at the start", "not JSON", "nor this", "an array", "endless line"],
)
def test_faults_c16_c18_c20_what_is_no_stream_of_messages(sent: bytes) -> None:
    tap = MessagesTap()
    with pytest.raises(BadReply) as caught:
        tap.feed(sent)
    assert "secret" not in str(caught.value)


def test_an_error_of_the_clients_is_told_even_at_the_start() -> None:
    tap = MessagesTap()
    sent = event("error", error={"type": "invalid_request_error", "message": "prompt is too long"})
    assert tap.feed(sent) is sent
    assert tap.error is not None


def test_a_boundary_is_between_events() -> None:
    tap = MessagesTap()
    tap.feed(START)
    assert tap.at_boundary
    tap.feed(text("a")[:-1])
    assert not tap.at_boundary
