"""A17-A18, P18: requests that are not plain HTTP/1.1, or that could be read in two ways."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from runestone_testing.echo import chunk as delta
from runestone_testing.gateway import question
from runestone_testing.provider import sse_reply
from runestone_testing.raw import BODY, CHUNKED, KEY, MODELS, POST, SIZED, WHOLE, chat, keyed

if TYPE_CHECKING:
    from runestone_testing.stand import Stand
    from runestone_testing.wire import Wire


async def refusal_of(stand: Stand, data: bytes, status: int, code: str | None = None) -> Wire:
    """Sent on a connection of its own: it is refused so, and the connection ends."""
    wire = await stand.connect()
    wire.send(data)
    answer = await wire.answer()
    stand.refused(answer, status, code)
    assert answer.headers["connection"] == "close"
    assert await wire.closed() == b""
    assert stand.provider.requests == []
    return wire


SMUGGLED = [
    pytest.param(chat(CHUNKED[:-2], SIZED, body=WHOLE), id="A17-te-and-cl"),
    pytest.param(chat(SIZED, CHUNKED[:-2], body=WHOLE), id="A17-cl-and-te"),
    pytest.param(chat(SIZED, SIZED, body=BODY), id="A17-two-equal-cls"),
    pytest.param(chat(SIZED, b"Content-Length: 1", body=BODY), id="A17-two-cls"),
    pytest.param(chat(SIZED + b", 3", body=BODY), id="A17-cl-list"),
    pytest.param(chat(b"Content-Length: +3", body=BODY), id="A17-cl-plus"),
    pytest.param(chat(b"Content-Length: -3", body=BODY), id="A17-cl-minus"),
    pytest.param(chat(b"Content-Length: 0x3", body=BODY), id="A17-cl-hex"),
    pytest.param(chat(b"Content-Length: 9" + b"9" * 30, body=BODY), id="A17-cl-overflow"),
    pytest.param(chat(b"Transfer-Encoding: chunked, identity", body=WHOLE), id="A17-te-identity"),
    pytest.param(chat(b"Transfer-Encoding: identity", body=BODY), id="A17-te-only-identity"),
    pytest.param(chat(b"Transfer-Encoding: gzip, chunked", body=WHOLE), id="A17-te-gzip"),
    pytest.param(chat(b"Transfer-Encoding: xchunked", body=WHOLE), id="A17-te-xchunked"),
    pytest.param(chat(b"Transfer-Encoding: \x0bchunked", body=WHOLE), id="A17-te-control"),
    pytest.param(chat(CHUNKED[:-2], CHUNKED[:-2], body=WHOLE), id="A17-te-twice"),
    pytest.param(chat(b"Transfer-Encoding : chunked", body=WHOLE), id="A17-te-space"),
    pytest.param(
        chat(CHUNKED[:-2], body=WHOLE, start=POST.replace(b"1.1", b"1.0")), id="A17-te-in-1.0"
    ),
    pytest.param(POST.replace(b"\r\n", b"\n") + b"\n", id="A17-bare-lf"),
    pytest.param(POST + b"X: y\nZ: z\r\n\r\n", id="A17-bare-lf-in-headers"),
    pytest.param(POST + b"X: y\rZ: z\r\n\r\n", id="A17-bare-cr"),
    pytest.param(chat(b"X: a\x00b"), id="A17-nul-in-value"),
    pytest.param(chat(b"X\x00: b"), id="A17-nul-in-name"),
    pytest.param(chat(b"X: a", b" folded"), id="A17-obs-fold"),
    pytest.param(chat(b"X: a", b"\tfolded"), id="A17-obs-fold-tab"),
    pytest.param(chat(b"X : a"), id="A17-space-before-colon"),
    pytest.param(chat(b": a"), id="A17-empty-name"),
    pytest.param(chat(b"no colon"), id="A17-no-colon"),
    pytest.param(b"POST /v1/models HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n", id="A17-space-first"),
    pytest.param(b"GET /v1/models\r\nHost: x\r\n\r\n", id="A17-no-version"),
    pytest.param(b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n", id="A17-http-2"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="A17-http-2-preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="A17-tls-hello"),
    pytest.param(b"DESCRIBE /v1/models RTSP/1.0\r\nHost: x\r\n\r\n", id="A17-rtsp"),
]


@pytest.mark.parametrize("data", SMUGGLED)
async def test_what_could_be_read_in_two_ways_is_refused(stand: Stand, data: bytes) -> None:
    await refusal_of(stand, data + MODELS + b"\r\n", 400)


BROKEN_CHUNKS = [
    pytest.param(b"not a size\r\n", id="A17-chunk-no-size"),
    pytest.param(b"-1\r\nx\r\n", id="A17-chunk-minus"),
    pytest.param(b"0x1\r\nx\r\n", id="A17-chunk-0x"),
    pytest.param(b"f" * 17 + b"\r\n", id="A17-chunk-overflow"),
    pytest.param(b"1\nx\r\n", id="A17-chunk-lf"),
    pytest.param(b"1\r\nxy\r\n", id="A17-chunk-longer"),
    pytest.param(b"1;a\nb\r\nx\r\n", id="A17-chunk-extension-lf"),
    pytest.param(b"1 \r\nx\r\n", id="A17-chunk-space"),
]


@pytest.mark.parametrize("data", BROKEN_CHUNKS)
async def test_a_broken_chunk_is_refused(stand: Stand, data: bytes) -> None:
    await refusal_of(stand, chat(CHUNKED[:-2], body=data), 400)
    assert [line["status"] for line in stand.lines()] == [400]


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"1;" + b"x" * 200_000 + b"\r\n", id="A17-chunk-extension"),
        pytest.param(b"0\r\nX: " + b"x" * 200_000, id="A17-trailer"),
    ],
)
async def test_what_comes_beside_a_body_is_bounded(stand: Stand, noise: bytes) -> None:
    wire = await stand.connect()
    wire.send(chat(CHUNKED[:-2]))
    for _ in range(20):
        wire.send(noise[:60_000])
        noise = noise[60_000:] or b"x" * 60_000
        await asyncio.sleep(0)
    stand.refused(await wire.answer(), 400)


async def test_A17_a_trailer_is_no_header(stand: Stand) -> None:
    wire = await stand.connect()
    wire.send(POST + CHUNKED + b"\r\n" + WHOLE[:-2] + KEY + b"\r\n")
    stand.refused(await wire.answer(), 401)


async def test_A17_chunks_with_extensions_and_trailers_are_fine(stand: Stand) -> None:
    wire = await stand.connect()
    body = b"%x;a=b\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(BODY), BODY)
    for _ in range(2):
        wire.send(chat(CHUNKED[:-2], body=body))
        assert (await wire.answer()).status == 200


HOSTS = [
    pytest.param(b"", 400, id="A18-none"),
    pytest.param(b"Host: a\r\nHost: a\r\n", 400, id="A18-two"),
    pytest.param(b"Host: a\r\nhOST: b\r\n", 400, id="A18-two-cases"),
    pytest.param(b"Host: a b\r\n", 400, id="A18-space"),
    pytest.param(b"Host: a/b\r\n", 400, id="A18-slash"),
    pytest.param(b"Host: u@a\r\n", 400, id="A18-user"),
    pytest.param(b"Host: a:b\r\n", 400, id="A18-port"),
    pytest.param(b"Host: a, b\r\n", 400, id="A18-list"),
    pytest.param(b"Host: [::1\r\n", 400, id="A18-bracket"),
    pytest.param(b"Host: \xc3\xa9\r\n", 400, id="A18-not-ascii"),
    pytest.param(b"Host: localhost:4003\r\n", 200, id="A18-with-port"),
    pytest.param(b"Host: [::1]:4003\r\n", 200, id="A18-ipv6"),
    pytest.param(b"Host:\r\n", 200, id="A18-empty"),
    pytest.param(b"hoSt:\texample.com\r\n", 200, id="A18-odd-but-valid"),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_there_is_one_host_and_it_is_valid(stand: Stand, host: bytes, status: int) -> None:
    data = keyed(b"GET /v1/models HTTP/1.1\r\n" + host)
    if status == 400:
        await refusal_of(stand, data, 400)
        return
    wire = await stand.connect()
    wire.send(data)
    assert (await wire.answer()).status == status


async def test_A18_http_1_0_needs_no_host(stand: Stand) -> None:
    wire = await stand.connect()
    wire.send(keyed(b"GET /v1/models HTTP/1.0\r\n"))
    assert (await wire.answer()).status == 200
    assert await wire.closed() == b""


async def test_A18_http_1_0_knows_no_chunks(stand: Stand) -> None:
    stand.provider.answer = sse_reply([delta("one"), delta("two"), delta(None), "[DONE]"])
    body = json.dumps(question(stream=True)).encode()
    wire = await stand.connect()
    wire.send(
        keyed(
            b"POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n" % len(body)
        )
        + body
    )
    answer = await wire.closed()
    head, _, events = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


# --- conformance


WAITS = [
    b"G",
    b"GET ",
    b"GET /hello",
    b"GET /hello ",
    b"GET /hello HTTP",
    b"GET /hello HTTP/1.1",
    b"GET /hello HTTP/1.1\r",
    b"GET /hello HTTP/1.1\r\n",
    b"GET /hello HTTP/1.1\r\nHos",
    b"GET /hello HTTP/1.1\r\nHost:",
    b"GET /hello HTTP/1.1\r\nHost: ",
    b"GET /hello HTTP/1.1\r\nHost: localhost",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
]
HOST = b"Host: example.com\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n"
ANSWERED = [
    pytest.param(b"GET /health/live \r\n\r\n", 400, id="P18-no-version"),
    pytest.param(LIVE + HOST + b"Expect: 100-continue\r\n\r\n", 200, id="P18-expect"),
    pytest.param(LIVE + HOST + b"\r\n", 200, id="P18-valid"),
    pytest.param(LIVE + b"hoSt:\texample.com\r\nempty:\r\n\r\n", 200, id="P18-valid-edge-cases"),
    pytest.param(LIVE + HOST + b"X-Invalid[]: test\r\n\r\n", 400, id="P18-invalid-header-name"),
    pytest.param(LIVE + b"Content-Length: 5\r\n\r\n", 400, id="P18-no-host"),
    pytest.param(LIVE + HOST + b"Host: example.org\r\n\r\n", 400, id="P18-two-hosts"),
    pytest.param(
        LIVE + HOST + b"Content-Length: -123456789123456789123456789\r\n\r\n",
        400,
        id="P18-overflowing-length",
    ),
    pytest.param(LIVE + HOST + b"Content-Length: -1234\r\n\r\n", 400, id="P18-negative-length"),
    pytest.param(LIVE + HOST + b"Content-Length: abc\r\n\r\n", 400, id="P18-length-no-number"),
    pytest.param(LIVE + HOST + b"X-Empty-Header: \r\n\r\n", 200, id="P18-empty-value"),
    pytest.param(LIVE + HOST + b"X-Bad: test\x07\r\n\r\n", 400, id="P18-control-character"),
    pytest.param(LIVE.replace(b"1.1", b"9.9") + HOST + b"\r\n", 400, id="P18-http-9.9"),
    pytest.param(b"Extra line" + LIVE + HOST + b"\r\n", 400, id="P18-invalid-prefix"),
    pytest.param(LIVE + HOST + b"\rSome-Header: Test\r\n\r\n", 400, id="P18-invalid-line-ending"),
    pytest.param(
        b"POST /hello HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 404, id="P18-post"
    ),
    pytest.param(LIVE + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n", 400, id="P18-te-and-length"),
]


@pytest.mark.parametrize(
    "data", [pytest.param(data, id=f"P18-waits-{n}") for n, data in enumerate(WAITS)]
)
async def test_a_part_of_a_request_is_waited_for(stand: Stand, data: bytes) -> None:
    wire = await stand.connect()
    wire.send(data)
    later = await stand.connect()
    later.send(LIVE + HOST + b"\r\n")
    assert (await later.answer()).status == 200
    assert not wire.reader.at_eof()
    wire.send(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"[len(data) :])
    assert (await wire.answer()).status == 404


@pytest.mark.parametrize(("data", "status"), ANSWERED)
async def test_a_request_is_answered_as_http_says(stand: Stand, data: bytes, status: int) -> None:
    wire = await stand.connect()
    wire.send(data)
    assert (await wire.answer()).status == status
    if status == 400:
        assert await wire.closed() == b""
