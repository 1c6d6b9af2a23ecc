"""Parts are found wherever a body is cut, and what could be read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.edge.multipart import (
    MAX_HEAD_BYTES,
    MAX_PARTS,
    MAX_VALUE_BYTES,
    Found,
    PartScanner,
    boundary_of,
    content_type_of,
)
from runestone_sidecar.errors import BadRequest

MARK = b"--b0"
END = MARK + b"--\r\n"
DISPOSITION = b"Content-Disposition: form-data; "


def part(value: bytes, head: bytes = DISPOSITION + b'name="model"') -> bytes:
    return MARK + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def other(value: bytes = b"x", name: bytes = b"file") -> bytes:
    return part(value, DISPOSITION + b'name="' + name + b'"; filename="a; name=model"')


def scan(body: bytes, step: int | None = None) -> tuple[list[Found], bool]:
    scanner = PartScanner(b"b0", b"model")
    found: list[Found] = []
    for at in range(0, len(body), step or len(body)):
        found += scanner.feed(body[at : at + (step or len(body))])
    return found, scanner.ended


@pytest.mark.parametrize("step", [1, 2, 3, 7, None], ids=lambda step: f"by-{step}")
@pytest.mark.parametrize(
    ("body", "values"),
    [
        pytest.param(part(b"m") + END, [b"m"], id="alone"),
        pytest.param(other() + part(b"m") + other() + END, [b"m"], id="between"),
        pytest.param(other(b"") + part(b"m") + END, [b"m"], id="after-an-empty-one"),
        pytest.param(part(b"") + END, [b""], id="empty"),
        pytest.param(part(b"m") + part(b"n") + END, [b"m", b"n"], id="two"),
        pytest.param(other() + END, [], id="none"),
        pytest.param(other(b"\r\n--b\r\n\r\n--b") + part(b"m") + END, [b"m"], id="near-boundary"),
        pytest.param(other(part(b"n")[2:]) + part(b"m") + END, [b"m"], id="lookalike-in-file"),
        pytest.param(part(b"m\r\n") + END, [b"m\r\n"], id="value-with-line"),
        pytest.param(part(b"m", DISPOSITION + b"name=model") + END, [b"m"], id="unquoted"),
        pytest.param(
            part(b"m", b"content-type: text/plain\r\nCONTENT-DISPOSITION: Form-Data;name=model")
            + END,
            [b"m"],
            id="cases",
        ),
    ],
)
def test_values(body: bytes, values: list[bytes], step: int | None) -> None:
    found, ended = scan(body, step)
    assert [each.value for each in found] == values
    assert [body[each.start : each.end] for each in found] == values
    assert ended


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=6),
    st.integers(min_value=1, max_value=40),
)
def test_any_contents_cut_anywhere(parts: list[tuple[bool, bytes]], step: int) -> None:
    parts = [(wanted, value) for wanted, value in parts if MARK not in b"\r\n" + value]
    body = b"".join(part(value) if wanted else other(value) for wanted, value in parts) + END
    found, ended = scan(body, step)
    assert [each.value for each in found] == [value for wanted, value in parts if wanted]
    assert ended


@pytest.mark.parametrize("cut", range(1, len(other() + part(b"m") + END) - 2))
def test_a_part_of_it_has_not_ended(cut: int) -> None:
    assert not scan((other() + part(b"m") + END)[: -2 - cut])[1]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\r\n" + part(b"m") + END, id="line-before"),
        pytest.param(b"preamble\r\n" + part(b"m") + END, id="preamble"),
        pytest.param(part(b"m").replace(b"\r\n", b"\n"), id="bare-lines"),
        pytest.param(part(b"m") + END + b"x", id="epilogue"),
        pytest.param(part(b"m") + END + part(b"n") + END, id="second-body"),
        pytest.param(part(b"m") + MARK + b" \r\n", id="padding"),
        pytest.param(part(b"m") + MARK + b"1\r\n", id="longer-boundary"),
        pytest.param(other(MARK + b"\r\n" + part(b"m")), id="boundary-right-behind-head"),
        pytest.param(part(b"m", b"") + END, id="no-head"),
        pytest.param(part(b"m", b"content-type: text/plain") + END, id="no-disposition"),
        pytest.param(
            part(b"m", DISPOSITION + b"name=a\r\n" + DISPOSITION + b"name=model"),
            id="two-dispositions",
        ),
        pytest.param(part(b"m", DISPOSITION + b"name=a; name=model"), id="two-names"),
        pytest.param(part(b"m", DISPOSITION + b"name=a; NAME=model"), id="two-names-in-cases"),
        pytest.param(part(b"m", DISPOSITION + b"name=a; name*=utf-8''model"), id="name-star"),
        pytest.param(
            part(b"m", DISPOSITION + b'name="a"; name*0="mo"; name*1=del'), id="name-pieces"
        ),
        pytest.param(part(b"m", DISPOSITION + b"name=<model>"), id="name-in-brackets"),
        pytest.param(part(b"m", DISPOSITION + b"name='model'"), id="name-in-apostrophes"),
        pytest.param(part(b"m", DISPOSITION + b'name="mo\\del"'), id="needless-escape"),
        pytest.param(part(b"m", DISPOSITION + b'name="model\0"'), id="nul-in-name"),
        pytest.param(part(b"m", DISPOSITION + b'name="a'), id="open-quote"),
        pytest.param(part(b"m", DISPOSITION + b"filename=a"), id="no-name"),
        pytest.param(part(b"m", b"Content-Disposition: attachment; name=model"), id="attachment"),
        pytest.param(part(b"m", DISPOSITION + b"\r\n name=model"), id="folded"),
        pytest.param(part(b"m", b"Content-Disposition : form-data; name=model"), id="blank-name"),
        pytest.param(part(b"m", DISPOSITION + b"name=a\nx: y"), id="line-feed-in-head"),
        pytest.param(part(b"m", DISPOSITION + b'name="Model"'), id="another-case"),
        pytest.param(part(b"m", DISPOSITION + b'name=" model"'), id="blank-in-name"),
        pytest.param(
            part(b"bQ==", DISPOSITION + b"name=model\r\nContent-Transfer-Encoding: base64"),
            id="encoded",
        ),
        pytest.param(part(b"m" * (MAX_VALUE_BYTES + 1)) + END, id="long-value"),
        pytest.param(part(b"m" * (9 * MAX_VALUE_BYTES)), id="endless-value"),
        pytest.param(part(b"m", b"x: " + b"y" * MAX_HEAD_BYTES), id="long-head"),
        pytest.param(MARK + b"\r\nx: " + b"y" * 2 * MAX_HEAD_BYTES, id="endless-head"),
        pytest.param(other() * (MAX_PARTS + 1) + END, id="many-parts"),
    ],
)
@pytest.mark.parametrize("step", [1, None], ids=["by-byte", "whole"])
def test_what_two_readers_could_read_in_two_ways_is_refused(body: bytes, step: int | None) -> None:
    with pytest.raises(BadRequest):
        scan(body, step)


def test_nothing_is_held_of_a_file() -> None:
    scanner = PartScanner(b"b0", b"model")
    scanner.feed(other()[:-3])
    for _ in range(100):
        scanner.feed(bytes(64 * 1024))
        assert len(scanner._buffer) < 16


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        pytest.param(b"multipart/form-data; boundary=b0", b"b0", id="plain"),
        pytest.param(b'Multipart/Form-Data;charset=utf-8; Boundary="a b"', b"a b", id="quoted"),
    ],
)
def test_boundaries(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary
    assert boundary_of(content_type_of(boundary)) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"b" * 71,
        b"multipart/form-data; boundary=a; boundary=b",
        b'multipart/form-data; boundary="a"b',
        b'multipart/form-data; boundary="a "',
        b'multipart/form-data; boundary="a\\b"',
        b"multipart/mixed; boundary=b0",
        b"multipart/form-data, x; boundary=b0",
    ],
    ids=repr,
)
def test_boundaries_that_are_none(content_type: bytes) -> None:
    with pytest.raises(BadRequest):
        boundary_of(content_type)
