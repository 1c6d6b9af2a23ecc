"""What is written and when, what is held while a reader or a provider stalls."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import FirstByteTimeout, IdleTimeout, LostMidBody
from runestone_sidecar.upstream.http1 import READ_HIGH_BYTES
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.outgoing import WRITE_SLICE_BYTES, render_headers
from runestone_sidecar.upstream.response import MAX_PIECES
from runestone_testing.provider import (
    Provider,
    Script,
    chunk,
    chunked,
    close,
    hang,
    head,
    json_reply,
    pause,
    read_head,
    reply,
    reset,
    until,
)
from runestone_testing.upstream import (
    LIMIT_BYTES,
    PATIENT,
    TARGET,
    fetch,
    loop_turns,
    origin_of,
    post,
)

if TYPE_CHECKING:
    from runestone_sidecar.upstream.pool import Client
    from runestone_testing.peer import Peer

ONE_READ_BYTES = 256 * 1024  # the most that either loop reads at once
MIB = 2**20


async def test_request_arrives_as_it_was_given(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        response = await client.send(
            origin_of(provider),
            method=b"PUT",
            target=b"/v1/x?y=%20z",
            headers=b"Authorization: Bearer k\r\nx-b: \r\n",
            body=b'{"a":1}',
            deadlines=PATIENT,
        )
        response.close()
        request = provider.requests[0]
    assert request.raw_head == (
        b"PUT /v1/x?y=%%20z HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer k\r\nx-b: \r\n"
        b"Content-Length: 7\r\n\r\n" % int(request.raw_head.split(b":")[2].split(b"\r")[0])
    )
    assert request.json() == {"a": 1}


@pytest.mark.parametrize(
    ("method", "length"),
    [
        pytest.param(b"GET", None, id="get"),
        pytest.param(b"HEAD", None, id="head"),
        pytest.param(b"DELETE", None, id="delete"),
        pytest.param(b"POST", "0", id="post"),
    ],
)
async def test_length_of_no_body(client: Client, method: bytes, length: str | None) -> None:
    async with Provider(reply(b"")) as provider:
        response = await client.send(
            origin_of(provider),
            method=method,
            target=TARGET,
            headers=b"",
            body=b"",
            deadlines=PATIENT,
        )
        assert await response.read(10) == b""
        assert provider.requests[0].header("content-length") == length


def test_headers_are_rendered() -> None:
    assert render_headers([(b"a", b"b"), (b"C", b"")]) == b"a: b\r\nC: \r\n"


@pytest.mark.parametrize("bad", [b"x\r\ny: z", b"x\n", b"\r", b"x\0"], ids=repr)
def test_headers_that_would_split_are_not_rendered(bad: bytes) -> None:
    with pytest.raises(ValueError, match="control character"):
        render_headers([(b"a", bad)])
    with pytest.raises(ValueError, match="control character"):
        render_headers([(bad, b"a")])


async def test_dead_peers_are_found_by_tcp(client: Client) -> None:
    async with Provider([head(), hang()]) as provider:
        response = await post(client, origin_of(provider))
        (pool,) = client._pools.values()
        (connection,) = pool.connections
        tcp = connection.transport.get_extra_info("socket")
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        response.close()


async def test_large_body_arrives_whole(client: Client) -> None:
    body = json.dumps({"image": "x" * 32 * MIB}).encode()
    async with Provider(json_reply({"got": "it"})) as provider:
        assert await fetch(client, origin_of(provider), body) == b'{"got": "it"}'
        assert provider.requests[0].body == body
        assert await fetch(client, origin_of(provider), b"{}") == b'{"got": "it"}'
        assert len(provider.peers) == 1


async def test_large_body_waits_in_the_caller_for_a_provider_that_reads_slowly(
    client: Client,
) -> None:
    body = bytes(32 * MIB)
    go_on = asyncio.Event()
    script: Script = [read_head(), until(go_on), start_reading]
    async with Provider(json_reply({}), on_connect=script) as provider:
        origin = origin_of(provider)
        call = asyncio.create_task(fetch(client, origin, body))
        await provider.connected()
        await loop_turns(50)
        (pool,) = client._pools.values()
        (connection,) = pool.connections
        assert connection.transport.get_write_buffer_size() <= 2 * WRITE_SLICE_BYTES + 64 * 1024
        assert not call.done()
        call.cancel()
        go_on.set()
        await asyncio.gather(call, return_exceptions=True)


async def start_reading(peer: Peer) -> None:
    peer.start_reading()


async def test_upload_that_moves_does_not_count_as_silence(client: Client) -> None:
    async def read_slowly(peer: Peer) -> None:
        while peer.received_bytes < 12 * MIB:
            peer.start_reading()
            await peer.read()
            peer.stop_reading()
            await asyncio.sleep(0.01)
        peer.start_reading()
        await peer.send(json_reply({"slow": True}))

    limits = Deadlines(connect_s=5, first_byte_s=0.3, idle_s=5, total_s=30)
    async with Provider(on_connect=[read_slowly, hang()]) as provider:
        body = bytes(12 * MIB - 2000)  # less than all is asked for: the head counts too
        with pytest.raises(FirstByteTimeout):
            await fetch(client, origin_of(provider), body, deadlines=limits)
    async with Provider(on_connect=[read_slowly, hang()]) as provider:
        assert await fetch(client, origin_of(provider), bytes(12 * MIB), deadlines=limits)


@pytest.mark.parametrize("then", [hang(), close()], ids=["keeps-open", "closes"])
async def test_answer_before_the_body_is_sent(client: Client, then: Script) -> None:
    script: Script = [read_head(), json_reply({"error": "too large"}, 413), then]  # type: ignore[list-item]
    async with Provider(on_connect=script) as provider:
        response = await post(client, origin_of(provider), bytes(32 * MIB))
        assert response.status == 413
        assert await response.read(LIMIT_BYTES) == b'{"error": "too large"}'
        (pool,) = client._pools.values()
        assert pool.take() is None  # half a request was sent there: of no use for another


async def test_stalled_reader_stops_the_provider(client: Client) -> None:
    body = bytes(50 * MIB)
    async with Provider(reply(body)) as provider:
        response = await post(client, origin_of(provider))
        sent = -1
        while sent != provider.peers[0].sent_bytes:
            sent = provider.peers[0].sent_bytes
            await loop_turns(100)
        assert sent < len(body) / 2
        assert READ_HIGH_BYTES < response.buffered_bytes <= READ_HIGH_BYTES + ONE_READ_BYTES
        (pool,) = client._pools.values()
        (connection,) = pool.connections
        assert not connection.transport.is_reading()
        size = most = 0
        while data := await response.next():
            size += len(data)
            most = max(most, len(data))
        assert size == len(body)
        assert most <= READ_HIGH_BYTES + ONE_READ_BYTES
        assert await fetch(client, origin_of(provider)) == body
        assert len(provider.peers) == 1  # and the connection reads again


async def test_stall_of_our_own_is_not_the_providers_silence(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=5, idle_s=0.2, total_s=30)
    go_on = asyncio.Event()
    first = READ_HIGH_BYTES + 1  # only with its last byte is the provider paused
    start = head(headers=[("content-length", str(first + 4))])
    async with Provider([start, bytes(first), until(go_on), b"more"]) as provider:
        response = await post(client, origin_of(provider), deadlines=limits)
        while response.buffered_bytes < first:
            await asyncio.sleep(0)
        await asyncio.sleep(0.4)
        assert len(await response.next()) == first
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        assert await response.read(LIMIT_BYTES) == b"more"


async def test_silence_after_our_own_stall_counts_again(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=5, idle_s=0.1, total_s=30)
    script: Script = [head(headers=[("content-length", str(90 * MIB))]), bytes(MIB), hang()]
    async with Provider(script) as provider:
        response = await post(client, origin_of(provider), deadlines=limits)
        await asyncio.sleep(0.3)
        with pytest.raises(IdleTimeout):
            await response.read(LIMIT_BYTES)


async def test_many_tiny_chunks_are_held_as_few_pieces(client: Client) -> None:
    pieces = [b"%d" % (n % 10) for n in range(30_000)]
    async with Provider(chunked(*pieces)) as provider:
        response = await post(client, origin_of(provider))
        while not response.complete:
            await asyncio.sleep(0)
            assert len(response._pieces) <= MAX_PIECES
        assert await response.read(LIMIT_BYTES) == b"".join(pieces)


async def test_connection_is_free_once_the_body_is_here_read_or_not(client: Client) -> None:
    async with Provider(json_reply({"n": 1})) as provider:
        origin = origin_of(provider, max_connections=1)
        unread = await post(client, origin)
        assert await fetch(client, origin) == b'{"n": 1}'
        assert await unread.read(LIMIT_BYTES) == b'{"n": 1}'
        assert len(provider.peers) == 1


async def test_wait_tells_silence_from_news(client: Client) -> None:
    go_on = asyncio.Event()
    script: Script = [head(), chunk(b"a"), until(go_on), chunk(b"b") + b"0\r\n\r\n"]
    async with Provider(script) as provider:
        response = await post(client, origin_of(provider))
        assert await response.wait(30)
        assert await response.next() == b"a"
        assert not await response.wait(0.02)
        assert not await response.wait(0.02)
        go_on.set()
        assert await response.wait(30)
        assert await response.read(LIMIT_BYTES) == b"b"
        assert await response.wait(30)  # at the end there is news: that it is the end
        assert await response.next() == b""


async def test_alarm_of_a_wait_does_not_reach_into_the_next(client: Client) -> None:
    script: Script = [head(), pause(0.02), chunk(b"a"), pause(0.2), chunk(b"b") + b"0\r\n\r\n"]
    async with Provider(script) as provider:
        response = await post(client, origin_of(provider))
        assert await response.wait(0.1)
        assert await response.next() == b"a"
        assert await response.wait(30)
        assert await response.next() == b"b"


async def test_wait_tells_of_a_loss(client: Client) -> None:
    async with Provider([head(), pause(0.02), reset()]) as provider:
        response = await post(client, origin_of(provider))
        assert await response.wait(30)
        with pytest.raises(LostMidBody):
            await response.next()


async def test_close_is_idempotent_and_ends_the_exchange(client: Client) -> None:
    async with Provider([head(), chunk(b"a"), hang()]) as provider:
        response = await post(client, origin_of(provider))
        response.close()
        response.close()
        await provider.peers[0].closed()
        with pytest.raises(LostMidBody):
            await response.next()


async def test_close_from_another_task_wakes_the_reader(client: Client) -> None:
    async with Provider([head(), hang()]) as provider:
        response = await post(client, origin_of(provider))
        reader = asyncio.create_task(response.next())
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(LostMidBody):
            await reader


async def test_header_values_are_found_by_lower_case_name(client: Client) -> None:
    async with Provider(reply(b"", headers=[("X-Id", "1"), ("x-id", "2")])) as provider:
        response = await post(client, origin_of(provider))
        assert response.header(b"x-id") == b"1"
        assert response.header(b"nothing") is None
        assert [value for name, value in response.headers if name == b"x-id"] == [b"1", b"2"]
