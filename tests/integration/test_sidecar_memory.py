"""Memory, files and calls while clients stall, and after they are gone."""

import asyncio
import os
import signal
import socket
import struct
from pathlib import Path

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import raw_request
from runestone_testing.provider import SSE, chunk, event, head
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until

STREAMS = 50
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)


def resident_bytes(sidecar: Sidecar) -> int:
    pages = Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))


def stalled(sidecar: Sidecar) -> socket.socket:
    """A client that asks for a stream and takes next to nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    host, _, port = sidecar.api.removeprefix("http://").partition(":")
    client.connect((host, int(port)))
    client.sendall(raw_request(stream=True))
    return client


async def come_to_rest(one: scripts.Provider) -> None:
    sent = -1
    while sent != (sent := sum(peer.sent_bytes for peer in one.peers)):
        await asyncio.sleep(0.3)  # what can go out has gone out by then


async def test_p11_f6_stalled_readers_are_held_in_a_megabyte_each(tmp_path: Path) -> None:
    flood = asyncio.Event()
    piece = chunk(event({"choices": [{"index": 0, "delta": {"content": "x" * 16_000}}]}) * 4)
    begun = head(content_type=SSE) + chunk(event({"choices": []}))
    async with scripts.Provider(
        [begun, scripts.until(flood), *[piece] * 60, scripts.hang()]
    ) as one:
        bundles.publish(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1")))
        with running_sidecar(tmp_path, tmp_path) as sidecar:
            bytes_before, files_before = resident_bytes(sidecar), open_files(sidecar)
            clients = [stalled(sidecar) for _ in range(STREAMS)]
            await one.requested(STREAMS)
            # Stopped until the kernel is full, so that it then reads as much at once as it can.
            sidecar.process.send_signal(signal.SIGSTOP)
            flood.set()
            await come_to_rest(one)
            sidecar.process.send_signal(signal.SIGCONT)
            await come_to_rest(one)
            assert resident_bytes(sidecar) - bytes_before < STREAMS * MIB
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            for peer in one.peers:
                await peer.closed()
            wait_until("files are back", lambda: open_files(sidecar) <= files_before + 2)
            assert sidecar.metric("runestone_requests_in_flight") == 0
