"""F8, F9, A15: more connections than can be served, and clients that only hold them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import resource
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.edge.server import listen
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import Echo, running_echo
from runestone_testing.gateway import raw_request
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until
from runestone_testing.stand import FINE, Stand, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
REQUEST = raw_request()
FEW_FILES = 256
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with running_echo() as found:
        yield found


def serving(echo: Echo, root: Path) -> Path:
    bundles.publish(root, bundles.config(bundles.provider(echo.url)))
    return root


def connect(sidecar: Sidecar) -> socket.socket:
    host, _, port = sidecar.api.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def status_of(client: socket.socket) -> int | str:
    """Of the answer that has come or comes; what went wrong, where there is none."""
    try:
        first = client.recv(65536)
    except OSError as error:
        return type(error).__name__
    return int(first.split(b" ")[1]) if first else "closed"


def ask(sidecar: Sidecar) -> int | str:
    with connect(sidecar) as client:
        client.sendall(REQUEST)
        return status_of(client)


def cpu_s(sidecar: Sidecar) -> float:
    with open(f"/proc/{sidecar.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def memory_kib(sidecar: Sidecar) -> int:
    with open(f"/proc/{sidecar.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def files_of(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))


def test_F9_at_the_limit_of_files_it_says_so_and_comes_back(echo: Echo, tmp_path: Path) -> None:
    limited = ("sh", "-c", f'ulimit -n {FEW_FILES} && exec "$@"', "sh")
    with running_sidecar(serving(echo, tmp_path), tmp_path, under=limited) as sidecar:
        files = files_of(sidecar)
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(4 * FEW_FILES):
                client = stack.enter_context(connect(sidecar))
                with contextlib.suppress(OSError):  # it may be turned away already
                    client.sendall(REQUEST)
                clients.append(client)
            assert sidecar.get("/health/ready")[0] == 200
            statuses = [status_of(client) for client in clients]
            assert set(statuses) <= {200, 503, "ConnectionResetError"}
            assert statuses.count(200) >= 90
            assert statuses.count(503) >= 800
            assert files_of(sidecar) < FEW_FILES - 32  # there is room for others
            began_s, spent_s = time.monotonic(), cpu_s(sidecar)
            while time.monotonic() - began_s < 1:
                assert sidecar.get("/health/live")[0] == 200
                assert ask(sidecar) == 503
                time.sleep(0.02)
            assert cpu_s(sidecar) - spent_s < 0.7, "it is busy with nothing"
        wait_until("it serves again", lambda: ask(sidecar) == 200)
        wait_until("its files are closed", lambda: files_of(sidecar) <= files + 60)
        assert sidecar.process.poll() is None
        told = [line for line in sidecar.lines() if "turned away" in line["message"]]
        assert len(told) == 1


def test_F8_10k_idle_connections_cost_little_and_hold_up_nobody(echo: Echo, tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, soft - 256)  # a descriptor each on either side
    env = {"RUNESTONE_MAX_CONNECTIONS": "10100"}
    with running_sidecar(serving(echo, tmp_path), tmp_path, **env) as sidecar:
        assert ask(sidecar) == 200
        before_kib = memory_kib(sidecar)
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                client = stack.enter_context(connect(sidecar))
                client.sendall(LIVE)
                assert status_of(client) == 200
            grown_kib = memory_kib(sidecar) - before_kib
            assert grown_kib / count < 16, f"{grown_kib} KiB for {count} connections"
            spent_s = cpu_s(sidecar)
            took_s = []
            for _ in range(50):
                began_s = time.monotonic()
                assert ask(sidecar) == 200
                took_s.append(time.monotonic() - began_s)
            assert sorted(took_s)[25] < 0.5
            assert cpu_s(sidecar) - spent_s < 2
            client.sendall(LIVE)  # they are alive
            assert status_of(client) == 200
        wait_until("all are closed", lambda: files_of(sidecar) < 50)


async def test_F9_idle_connections_make_room_for_those_who_ask(tmp_path: Path) -> None:
    async with standing(tmp_path, max_connections=3) as stand:
        stand.gateway.server.door.idle_enough_s = 0.0
        idle = [await stand.connect() for _ in range(3)]
        for wire in idle:
            wire.send(LIVE)
            assert (await wire.answer()).status == 200
        wire = await stand.connect()
        wire.send(LIVE)
        answer = await wire.answer()
        stand.refused(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert await wire.closed() == b""
        for wire in idle:
            assert await wire.closed() == b""
        assert (await stand.chat()).status_code == 200


async def test_F9_who_is_being_served_is_not_cut_for_others(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with standing(tmp_path, max_connections=2) as stand:
        stand.gateway.server.door.idle_enough_s = 0.0
        stand.provider.answer = [scripts.until(go), FINE]
        served = [await stand.connect() for _ in range(2)]
        for wire in served:
            wire.send(REQUEST)
        await stand.provider.requested(2)
        for _ in range(30):
            wire = await stand.connect()
            stand.refused(await wire.answer(), 503, "overloaded")
        go.set()
        for wire in served:
            assert (await wire.answer()).status == 200


async def test_A15_clients_that_take_too_little_are_cut_and_their_calls_too(
    stand: Stand,
) -> None:
    """By us, for the kernel's own limit does not see who takes a little now and then."""
    door = stand.gateway.server.door
    door.bounds = dataclasses.replace(door.bounds, stalled_s=0.5)
    stand.provider.answer = flood
    wires = [await stall(stand) for _ in range(50)]
    await stand.provider.requested(50)
    stand.provider.answer = FINE
    assert (await stand.chat()).status_code == 200
    for peer in stand.provider.peers[:50]:
        await peer.closed()
    assert len(wires) == 50


def test_A15_the_kernel_cuts_who_takes_nothing() -> None:
    listener = listen("127.0.0.1", 0, stalled_s=7.5)
    with listener:
        timeout_ms = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout_ms == 7500


async def stall(stand: Stand) -> object:
    wire = await stand.connect()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.send(raw_request(stream=True))
    return wire


def flood(_: scripts.Request) -> list[bytes | scripts.Action]:
    piece = scripts.chunk(scripts.event({"choices": [], "x": "y" * 60_000}))
    return [scripts.head(content_type=scripts.SSE), *[piece] * 1000, scripts.LAST_CHUNK]


@pytest.mark.parametrize("stream", [False, True], ids=["F4-whole", "F4-streamed"])
async def test_a_client_that_only_sends_no_more_gets_its_answers(
    stand: Stand, stream: bool
) -> None:
    go = asyncio.Event()
    stream_reply = scripts.sse_reply([{"choices": []}, "[DONE]"])
    stand.provider.answer = [scripts.until(go), stream_reply if stream else FINE]
    wire = await stand.connect()
    wire.send(raw_request(stream=stream) * 2)
    wire.writer.write_eof()
    peer = (await stand.provider.requested()).peer
    await asyncio.sleep(0.2)  # several times what it takes to find out that a client is gone
    assert peer.is_open
    go.set()
    for _ in range(2):
        assert (await wire.answer()).status == 200
    assert await wire.closed() == b""
    assert [line["status"] for line in stand.lines()] == [200, 200]


@pytest.mark.parametrize("how", ["close", "reset"], ids=["F3-close", "F5-reset"])
async def test_a_client_that_is_gone_ends_its_call(stand: Stand, how: str) -> None:
    stand.provider.answer = [scripts.hang()]
    wire = await stand.connect()
    wire.send(REQUEST)
    peer = (await stand.provider.requested()).peer
    if how == "reset":
        tcp = wire.writer.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.close()
    await peer.closed()
    await wait_for(lambda: stand.gateway.parts.traffic.clients_gone == 1)


async def test_F4_a_client_that_sends_no_more_and_then_goes_ends_its_call(stand: Stand) -> None:
    stand.provider.answer = [scripts.hang()]
    wire = await stand.connect()
    wire.send(REQUEST)
    wire.writer.write_eof()
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 102 Processing\r\n\r\n"
    peer = (await stand.provider.requested()).peer
    wire.writer.close()
    await peer.closed()  # it is asked once a second
    await wait_for(lambda: stand.gateway.parts.traffic.clients_gone == 1)


async def wait_for(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.005)
