"""A1-A2, A11-A12, A19-A20, F7: requests that are too large, of another kind, or elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import raw_request
from runestone_testing.raw import BODY, CHUNKED, MODELS, POST, keyed
from runestone_testing.stand import FINE, Stand, standing

if TYPE_CHECKING:
    from pathlib import Path


LIMIT_BYTES = 64 * 1024


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


# --- heads

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
