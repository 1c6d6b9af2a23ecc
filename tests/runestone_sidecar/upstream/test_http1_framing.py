"""What is a response, where it ends, and whether its connection may serve again.

Bytes are fed to a Connection by hand here, so that every cut can be tried.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import (
    BadResponse,
    HeadTooLarge,
    LostBeforeHead,
    LostMidBody,
    Phase,
    UpstreamFault,
)
from runestone_sidecar.upstream.heads import MAX_HEAD_BYTES, MAX_HEADERS
from runestone_sidecar.upstream.http1 import Connection
from runestone_testing.upstream import LIMIT_BYTES, PATIENT

if TYPE_CHECKING:
    from runestone_sidecar.upstream.response import Response

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world"
CHUNKED = (
    OK + b"Transfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;name=value\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n"
)
UNTIL_CLOSE = OK + b"Content-Type: text/plain\r\n\r\nhello world"


class Wire(asyncio.Transport):
    """The socket's side of a connection: keeps what is written, and is closed when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Shelf:
    """Owns a connection as a pool does."""

    def __init__(self) -> None:
        self.released = 0
        self.discarded = 0

    def release(self, connection: Connection) -> None:
        self.released += 1

    def discard(self, connection: Connection) -> None:
        self.discarded += 1

    def gone(self, connection: Connection) -> None:
        pass


def begin(*, bodiless: bool = False) -> tuple[Connection, Response, Shelf]:
    connection, shelf = Connection(), Shelf()
    connection.connection_made(Wire())
    connection.adopt(shelf)
    return connection, ask(connection, bodiless=bodiless), shelf


def ask(connection: Connection, *, bodiless: bool = False) -> Response:
    now = asyncio.get_running_loop().time()
    return connection.start(
        b"POST / HTTP/1.1\r\n\r\n", b"", deadlines=PATIENT, started_at=now, bodiless=bodiless
    )


async def fault_of(response: Response) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await response.opened()
        await response.read(LIMIT_BYTES)
    return caught.value


async def test_sized_response_cut_anywhere() -> None:
    for at in range(1, len(SIZED)):
        connection, response, shelf = begin()
        connection.data_received(SIZED[:at])
        assert not response.complete
        connection.data_received(SIZED[at:])
        assert await response.read(LIMIT_BYTES) == b"hello world"
        assert (response.status, shelf.released) == (200, 1)
        assert response.headers == [(b"content-type", b"text/plain"), (b"content-length", b"11")]
        connection.close()


async def test_chunked_response_cut_anywhere() -> None:
    for at in range(1, len(CHUNKED)):
        connection, response, shelf = begin()
        connection.data_received(CHUNKED[:at])
        assert not response.complete
        connection.data_received(CHUNKED[at:])
        assert await response.read(LIMIT_BYTES) == b"hello world"
        assert response.headers == [(b"transfer-encoding", b"chunked")]  # and no trailer
        assert shelf.released == 1
        connection.close()


async def test_close_delimited_response_cut_anywhere() -> None:
    for at in range(1, len(UNTIL_CLOSE)):
        connection, response, shelf = begin()
        connection.data_received(UNTIL_CLOSE[:at])
        connection.data_received(UNTIL_CLOSE[at:])
        assert not response.complete
        connection.eof_received()
        assert await response.read(LIMIT_BYTES) == b"hello world"
        assert (shelf.released, shelf.discarded) == (0, 1)


@pytest.mark.parametrize("whole", [SIZED, CHUNKED], ids=["sized", "chunked"])
async def test_no_prefix_of_a_response_is_a_response(whole: bytes) -> None:
    for at in range(len(whole)):
        connection, response, shelf = begin()
        if at:
            connection.data_received(whole[:at])
        connection.eof_received()
        fault = await fault_of(response)
        lost = LostMidBody if b"\r\n\r\n" in whole[:at] else LostBeforeHead
        assert type(fault) is lost, at
        assert fault.sent
        assert (shelf.released, shelf.discarded) == (0, 1)


async def test_one_byte_at_a_time() -> None:
    connection, response, _ = begin()
    for byte in CHUNKED:
        connection.data_received(bytes([byte]))
    assert await response.read(LIMIT_BYTES) == b"hello world"
    connection.close()


@pytest.mark.parametrize(
    ("raw", "body", "reused"),
    [
        pytest.param(OK + b"content-length: 2\r\n\r\nhi", b"hi", True, id="keep-alive"),
        pytest.param(OK + b"content-length: 0\r\n\r\n", b"", True, id="empty"),
        pytest.param(
            OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", b"hi", False, id="close"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", False, id="http-1.0"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
            b"hi",
            True,
            id="http-1.0-keep-alive",
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, id="204"),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b"", True, id="304-sized"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, b"hello world", True, id="100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + SIZED,
            b"hello world",
            True,
            id="103-thrice",
        ),
        pytest.param(SIZED + SIZED, b"hello world", False, id="a-second-response"),
        pytest.param(SIZED + b"\0", b"hello world", False, id="garbage-after-it"),
        pytest.param(SIZED + b"H", b"hello world", False, id="a-byte-after-it"),
    ],
)
async def test_body_and_reuse(raw: bytes, body: bytes, reused: bool) -> None:
    connection, response, shelf = begin()
    connection.data_received(raw)
    await response.opened()
    assert await response.read(LIMIT_BYTES) == body
    assert await response.next() == b""
    assert (shelf.released, shelf.discarded) == ((1, 0) if reused else (0, 1))
    assert response.header(b"link") is None  # an interim response leaves nothing
    if reused:
        again = ask(connection)
        connection.data_received(SIZED)
        assert await again.read(LIMIT_BYTES) == b"hello world"
    connection.close()


async def test_switch_of_protocols_is_named() -> None:
    connection, response, _ = begin()
    connection.data_received(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
    assert (await fault_of(response)).detail == "status 101"


async def test_trailers_change_nothing() -> None:
    connection, response, shelf = begin()
    connection.data_received(
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
        b"Transfer-Encoding: gzip\r\nConnection: x\r\n\r\n"
    )
    assert await response.read(LIMIT_BYTES) == b"hi"
    assert response.headers == [(b"transfer-encoding", b"chunked")]
    assert shelf.released + shelf.discarded == 1
    connection.close()


async def test_answer_to_head_has_no_body_whatever_it_says() -> None:
    connection, response, _ = begin(bodiless=True)
    connection.data_received(OK + b"content-length: 500\r\n\r\n")
    await response.opened()
    assert await response.read(0) == b""
    connection.close()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="ssh"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x28", id="tls-alert"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="two-digit-status"),
        pytest.param(b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", id="status-below-100"),
        pytest.param(b"HTTP/3.1 200 OK\r\n\r\n", id="version"),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", id="101"
        ),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", id="101-bare"),
        pytest.param(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", id="cl-te"),
        pytest.param(OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n", id="te-cl"),
        pytest.param(OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n", id="two-lengths"),
        pytest.param(OK + b"content-length: 2, 2\r\n\r\n", id="list-of-lengths"),
        pytest.param(OK + b"content-length: -2\r\n\r\n", id="negative-length"),
        pytest.param(OK + b"content-length: 0x2\r\n\r\n", id="hex-length"),
        pytest.param(OK + b"content-length: 18446744073709551617\r\n\r\n", id="length-overflow"),
        pytest.param(OK + b"transfer-encoding: gzip, chunked\r\n\r\n", id="gzip-chunked"),
        pytest.param(OK + b"transfer-encoding: chunked, identity\r\n\r\n", id="chunked-identity"),
        pytest.param(OK + b"transfer-encoding: xchunked\r\n\r\n", id="xchunked"),
        pytest.param(
            OK + b"transfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="chunked-twice",
        ),
        pytest.param(OK + b"a: b\0c\r\n\r\n", id="nul-in-value"),
        pytest.param(OK + b"a: b\rc\r\n\r\n", id="bare-cr"),
        pytest.param(OK + b"a: b\nc: d\r\n\r\n", id="bare-lf"),
        pytest.param(OK + b"a: b\r\n c\r\n\r\n", id="folded-value"),
        pytest.param(OK + b"a b: c\r\n\r\n", id="blank-in-name"),
        pytest.param(OK + b"a : c\r\n\r\n", id="blank-before-colon"),
        pytest.param(OK + b": c\r\n\r\n", id="no-name"),
    ],
)
async def test_malformed_head_is_refused(raw: bytes) -> None:
    connection, response, shelf = begin()
    connection.data_received(raw)
    fault = await fault_of(response)
    assert type(fault) is BadResponse
    assert fault.phase is Phase.HEAD
    assert (shelf.released, shelf.discarded) == (0, 1)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"zz\r\n", id="no-size"),
        pytest.param(b"-1\r\n", id="negative"),
        pytest.param(b"ffffffffffffffffff\r\n", id="overflow"),
        pytest.param(b"2\r\nhi!\r\n", id="longer-than-said"),
        pytest.param(b"2\nhi\n", id="bare-lf"),
    ],
)
async def test_malformed_chunk_ends_the_body_with_a_fault(raw: bytes) -> None:
    connection, response, shelf = begin()
    connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + raw)
    await response.opened()
    assert (await response.next()).startswith(b"abc")  # what was good is not taken back
    fault = await fault_of(response)
    assert type(fault) is BadResponse
    assert fault.phase is Phase.BODY
    assert shelf.discarded == 1


HUGE = b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([OK + HUGE + b"\r\n"], id="one-value-at-once"),
        pytest.param([OK + b"x: ", *[b"y" * 1000] * 70], id="one-value-in-pieces"),
        pytest.param([OK + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n"], id="too-many"),
        pytest.param([OK, *[b"a%d: b\r\n" % i for i in range(20_000)]], id="without-end"),
        pytest.param([b"HTTP/1.1 200 " + b"y" * MAX_HEAD_BYTES], id="reason"),
        pytest.param([b"HTTP/1.1 103 Early\r\n\r\n"] * 4000, id="interim-without-end"),
    ],
)
async def test_head_is_bounded(pieces: list[bytes]) -> None:
    connection, response, shelf = begin()
    for piece in pieces:
        connection.data_received(piece)
    fault = await fault_of(response)
    assert type(fault) is HeadTooLarge
    assert shelf.discarded == 1


async def test_largest_head_passes_with_a_body_behind_it() -> None:
    connection, response, _ = begin()
    body = b"z" * 2 * MAX_HEAD_BYTES
    head = OK + b"x: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\ncontent-length: %d\r\n\r\n"
    connection.data_received(head % len(body) + body)
    assert await response.read(LIMIT_BYTES) == body
    connection.close()


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"0\r\n" + b"x: y\r\n" * 200, id="trailers"),
        pytest.param(b"0\r\nx: " + b"y" * 1000, id="one-trailer"),
        pytest.param(b"5;" + b"e" * 1000, id="extension"),
    ],
)
async def test_framing_without_body_is_bounded(endless: bytes) -> None:
    connection, response, _ = begin()
    connection.data_received(OK + b"transfer-encoding: chunked\r\n\r\n" + endless)
    for _ in range(200):
        connection.data_received(endless[-1000:])
    await response.opened()
    assert type(await fault_of(response)) is BadResponse


async def test_unasked_bytes_on_an_idle_connection_end_it() -> None:
    connection, response, shelf = begin()
    connection.data_received(SIZED)
    assert response.complete
    connection.data_received(SIZED)
    assert connection.closed
    assert (shelf.released, shelf.discarded) == (1, 1)
