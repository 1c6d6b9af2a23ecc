"""Bodies that are passed on while they come: held up by either side, cut short by either side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import (
    ConnectFailed,
    FirstByteTimeout,
    IdleTimeout,
    LostBeforeHead,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.origin import Deadlines, Origin
from runestone_sidecar.upstream.outgoing import WRITE_SLICE_BYTES, Upload
from runestone_testing.provider import (
    Provider,
    Script,
    chunk,
    close,
    hang,
    head,
    json_reply,
    read_head,
    refusing_port,
    reset,
    until,
)
from runestone_testing.uploads import Endless, Pieces
from runestone_testing.upstream import LIMIT_BYTES, PATIENT, fetch, loop_turns, origin_of

if TYPE_CHECKING:
    from runestone_sidecar.upstream.http1 import Connection
    from runestone_sidecar.upstream.pool import Client
    from runestone_testing.peer import Peer

MIB = 2**20
KERNEL_BYTES = 8 * MIB  # more than its buffers of one connection on 127.0.0.1 hold
TRANSPORT_HIGH_BYTES = 64 * 1024  # where a transport says that it holds enough


class OfItsOwnError(Exception):
    pass


async def upload(
    client: Client,
    origin: Origin,
    pieces: Pieces,
    length_bytes: int | None = None,
    *,
    deadlines: Deadlines = PATIENT,
) -> bytes:
    response = await client.upload(
        origin,
        target=b"/v1/files",
        headers=b"x-a: b\r\n",
        body=Upload(pieces, length_bytes),
        deadlines=deadlines,
    )
    try:
        return b"%d %b" % (response.status, await response.read(LIMIT_BYTES))
    finally:
        response.close()


def the_connection(client: Client) -> Connection:
    (pool,) = client._pools.values()
    (connection,) = pool.connections
    return connection


def nothing_is_kept(client: Client) -> bool:
    (pool,) = client._pools.values()
    return pool.take() is None


async def start_reading(peer: Peer) -> None:
    peer.start_reading()


# --- what is written


@pytest.mark.parametrize("length", [11, None], ids=["with-length", "chunked"])
async def test_body_arrives_as_it_came(client: Client, length: int | None) -> None:
    async with Provider(json_reply({"ok": 1})) as provider:
        origin = origin_of(provider)
        pieces = Pieces(b"hello", b"", b" ", b"world")
        assert await upload(client, origin, pieces, length) == b'200 {"ok": 1}'
        (request,) = provider.requests
        assert (request.method, request.target, request.body) == (
            "POST",
            "/v1/files",
            b"hello world",
        )
        assert request.header("x-a") == "b"
        assert request.header("content-length") == (None if length is None else "11")
        assert request.header("transfer-encoding") == ("chunked" if length is None else None)
        assert await fetch(client, origin) == b'{"ok": 1}'
        assert len(provider.peers) == 1  # the connection is as good as after any other request


@pytest.mark.parametrize("length", [0, None], ids=["with-length", "chunked"])
async def test_empty_body(client: Client, length: int | None) -> None:
    async with Provider(json_reply({})) as provider:
        assert await upload(client, origin_of(provider), Pieces(), length) == b"200 {}"
        assert provider.requests[0].body == b""


async def test_pieces_are_passed_on_at_once(client: Client) -> None:
    gate = asyncio.Event()
    async with Provider(json_reply({})) as provider:
        call = asyncio.create_task(
            upload(client, origin_of(provider), Pieces(b"first", gate, b"last"), 9)
        )
        peer = await provider.connected()
        while not peer._received.endswith(b"first"):
            await asyncio.sleep(0)
        gate.set()
        assert await call == b"200 {}"
        assert provider.requests[0].body == b"firstlast"


@pytest.mark.parametrize(
    ("pieces", "length"),
    [pytest.param([b"abc"], 4, id="short"), pytest.param([b"abc", b"de"], 4, id="long")],
)
async def test_body_of_another_length_is_never_made_whole(
    client: Client, pieces: list[bytes], length: int
) -> None:
    async with Provider(json_reply({})) as provider:
        with pytest.raises(ValueError, match="not as long"):
            await upload(client, origin_of(provider), Pieces(*pieces), length)
        await provider.peers[0].closed()
        assert provider.requests == []


# --- who holds up whom


async def test_slow_provider_holds_up_the_client(client: Client) -> None:
    count = 800  # 50 MiB
    go_on = asyncio.Event()
    script: Script = [read_head(), until(go_on), start_reading]
    pieces = Endless(count)
    held: list[int] = []
    async with Provider(json_reply({}), on_connect=script) as provider:
        call = asyncio.create_task(upload(client, origin_of(provider), pieces, count * 64 * 1024))
        await provider.connected()
        asked = -1
        while asked != pieces.asked:  # until it stands still
            asked = pieces.asked
            await loop_turns(50)
        held.append(the_connection(client).transport.get_write_buffer_size())
        assert pieces.asked * 64 * 1024 < KERNEL_BYTES
        assert max(held) <= TRANSPORT_HIGH_BYTES + WRITE_SLICE_BYTES
        assert not call.done()
        call.cancel()
        go_on.set()
        await asyncio.gather(call, return_exceptions=True)


async def test_fifty_mebibytes_take_the_memory_of_two_pieces(client: Client) -> None:
    count = 800
    most = 0

    class Watched(Endless):
        async def __anext__(self) -> bytes:
            nonlocal most
            if self.asked:
                most = max(most, the_connection(client).transport.get_write_buffer_size())
            return await super().__anext__()

    async def swallow(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        left = count * 64 * 1024
        while left:
            left -= len(await peer.read())
        await peer.send(json_reply({"got": "all"}))

    async with Provider(on_connect=[swallow, hang()]) as provider:
        answer = await upload(client, origin_of(provider), Watched(count), count * 64 * 1024)
    assert answer == b'200 {"got": "all"}'
    assert most <= TRANSPORT_HIGH_BYTES + WRITE_SLICE_BYTES


# --- deadlines


async def test_slow_client_is_not_the_providers_silence(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=0.1, idle_s=0.1, total_s=30)
    gate = asyncio.Event()
    async with Provider(json_reply({})) as provider:
        asyncio.get_running_loop().call_later(0.3, gate.set)
        pieces = Pieces(b"first", gate, b"last")
        assert await upload(client, origin_of(provider), pieces, 9, deadlines=limits) == b"200 {}"


async def test_slow_client_is_cut_off_by_the_total(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=5, idle_s=5, total_s=0.1)
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(json_reply({})) as provider:
        with pytest.raises(TotalTimeout):
            await upload(client, origin_of(provider), pieces, 9, deadlines=limits)
        await provider.peers[0].closed()
    assert pieces.cancelled


async def test_provider_that_stops_reading_is_silent(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=0.2, idle_s=5, total_s=30)
    async with Provider(on_connect=[read_head(), hang()]) as provider:
        with pytest.raises(FirstByteTimeout):
            await upload(client, origin_of(provider), Endless(800), None, deadlines=limits)


async def test_provider_that_stops_reading_after_a_slow_client_is_silent(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=0.2, idle_s=5, total_s=60)
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, gate.set)
    pieces = Pieces(b"first", gate, *[bytes(MIB)] * 50)
    async with Provider(on_connect=[read_head(), hang()]) as provider:
        with pytest.raises(FirstByteTimeout):
            async with asyncio.timeout(30):
                await upload(client, origin_of(provider), pieces, None, deadlines=limits)


async def test_provider_that_has_all_and_says_nothing_is_silent(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=0.2, idle_s=5, total_s=30)
    async with Provider([hang()]) as provider:
        with pytest.raises(FirstByteTimeout):
            await upload(client, origin_of(provider), Pieces(b"x"), 1, deadlines=limits)


# --- early answers


@pytest.mark.parametrize("then", [hang(), close()], ids=["keeps-open", "closes"])
async def test_early_refusal_is_the_answer_and_ends_the_upload(
    client: Client, then: Script
) -> None:
    script: Script = [read_head(), json_reply({"error": "too large"}, 413), then]  # type: ignore[list-item]
    pieces = Pieces(b"first", asyncio.Event(), b"never")
    async with Provider(on_connect=script) as provider:
        answer = await upload(client, origin_of(provider), pieces, 10)
        assert answer == b'413 {"error": "too large"}'
        await loop_turns()
        assert pieces.cancelled
        assert nothing_is_kept(client)


async def test_early_refusal_of_a_large_body(client: Client) -> None:
    script: Script = [read_head(), json_reply({"error": "too large"}, 413), hang()]
    pieces = Endless(800)
    async with Provider(on_connect=script) as provider:
        answer = await upload(client, origin_of(provider), pieces)
        assert answer.startswith(b"413")
        asked = pieces.asked
        await loop_turns()
        assert pieces.asked == asked
        assert asked < 800
        assert nothing_is_kept(client)


async def test_early_refusal_that_stops_in_its_middle_is_silence(client: Client) -> None:
    limits = Deadlines(connect_s=5, first_byte_s=0.2, idle_s=0.2, total_s=30)
    refusal = head(413, [("content-length", "90")]) + b"too"
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(on_connect=[read_head(), refusal, hang()]) as provider:
        with pytest.raises(IdleTimeout):
            await upload(client, origin_of(provider), pieces, 10, deadlines=limits)


async def test_success_may_begin_before_the_upload_ends(client: Client) -> None:
    gate = asyncio.Event()

    async def echo(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(head() + chunk(await peer.read_exactly(5)))
        gate.set()
        await peer.send(chunk(await peer.read_exactly(4)) + b"0\r\n\r\n")

    async with Provider(on_connect=[echo, hang()]) as provider:
        pieces = Pieces(b"first", gate, b"last")
        assert await upload(client, origin_of(provider), pieces, 9) == b"200 firstlast"


async def test_success_that_is_whole_ends_the_upload(client: Client) -> None:
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(on_connect=[read_head(), json_reply({}), hang()]) as provider:
        assert await upload(client, origin_of(provider), pieces, 9) == b"200 {}"
        await loop_turns()
        assert pieces.cancelled
        assert nothing_is_kept(client)


# --- losses


async def test_what_the_client_side_raises_is_raised_and_closes(client: Client) -> None:
    pieces = Pieces(b"first", OfItsOwnError())
    async with Provider(json_reply({})) as provider:
        with pytest.raises(OfItsOwnError):
            await upload(client, origin_of(provider), pieces, 9)
        await provider.peers[0].closed()
        assert provider.requests == []


async def test_what_the_client_side_raises_within_an_answer_is_raised(client: Client) -> None:
    gate = asyncio.Event()

    async def answer_early(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(head() + chunk(b"part"))

    async with Provider(on_connect=[answer_early, hang()]) as provider:
        response = await client.upload(
            origin_of(provider),
            target=b"/",
            headers=b"",
            body=Upload(Pieces(b"first", gate, OfItsOwnError()), None),
            deadlines=PATIENT,
        )
        assert await response.next() == b"part"
        gate.set()
        with pytest.raises(OfItsOwnError):
            await response.next()
        await provider.peers[0].closed()


async def test_caller_that_gives_up_closes(client: Client) -> None:
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(json_reply({})) as provider:
        call = asyncio.create_task(upload(client, origin_of(provider), pieces, 9))
        peer = await provider.connected()
        while not peer._received.endswith(b"first"):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await peer.closed()
        assert pieces.cancelled


@pytest.mark.parametrize("how", [reset(), close()], ids=["reset", "close"])
async def test_provider_that_leaves_is_lost_and_asked_nothing_twice(
    client: Client, how: Script
) -> None:
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(on_connect=[read_head(), how]) as provider:  # type: ignore[list-item]
        with pytest.raises(LostBeforeHead) as caught:
            await upload(client, origin_of(provider), pieces, 9)
        assert caught.value.sent
        assert len(provider.peers) == 1
        await loop_turns()
        assert pieces.cancelled


async def test_nothing_is_asked_of_the_client_before_there_is_a_connection(
    client: Client,
) -> None:
    pieces = Pieces(b"first")
    with refusing_port() as port:
        with pytest.raises(ConnectFailed) as caught:
            await upload(client, Origin("http", "127.0.0.1", port), pieces, 5)
    assert not caught.value.sent
    assert pieces.asked == 0


async def test_client_that_closes_down_ends_uploads(client: Client) -> None:
    pieces = Pieces(b"first", asyncio.Event())
    async with Provider(json_reply({})) as provider:
        call = asyncio.create_task(upload(client, origin_of(provider), pieces, 9))
        peer = await provider.connected()
        while not peer._received.endswith(b"first"):
            await asyncio.sleep(0)
        await client.close()
        with pytest.raises(UpstreamFault):
            await call
        await peer.closed()
