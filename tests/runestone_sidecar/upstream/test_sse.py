"""The parser against the framing rules, every way of cutting, and its bounds."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream.sse import (
    MAX_EVENT_BYTES,
    MAX_LINE_BYTES,
    Event,
    SSEParser,
    SSETooLargeError,
)

CASES: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (b"data: a\n\n", [(b"", b"a")]),
    "named": (b"event: x\ndata: a\n\n", [(b"x", b"a")]),
    "several": (
        b"data: a\n\nevent: x\ndata: b\n\ndata: c\n\n",
        [(b"", b"a"), (b"x", b"b"), (b"", b"c")],
    ),
    "name after data": (b"data: a\nevent: x\n\n", [(b"x", b"a")]),
    "name does not stay": (b"event: x\n\ndata: a\n\n", [(b"", b"a")]),
    "last name wins": (b"event: x\nevent: y\ndata: a\n\n", [(b"y", b"a")]),
    "crlf": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [(b"x", b"a"), (b"", b"b")]),
    "cr": (b"event: x\rdata: a\r\rdata: b\r\r", [(b"x", b"a"), (b"", b"b")]),
    "mixed line ends": (b"event: x\rdata: a\r\n\ndata: b\n\r\n", [(b"x", b"a"), (b"", b"b")]),
    "multi-line data": (b"data: a\ndata:\ndata: b\n\n", [(b"", b"a\n\nb")]),
    "no space": (b"event:x\ndata:a\n\n", [(b"x", b"a")]),
    "only one space is eaten": (b"data:  a \n\n", [(b"", b" a ")]),
    "bom": (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    "bom only at the start": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
    "part of a bom is content": (b"\xef\xbbdata: a\n\ndata: b\n\n", [(b"", b"b")]),
    "comments": (b": ping\n\n: ping\ndata: a\n: ping\n\n:\n\n", [(b"", b"a")]),
    "id and retry": (b"id: 7\nretry: 10\ndata: a\n\n", [(b"", b"a")]),
    "unknown field": (b'{"error": "raw"}\n\ndata: a\n\n', [(b"", b"a")]),
    "field without colon": (b"data\ndata\n\n", [(b"", b"\n")]),
    "empty data": (b"data:\n\n", [(b"", b"")]),
    "event without data": (b"event: x\n\n", []),
    "blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    "no last blank line": (b"data: a\n\ndata: b\n", [(b"", b"a"), (b"", b"b")]),
    "no last line end": (b"data: a\n\ndata: b", [(b"", b"a"), (b"", b"b")]),
    "cr at the end": (b"data: a\r\rdata: b\r", [(b"", b"a"), (b"", b"b")]),
    "utf-8": ("data: zażółć 🦜\n\n".encode(), [(b"", "zażółć 🦜".encode())]),
    "nothing": (b"", []),
    "half a bom": (b"\xef\xbb", []),
    "nul": (b"data: a\0b\n\n", [(b"", b"a\0b")]),
}


def read(pieces: list[bytes]) -> list[Event]:
    parser = SSEParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def cut(data: bytes, offset: int) -> list[bytes]:
    return [data[:offset], data[offset:]]


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)
def test_events_of_a_stream(stream: bytes, events: list[Event]) -> None:
    assert read([stream]) == events


@pytest.mark.parametrize(("stream", "events"), CASES.values(), ids=CASES)
def test_cuts_change_nothing(stream: bytes, events: list[Event]) -> None:
    assert read([stream[i : i + 1] for i in range(len(stream))]) == events
    for offset in range(len(stream) + 1):
        assert read(cut(stream, offset)) == events, offset


TOKENS = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"data: ", b"data:", b"data", b"event: ", b":", b" ", b"x", b"{}",
     b"\xef\xbb\xbf", b"\xef", b"\n\n", b"data: y\n\n", b"event: z\ndata: y\n\n"]
)  # fmt: skip


@given(st.lists(TOKENS, max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_any_stream_reads_the_same_however_it_is_cut(tokens: list[bytes], at: list[int]) -> None:
    stream = b"".join(tokens)
    edges = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    pieces = [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert read(pieces) == read([stream]) == read([stream[i : i + 1] for i in range(len(stream))])


@given(st.lists(st.tuples(st.sampled_from([b"", b"x", b"ping"]), st.binary(max_size=40))))
def test_what_is_written_is_read(events: list[Event]) -> None:
    events = [(name, data.replace(b"\r", b"").replace(b"\0", b"")) for name, data in events]
    stream = b"".join(
        (b"event: " + name + b"\n" if name else b"")
        + b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
        + b"\n"
        for name, data in events
    )
    assert read([stream]) == events


@pytest.mark.parametrize(
    ("stream", "at_boundary"),
    [
        pytest.param(b"", True, id="start"),
        pytest.param(b"data: a\n\n", True, id="after an event"),
        pytest.param(b"data: a\r\n\r\n", True, id="after an event with CRLF"),
        pytest.param(b": ping\n\n", True, id="after a comment"),
        pytest.param(b"data: a\n", False, id="before the blank line"),
        pytest.param(b"data: a", False, id="inside a line"),
        pytest.param(b"data: a\n\nev", False, id="inside a field name"),
        pytest.param(b": ping\n", False, id="after a line of a comment"),
    ],
)  # fmt: skip
def test_the_boundary_is_known(stream: bytes, at_boundary: bool) -> None:
    whole, bytewise = SSEParser(), SSEParser()
    whole.feed(stream)
    for i in range(len(stream)):
        bytewise.feed(stream[i : i + 1])
    assert whole.at_boundary is bytewise.at_boundary is at_boundary


@pytest.mark.parametrize(
    "line", [b"data: ", b": ", b"", b"event: "], ids=["data", "comment", "unknown", "name"]
)
@pytest.mark.parametrize("piece_bytes", [1 << 16, 1 << 30], ids=["in pieces", "at once"])
def test_fault_c18_a_line_is_bounded(line: bytes, piece_bytes: int) -> None:
    fits = line + b"x" * (MAX_LINE_BYTES - len(line)) + b"\n"
    read([fits[i : i + piece_bytes] for i in range(0, len(fits), piece_bytes)])
    endless = line + b"x" * (MAX_LINE_BYTES + 1 - len(line)) + b"\n\n"
    with pytest.raises(SSETooLargeError) as caught:
        read([endless[i : i + piece_bytes] for i in range(0, len(endless), piece_bytes)])
    assert (caught.value.what, caught.value.limit_bytes) == ("line", MAX_LINE_BYTES)


def test_an_event_is_bounded() -> None:
    parser = SSEParser()
    line = b"data: " + b"x" * (1 << 20) + b"\n"
    with pytest.raises(SSETooLargeError) as caught:
        for _ in range(MAX_EVENT_BYTES // (1 << 20) + 1):
            parser.feed(line)
    assert (caught.value.what, caught.value.limit_bytes) == ("event", MAX_EVENT_BYTES)


def test_tiny_feeds_cost_linear_time() -> None:
    def seconds(size: int) -> float:
        parser = SSEParser()
        parser.feed(b"data: ")
        started = time.perf_counter()
        for _ in range(size):
            parser.feed(b"x")
        return time.perf_counter() - started

    # Quadratic work would make the ratio 400; the rest is room for a busy machine.
    assert min(seconds(200_000) for _ in range(3)) < 100 * min(seconds(10_000) for _ in range(3))
