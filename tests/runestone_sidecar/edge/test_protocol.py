"""What clients do to a connection: leave, send ahead, wish for another protocol, send garbage."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.gateway import raw_request as request
from runestone_testing.provider import SSE, chunk, event, head, json_reply

OK = json_reply(completion("fine"))
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(root: Path, one: scripts.Provider) -> AsyncIterator[tuple[Gateway, Connection]]:
    async with gateway(root, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        try:
            yield found, (reader, writer)
        finally:
            writer.close()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.005)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(size)


async def test_f3_f7_a_client_that_sent_ahead_and_leaves_ends_the_call(tmp_path: Path) -> None:
    async with scripts.Provider([scripts.hang()]) as one:
        async with serving(tmp_path, one) as (found, (_, writer)):
            writer.write(request() + request())
            peer = (await one.requested()).peer
            writer.close()
            await peer.closed()
            await until(lambda: found.parts.traffic.in_flight == 0)
            assert found.parts.traffic.clients_gone == 1
            assert len(one.requests) == 1


async def test_f3_a_client_that_leaves_after_a_large_body_ends_the_call(tmp_path: Path) -> None:
    # More than uvicorn's high-water mark, in one read, while the body is awaited.
    whole = request(user="x" * 70_000)
    start, end, body = whole.partition(b"\r\n\r\n")
    async with scripts.Provider([scripts.hang()]) as one:
        async with serving(tmp_path, one) as (found, (_, writer)):
            writer.write(start + end)
            await until(lambda: found.parts.traffic.in_flight == 1)
            writer.write(body)
            peer = (await one.requested()).peer
            writer.close()
            await peer.closed()
            await until(lambda: found.parts.traffic.in_flight == 0)


async def test_f7_requests_sent_ahead_are_answered_in_their_order(tmp_path: Path) -> None:
    def echo(asked: scripts.Request) -> bytes:
        return json_reply(completion(asked.json()["user"]))

    async with scripts.Provider(echo) as one:
        async with serving(tmp_path, one) as (_, (reader, writer)):
            writer.write(b"".join(request(user=f"number {n}") for n in range(5)))
            for n in range(5):
                status, body = await answer(reader)
                assert status == 200
                assert f"number {n}".encode() in body


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(
            ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk"),
            id="h2c-as-java-does",
        ),
        pytest.param(("connection: upgrade", "upgrade: websocket"), id="websocket"),
    ],
)
async def test_a_wish_for_another_protocol_is_answered_in_this_one(
    tmp_path: Path, wish: tuple[str, ...]
) -> None:
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (_, (reader, writer)):
        whole = request(*wish)
        cut = whole.index(b"\r\n\r\n") + 10
        writer.write(whole[:cut])
        await writer.drain()
        writer.write(whole[cut:] + request(*wish) + request())
        for _ in range(3):
            assert (await answer(reader))[0] == 200
    assert [each.json()["model"] for each in one.requests] == ["gpt-4o-mini"] * 3


async def test_a20_connect_is_no_such_url(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (_, (reader, writer)):
        writer.write(b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 400


async def test_bytes_that_are_not_http_get_the_envelope(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (_, (reader, writer)):
        writer.write(b"GARBAGE\r\n\r\n")
        status, body = await answer(reader)
        assert status == 400
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert await reader.read() == b""


async def test_garbage_sent_ahead_does_not_cut_into_the_answer(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (_, (reader, writer)):
        writer.write(request() + b"GARBAGE\r\n\r\n")
        status, body = await answer(reader)
        assert status == 200
        assert b"fine" in body
        assert await reader.read() == b""


async def test_a_broken_body_is_refused_and_ends_the_request(tmp_path: Path) -> None:
    start = request().partition(b"\r\n\r\n")[0].rpartition(b"\r\n")[0]
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (found, (reader, writer)):
        writer.write(start + b"\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n")
        assert (await answer(reader))[0] == 400
        assert await reader.read() == b""
        await until(lambda: found.parts.traffic.in_flight == 0)


async def test_a_413_reaches_a_client_that_leaves_without_reading_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = request().partition(b"\r\n\r\n")[0].rpartition(b"\r\n")[0]
    async with scripts.Provider(OK) as one, serving(tmp_path, one) as (found, (reader, writer)):
        writer.write(start + b"\r\ncontent-length: 99999999\r\n\r\nxxx")
        assert (await answer(reader))[0] == 413
        writer.close()
        await until(lambda: found.parts.traffic.in_flight == 0)
        assert found.parts.traffic.clients_gone == 0
    assert caplog.records == []


async def test_f7_a_request_sent_ahead_holds_up_no_running_stream(tmp_path: Path) -> None:
    sent_ahead = asyncio.Event()
    script: list[Any] = [
        head(content_type=SSE) + chunk(event({"choices": [], "id": "first"})),
        scripts.until(sent_ahead),
        chunk(event({"choices": [], "id": "second"})),
        scripts.hang(),
    ]
    async with scripts.Provider(script) as one:
        async with serving(tmp_path, one) as (_, (reader, writer)):
            writer.write(request(stream=True))
            async with asyncio.timeout(30):
                await reader.readuntil(b"first")
                writer.write(request())
                await writer.drain()
                for _ in range(20):  # until the gateway has read it
                    await asyncio.sleep(0)
                sent_ahead.set()
                await reader.readuntil(b"second")
