"""What of a request and of its answer goes on, and what ends here."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from runestone_sidecar.edge.passthrough import MAX_QUERY_BYTES
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.front import (
    FORM,
    IMAGES,
    MODERATION,
    Front,
    form,
    front,
    refused,
)
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 2**20


@pytest_asyncio.fixture
async def both(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path) as found:
        yield found


# --- URLs and headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/moderations", 405, id="get-of-a-post"),
        pytest.param("DELETE", "/files", 405, id="delete-of-a-list"),
        pytest.param("GET", "/audio", 404, id="no-such"),
        pytest.param("POST", "/images/other", 404, id="no-such-below"),
        pytest.param("GET", "/files/a/b", 404, id="too-deep"),
        pytest.param("GET", "/files/a%2Fcontent", 200, id="slash-is-a-slash"),
        pytest.param("GET", "/files/..%2Fmodels", 404, id="A20-dots"),
        pytest.param("GET", "/files/%2e%2e", 404, id="A20-encoded-dots"),
        pytest.param("GET", "/files/a%0d%0ax", 404, id="G10-line"),
        pytest.param("GET", "/files/%C3%A9", 404, id="not-ascii"),
        pytest.param("GET", "/fine_tuning/jobs/" + "a/" * 9, 404, id="deep"),
        pytest.param("GET", "/files?" + "a" * (MAX_QUERY_BYTES + 1), 400, id="long-query"),
    ],
)
async def test_urls(both: Front, method: str, path: str, status: int) -> None:
    answer = await both.client.request(method, path)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert both.requests == []


async def test_query_goes_on_as_it_came(both: Front) -> None:
    query = b"after=a%20b&x=%00%0d%0a&y=%C3%A9+%2e%2e/&&z"
    wire = await Wire.connect(both.gateway.port)
    wire.send(
        b"GET /v1/files?%b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n"
        % (query, bundles.CLIENT_KEY.encode())
    )
    assert (await wire.answer()).status == 200
    assert both.requests[0].target.encode() == b"/v1/files?" + query
    await wire.close()


@pytest.mark.parametrize("path", ["/files", "/moderations"])
async def test_G9_headers_of_the_client_end_here(both: Front, path: str) -> None:
    headers = {
        "x-forwarded-for": "10.0.0.1",
        "openai-organization": "org-client",
        "cookie": "a=b",
        "connection": "keep-alive, x-internal",
        "x-internal": "1",
        "te": "trailers",
        "accept": "application/json",
        "user-agent": "curl/8",
        "x-request-id": "mine",
        "idempotency-key": "k",
    }
    body = form(("purpose", b"batch"), ("file", b"x"))
    if path == "/files":
        await both.client.post(path, content=body, headers={**FORM, **headers})
    else:
        await both.client.post(path, json={"input": "x"}, headers=headers)
    (request,) = both.requests
    assert {name.lower(): value for name, value in request.headers} == {
        "host": f"127.0.0.1:{both.first.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "runestone",
        "content-type": FORM["content-type"] if path == "/files" else "application/json",
        "authorization": f"Bearer {bundles.PROVIDER_KEY}",
        "content-length": str(len(request.body)),
    }


async def test_G11_headers_of_the_provider_end_here(both: Front) -> None:
    both.first.answer = scripts.reply(
        b"RIFF",
        headers=[
            ("set-cookie", "a=b"),
            ("location", "http://169.254.169.254/"),
            ("openai-organization", "org-provider"),
            ("x-request-id", "req_provider"),
            ("content-disposition", "attachment"),
            ("cache-control", "private"),
        ],
        content_type="audio/wav",
    )
    answer = await both.client.get("/files/file-1/content")
    assert answer.content == b"RIFF"
    assert set(answer.headers) == {
        "content-type",
        "content-disposition",
        "content-length",
        "date",
        "x-request-id",
        "x-runestone-attempts",
        "x-runestone-config",
        "x-runestone-model",
        "x-runestone-provider",
    }
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-request-id"] != "req_provider"


async def test_G10_model_of_no_pool_gets_into_no_header(both: Front) -> None:
    body = {"input": "x", "model": "a\r\nset-cookie: b=c"}
    answer = await both.client.post("/moderations", json=body)
    assert answer.status_code == 200
    assert answer.headers["x-runestone-model"] == "-"
    assert "set-cookie" not in answer.headers
    assert both.requests[0].json() == body
    models = {model for _, model, _, _ in both.gateway.parts.traffic.requests}
    assert models == {"-"}


# --- failures


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        pytest.param(400, 400, "theirs", id="400"),
        pytest.param(404, 404, "theirs", id="404"),
        pytest.param(422, 422, "theirs", id="422"),
        pytest.param(401, 502, "upstream_error", id="C10-401"),
        pytest.param(403, 502, "upstream_error", id="C10-403"),
        pytest.param(429, 429, "rate_limit_exceeded", id="C5-429"),
        pytest.param(500, 502, "upstream_error", id="500"),
        pytest.param(302, 502, "upstream_error", id="C21-302"),
        pytest.param(405, 404, "unsupported_api", id="405"),
        pytest.param(501, 404, "unsupported_api", id="501"),
    ],
)
async def test_refusals(both: Front, status: int, told: int, code: str) -> None:
    error = {"error": {"message": "No.", "type": "invalid_request_error", "code": "theirs"}}
    both.first.answer = scripts.json_reply(error, status, [("retry-after", "3")])
    answer = await both.client.get("/files/file-1")
    refused(answer, told, code)
    assert ("retry-after" in answer.headers) == (told in {429, 502})


async def test_api_that_a_provider_lacks_opens_no_breaker(both: Front) -> None:
    both.first.answer = scripts.json_reply({}, 405)
    for _ in range(20):
        refused(await both.client.get("/batches"), 404, "unsupported_api")
    both.first.answer = scripts.json_reply(MODERATION)
    body = {"model": "hear", "input": "x"}
    assert (await both.client.post("/moderations", json=body)).status_code == 200


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(scripts.reply(b"<html>", content_type="text/html"), id="C20-page"),
        pytest.param(
            scripts.json_reply({}, 200, [("content-encoding", "gzip")]), id="C21-compressed"
        ),
    ],
)
async def test_answers_that_are_none(both: Front, answer: bytes) -> None:
    both.first.answer = answer
    refused(await both.client.get("/files/file-1"), 502, "upstream_error")


async def test_C14_answer_lost_on_the_way_is_cut(both: Front) -> None:
    both.first.answer = [
        scripts.head(content_type="audio/mpeg"),
        scripts.chunk(bytes(100)),
        scripts.reset(),
    ]
    body = {"model": "speak", "input": "x", "voice": "alloy"}
    with pytest.raises(httpx.RemoteProtocolError):
        await both.client.post("/audio/speech", json=body)
    interrupted = both.gateway.parts.traffic.interrupted
    assert interrupted["shop/pool/one", "lost_mid_body"] == 1


async def test_C14_stream_lost_on_the_way_says_so(both: Front) -> None:
    part = b"event: x\ndata: {"
    both.first.answer = [
        scripts.head(content_type=scripts.SSE),
        scripts.chunk(part),
        scripts.reset(),
    ]
    body = {"model": "speak", "input": "x", "stream_format": "sse"}
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with both.client.stream("POST", "/audio/speech", json=body) as answer:
            async for piece in answer.aiter_raw():
                received += piece
    assert received.startswith(part + b"\n\ndata: ")
    assert (
        json.loads(received.rpartition(b"data: ")[2])["error"]["code"] == "upstream_lost_mid_body"
    )


async def test_an_answer_without_a_body_says_nothing_of_one(both: Front) -> None:
    both.first.answer = [scripts.head(204)]
    answer = await both.client.delete("/files/file-1")
    assert answer.status_code == 204
    assert not {"content-length", "content-type", "transfer-encoding"} & set(answer.headers)


async def test_file_that_is_large_comes_as_it_is_read(both: Front) -> None:
    content = bytes(range(256)) * 4096 * 20
    both.first.answer = scripts.reply(content, content_type="application/octet-stream")
    answer = await both.client.get("/files/file-1/content")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


# --- clients that send no more

SPEECH = {"model": "speak", "input": "x", "voice": "alloy", "stream_format": "sse"}
AUDIO = scripts.event({"type": "speech.audio.delta", "audio": "aGk="})


def speech_request() -> bytes:
    body = json.dumps(SPEECH).encode()
    lines = [
        "POST /v1/audio/speech HTTP/1.1",
        "host: x",
        f"authorization: Bearer {bundles.CLIENT_KEY}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_F4_half_closed_within_a_stream_of_events(both: Front) -> None:
    go = asyncio.Event()
    begun = scripts.head(content_type=scripts.SSE) + scripts.chunk(AUDIO)
    both.first.answer = [begun, scripts.until(go), scripts.chunk(AUDIO) + scripts.LAST_CHUNK]
    wire = await Wire.connect(both.gateway.port)
    wire.send(speech_request())
    await wire.reader.readuntil(AUDIO)
    wire.writer.write_eof()
    await wire.reader.readuntil(b": ping\n\n\r\n")
    go.set()
    rest = await wire.closed()
    assert rest.endswith(scripts.chunk(AUDIO) + b"0\r\n\r\n")
    await wire.close()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(
            scripts.head(content_type=scripts.SSE) + scripts.chunk(AUDIO), id="F1-between-events"
        ),
        pytest.param(
            scripts.head(content_type=scripts.SSE) + scripts.chunk(AUDIO[:-2]),
            id="F1-within-an-event",
        ),
        pytest.param(
            scripts.head(content_type="audio/mpeg") + scripts.chunk(AUDIO), id="F1-no-events"
        ),
        pytest.param(
            scripts.head(headers=[("content-length", "999")], content_type=scripts.SSE) + AUDIO,
            id="F1-a-length",
        ),
    ],
)
async def test_client_that_leaves_within_an_answer_closes_the_provider(
    both: Front, begun: bytes
) -> None:
    both.first.answer = [begun, scripts.hang()]
    wire = await Wire.connect(both.gateway.port)
    wire.send(speech_request())
    await wire.reader.readuntil(AUDIO[:-2])
    await wire.close()
    await both.requests[0].peer.closed(within_s=1)


async def test_large_json_answer_tells_its_usage(both: Front) -> None:
    big = {**IMAGES, "data": [{"b64_json": io.BytesIO(b"x" * 2 * MIB).read().decode()}]}
    both.second.answer = scripts.json_reply({"data": big["data"], **IMAGES, "usage": big["usage"]})
    await both.client.post("/images/generations", json={"model": "paint", "prompt": "x"})
    spent = both.gateway.parts.traffic.spent["shop/app", "paint", "shop/pool/two"]
    assert (spent.input_tokens, spent.output_tokens) == (50, 60)
