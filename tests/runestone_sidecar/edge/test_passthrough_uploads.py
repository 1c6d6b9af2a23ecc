"""Bodies larger than memory, and either side leaving in their middle."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.front import (
    BOUNDARY,
    FORM,
    TRANSCRIPT,
    Front,
    form,
    front,
)
from runestone_testing.peer import Peer, PeerGoneError
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from runestone_sidecar.upstream.http1 import Connection

MIB = 2**20


@pytest_asyncio.fixture
async def both(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path) as found:
        yield found


# --- memory


async def test_fifty_mebibytes_are_passed_on_while_they_come(both: Front) -> None:
    size, held = 50 * MIB, 0
    body = form(("model", b"hear"), ("file", b""))
    start, end = body.split(b"\r\n\r\n\r\n")
    start, end = start + b"\r\n\r\n", b"\r\n" + end

    async def swallow(peer: Peer) -> None:
        nonlocal held
        await peer.read_until(b"\r\n\r\n")
        left = len(start) + size + len(end)
        while left:
            left -= len(await peer.read())
            held = max(held, buffered(both))
        await peer.send(scripts.json_reply(TRANSCRIPT))

    async def pieces() -> AsyncIterator[bytes]:
        yield start
        for _ in range(size // (64 * 1024)):
            yield bytes(64 * 1024)
        yield end

    both.first._on_connect = [swallow, scripts.hang()]
    headers = {**FORM, "content-length": str(len(start) + size + len(end))}
    answer = await both.client.post("/audio/transcriptions", content=pieces(), headers=headers)
    assert answer.status_code == 200
    assert 0 < held <= MIB


async def test_provider_that_stalls_holds_up_the_client(both: Front) -> None:
    gate = asyncio.Event()

    async def stall(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        peer.stop_reading()
        await gate.wait()
        peer.reset()
        raise PeerGoneError

    both.first._on_connect = [stall]
    wire = await Wire.connect(both.gateway.port)
    size = 50 * MIB
    body = form(("model", b"hear"), ("file", b""))
    wire.send(head("/v1/audio/transcriptions", len(body) + size) + body.split(b"\r\n\r\n\r\n")[0])
    wire.send(b"\r\n\r\n")
    sent, before = 0, -1
    while sent != before:  # until it stands still
        before = sent
        for _ in range(200):
            if wire.writer.transport.get_write_buffer_size() == 0 and sent < size:
                wire.send(bytes(64 * 1024))
                sent += 64 * 1024
            await asyncio.sleep(0.001)
    assert sent < size / 2
    assert buffered(both) <= MIB
    gate.set()
    assert (await wire.answer()).status == 502
    await wire.close()


def fin(wire: Wire) -> None:
    wire.writer.transport.abort()


def reset(wire: Wire) -> None:
    tcp = wire.writer.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


@pytest.mark.parametrize("leave", [pytest.param(fin, id="F2-fin"), pytest.param(reset, id="F5")])
async def test_client_that_leaves_while_the_provider_does_not_read(
    both: Front, leave: Callable[[Wire], None]
) -> None:
    both.first._on_connect = [scripts.read_head(), scripts.hang()]
    wire = await Wire.connect(both.gateway.port)
    body = form(("model", b"hear"), ("file", b""))
    wire.send(head("/v1/audio/transcriptions", len(body) + 50 * MIB) + body[:-9])
    async with asyncio.timeout(30):
        await both.first.connected(within_s=30)
        while not is_held_up(both):
            wire.send(bytes(16 * 1024))
            await wire.writer.drain()
            await asyncio.sleep(0.001)
        leave(wire)
        while both.gateway.parts.traffic.in_flight or upstream_of(both):
            await asyncio.sleep(0.005)
    assert both.gateway.parts.traffic.clients_gone == 1


def is_held_up(found: Front) -> bool:
    """The provider takes nothing, and so the gateway has stopped reading what the client sends."""
    (connection,) = found.gateway.server.server_state.connections
    unread = any(each._write_paused for each in upstream_of(found))
    return unread and connection.flow.read_paused  # type: ignore[union-attr]


def buffered(found: Front) -> int:
    """Bytes of request bodies in the gateway, on either side."""
    cycles = [c.cycle for c in found.gateway.server.server_state.connections]  # type: ignore[union-attr]
    size = sum(len(cycle.body) for cycle in cycles if cycle is not None)
    return size + sum(c.transport.get_write_buffer_size() for c in upstream_of(found))


def upstream_of(found: Front) -> list[Connection]:
    pools = found.gateway.parts.client._pools.values()
    return [connection for pool in pools for connection in pool.connections]


def head(path: str, length: int) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {bundles.CLIENT_KEY}",
        f"content-type: multipart/form-data; boundary={BOUNDARY}",
        f"content-length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_F2_client_that_leaves_within_its_upload_closes_the_provider(both: Front) -> None:
    wire = await Wire.connect(both.gateway.port)
    wire.send(head("/v1/files", 90_000) + b"--xyz")
    peer = await both.first.connected()
    while not peer._received.endswith(b"--xyz"):
        await asyncio.sleep(0.001)
    wire.writer.transport.abort()
    await peer.closed()
    while not both.gateway.parts.traffic.clients_gone:
        await asyncio.sleep(0.001)


async def test_provider_that_refuses_early_is_heard_at_once(both: Front) -> None:
    error = {"error": {"message": "Too large.", "type": "invalid_request_error", "code": "big"}}
    both.first._on_connect = [
        scripts.read_head(),
        scripts.json_reply(error, 413),
        scripts.hang(),
    ]
    wire = await Wire.connect(both.gateway.port)
    wire.send(head("/v1/files", 90 * MIB) + b"--xyz")
    answer = await wire.answer()
    assert answer.status == 413
    assert answer.json()["error"]["code"] == "big"
    await wire.close()
