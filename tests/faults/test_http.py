"""A1-A2, A11-A20, F7: requests that are not plain HTTP, too large, too slow, or somewhere else."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import raw_request
from runestone_testing.stand import FINE, Stand, planted, standing

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.wire import Wire

LIMIT_BYTES = 64 * 1024
KEY = f"Authorization: Bearer {bundles.CLIENT_KEY}\r\n"
BODY = json.dumps(planted()).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


def keyed(head: bytes, body: bytes = b"") -> bytes:
    return head + KEY.encode() + b"\r\n" + body


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


# --- bodies

SIZES = [
    pytest.param(LIMIT_BYTES + 1, 413, id="A1-limit+1"),
    pytest.param(LIMIT_BYTES, 200, id="A1-limit"),
    pytest.param(10**18, 413, id="A1-exabyte"),
]


@pytest.mark.parametrize(("size", "status"), SIZES)
async def test_a_body_over_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, size: int, status: int
) -> None:
    async with standing(tmp_path, max_body_bytes=LIMIT_BYTES) as stand:
        wire = await stand.connect()
        wire.send(keyed(POST + b"Content-Length: %d\r\n" % size))
        if status == 413:  # without one byte of it
            stand.refused(await wire.answer(), 413, "request_too_large")
        else:
            wire.send(BODY + b" " * (size - len(BODY)))
            assert (await wire.answer()).status == 200


async def test_A2_a_chunked_body_is_cut_at_the_limit_in_little_memory(tmp_path: Path) -> None:
    async with standing(tmp_path, max_body_bytes=8 * LIMIT_BYTES) as stand:
        wire = await stand.connect()
        piece = scripts.chunk(b" " * 8192)
        tracemalloc.start()
        try:
            wire.send(keyed(POST + CHUNKED))
            for _ in range(100):
                wire.send(piece)
                await asyncio.sleep(0)
            stand.refused(await wire.answer(), 413, "request_too_large")
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < (2 * 8 + 16) * LIMIT_BYTES  # and 800 KB that this client has to send
        wire.send(scripts.LAST_CHUNK)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="A11-none"),
        pytest.param({"content-type": "text/plain"}, id="A11-text"),
        pytest.param({"content-type": "multipart/form-data; boundary=x"}, id="A11-multipart"),
        pytest.param({"content-type": "application/json; charset=utf-16"}, id="A11-utf-16"),
        pytest.param({"content-type": "application/x-www-form-urlencoded"}, id="A11-form"),
        pytest.param({"content-type": "application/jsonx"}, id="A11-almost"),
    ],
)
async def test_a_body_of_another_kind_is_refused(stand: Stand, headers: dict[str, str]) -> None:
    answer = await stand.client.post("/chat/completions", content=BODY, headers=headers)
    stand.refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "coding",
    [pytest.param(name, id=f"A12-{name}") for name in ("gzip", "br", "deflate", "zstd", "x, gzip")],
)
async def test_a_compressed_body_is_refused_unread(stand: Stand, coding: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000)  # a thousandth of that
    headers = {"content-type": "application/json", "content-encoding": coding}
    answer = await stand.client.post("/chat/completions", content=bomb, headers=headers)
    stand.refused(answer, 415, "unsupported_media_type")


# --- time


SLOW_HEADS = [
    pytest.param(b"", b"", id="A13-before-the-first-byte"),
    pytest.param(b"\r\n", b"\r\n", id="A13-blank-lines"),
    pytest.param(b"G", b"", id="A13-in-the-method"),
    pytest.param(MODELS[:9], b"x", id="A13-in-the-url"),
    pytest.param(MODELS, b"x: y\r\n", id="A13-in-the-headers"),
]


@pytest.mark.parametrize(("start", "piece"), SLOW_HEADS)
async def test_a_head_that_drips_is_cut_at_the_deadline(
    tmp_path: Path, start: bytes, piece: bytes
) -> None:
    async with standing(tmp_path, header_timeout_s=0.2, idle_timeout_s=0.2) as stand:
        wire = await stand.connect()
        began_s = asyncio.get_running_loop().time()
        wire.send(start)
        ending = asyncio.create_task(wire.closed())
        while not ending.done():  # a byte now and then resets nothing
            wire.send(piece)
            await asyncio.wait([ending], timeout=0.02)
        assert asyncio.get_running_loop().time() - began_s < 1
        said = await ending
        if start.strip():
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request_timeout"' in said
        else:
            assert said == b""


async def test_A13_200_slow_heads_hold_up_nobody_and_end(tmp_path: Path) -> None:
    async with standing(tmp_path, header_timeout_s=0.5) as stand:
        wires = [await stand.connect() for _ in range(200)]
        for wire in wires:
            wire.send(MODELS)
        assert (await stand.chat()).status_code == 200
        for wire in wires:
            stand.refused(await wire.answer(), 408, "request_timeout")


SLOW_BODIES = [
    pytest.param(b"Content-Length: 100000\r\n", b"x", id="A14-sized"),
    pytest.param(CHUNKED, b"1\r\nx\r\n", id="A14-chunked"),
    pytest.param(b"Content-Length: 100000\r\n", b"", id="A14-silent"),
]


@pytest.mark.parametrize(("framing", "piece"), SLOW_BODIES)
async def test_a_body_that_drips_is_cut_at_the_deadline(
    tmp_path: Path, framing: bytes, piece: bytes
) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(keyed(POST + framing))
        answering = asyncio.create_task(wire.answer())
        while not answering.done():
            wire.send(piece)
            await asyncio.wait([answering], timeout=0.02)
        stand.refused(await answering, 408, "request_timeout")
        await wire.closed()
        assert [line["status"] for line in stand.lines()] == [408]


async def test_A14_a_body_that_comes_steadily_may_take_its_time(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        whole = BODY + b" " * 16 * 1024
        wire.send(keyed(POST + b"Content-Length: %d\r\n" % len(whole)))
        for at in range(0, len(whole), 512):  # 0.8 s, for what may take 1.2
            wire.send(whole[at : at + 512])
            await asyncio.sleep(0.025)
        assert (await wire.answer()).status == 200


async def test_A14_a_body_that_nobody_wants_any_more_drips_no_longer(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(POST + b"Content-Length: 100000\r\n\r\n")
        stand.refused(await wire.answer(), 401)
        closing = asyncio.create_task(wire.closed())
        while not closing.done():
            wire.send(b"x")
            await asyncio.wait([closing], timeout=0.02)
        assert await closing == b""


async def test_A16_a_client_that_asks_to_continue_and_falls_silent_is_cut(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(keyed(POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n"))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        stand.refused(await wire.answer(), 408, "request_timeout")
        assert await wire.closed() == b""


async def test_A16_a_refusal_needs_no_body_to_continue(stand: Stand) -> None:
    wire = await stand.connect()
    wire.send(POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")


# --- framing


def chat(*lines: bytes, body: bytes = b"", start: bytes = POST) -> bytes:
    return keyed(start + b"".join(line + b"\r\n" for line in lines), body)


WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SIZED = b"Content-Length: %d" % len(BODY)
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
    wire.send(POST + CHUNKED + b"\r\n" + WHOLE[:-2] + KEY.encode() + b"\r\n")
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


SIZED_HEADS = [
    pytest.param(b"GET /" + b"x" * 100_000, 414, "url_too_long", id="A19-100-kB-url"),
    pytest.param(b"GET /" + b"x" * 8192 + MODELS[5:], 414, "url_too_long", id="A19-8-KiB-url"),
    pytest.param(MODELS + b"X: y\r\n" * 10_000, 431, "headers_too_large", id="A19-10k-headers"),
    pytest.param(MODELS + b"X: y\r\n" * 100, 431, "headers_too_large", id="A19-101-headers"),
    pytest.param(
        MODELS + b"X: " + b"y" * 1_000_000, 431, "headers_too_large", id="A19-1-MB-header"
    ),
    pytest.param(MODELS + b"X: " + b"y" * 65_536, 431, "headers_too_large", id="A19-64-KiB-header"),
    pytest.param(MODELS + b"x" * 1_000_000, 431, "headers_too_large", id="A19-1-MB-name"),
]


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at-once", "in-pieces"])
@pytest.mark.parametrize(("head", "status", "code"), SIZED_HEADS)
async def test_a_head_is_bounded(
    stand: Stand, head: bytes, status: int, code: str, in_pieces: bool
) -> None:
    wire = await stand.connect()
    data = head + b"\r\n\r\n"
    for at in range(0, len(data), 7000 if in_pieces else len(data)):
        wire.send(data[at : at + (7000 if in_pieces else len(data))])
        await asyncio.sleep(0)
    stand.refused(await wire.answer(), status, code)


async def test_A19_a_head_within_bounds_is_fine(stand: Stand) -> None:
    wire = await stand.connect()
    many = b"".join(b"X-%d: %b\r\n" % (n, b"y" * 580) for n in range(95))
    for _ in range(2):
        wire.send(keyed(MODELS.replace(b"/models", b"/models?" + b"x" * 8000) + many))
        assert (await wire.answer()).status == 200


PATHS = [
    pytest.param(b"GET /v1/../metrics", 404, id="A20-dots"),
    pytest.param(b"GET /v1/%2e%2e/metrics", 404, id="A20-encoded-dots"),
    pytest.param(b"GET /v1/%252e%252e/metrics", 404, id="A20-twice-encoded-dots"),
    pytest.param(b"GET /v1/..%2fmetrics", 404, id="A20-encoded-slash"),
    pytest.param(b"GET /metrics", 404, id="A20-metrics"),
    pytest.param(b"GET /health/config", 404, id="A20-health-config"),
    pytest.param(b"GET /health/providers", 404, id="A20-health-providers"),
    pytest.param(b"GET //v1/models", 404, id="A20-double-slash"),
    pytest.param(b"GET //metrics", 404, id="A20-double-slash-metrics"),
    pytest.param(b"POST /v1/chat/completions/", 404, id="A20-trailing-slash"),
    pytest.param(b"GET /V1/MODELS", 404, id="A20-case"),
    pytest.param(b"GET /v1/models%00", 404, id="A20-nul"),
    pytest.param(b"GET /v1/models;x=y", 404, id="A20-parameter"),
    pytest.param(b"GET /v1\\models", 404, id="A20-backslash"),
    pytest.param(b"GET /%ff%fe", 404, id="A20-not-utf-8"),
    pytest.param(b"GET http://x/v1/models", 400, id="A20-absolute-form"),
    pytest.param(b"GET http://x:4004/metrics", 400, id="A20-absolute-form-elsewhere"),
    pytest.param(b"GET /v1/models#metrics", 400, id="A20-fragment"),
    pytest.param(b"CONNECT example.com:443", 400, id="A20-connect"),
    pytest.param(b"OPTIONS *", 400, id="A20-asterisk"),
    pytest.param(b"GET metrics", 400, id="A20-no-slash"),
]


@pytest.mark.parametrize(("line", "status"), PATHS)
async def test_a_path_leads_where_it_says_or_nowhere(
    stand: Stand, line: bytes, status: int
) -> None:
    wire = await stand.connect()
    wire.send(keyed(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"))
    stand.refused(await wire.answer(), status, "unknown_url" if status == 404 else None)


# --- sent ahead


async def test_F7_requests_sent_ahead_are_answered_in_their_order(stand: Stand) -> None:
    stand.provider.answer = lambda asked: scripts.json_reply(completion(asked.json()["user"]))
    wire = await stand.connect()
    wire.send(b"".join(raw_request(user=f"number {n}") for n in range(50)))
    for n in range(50):
        assert f"number {n}".encode() in (await wire.answer()).body


async def test_F7_what_is_sent_ahead_is_bounded(stand: Stand) -> None:
    go = asyncio.Event()
    stand.provider.answer = [scripts.until(go), FINE]
    wire = await stand.connect()
    wire.send(raw_request() * 300)
    await stand.provider.requested()
    for _ in range(20):
        await asyncio.sleep(0)
    go.set()
    assert (await wire.answer()).status == 200
    assert await wire.closed() == b""
    assert len(stand.provider.requests) == 1


async def test_F7_a_slow_answer_is_no_slow_request(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with standing(tmp_path, header_timeout_s=0.1, body_timeout_s=0.1) as stand:
        stand.provider.answer = [scripts.until(go), FINE]
        wire = await stand.connect()
        whole = raw_request()
        wire.send(whole + whole[:10])
        await stand.provider.requested()
        await asyncio.sleep(0.3)
        go.set()
        assert (await wire.answer()).status == 200
        wire.send(whole[10:])
        assert (await wire.answer()).status == 200


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
