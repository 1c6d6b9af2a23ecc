"""Three real nats-servers that keep three copies of each stream: to lose the one that leads."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error

from runestone_testing.nats import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("one", "two", "three")
CLUSTER = "runestone"
ELECTION_S = 60


@dataclass(frozen=True, slots=True)
class NatsCluster:
    servers: dict[str, NatsServer]

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers.values())

    async def leader(self, stream: str, *, besides: str = "") -> str:
        """Who leads it, as one of the others has it: once it has elected one."""
        async with asyncio.timeout(ELECTION_S):
            while True:
                for name, server in self.servers.items():
                    found = "" if name == besides else await _leader(server, stream)
                    if found and found != besides:
                        return found
                await asyncio.sleep(0.1)


async def _leader(server: NatsServer, stream: str) -> str:
    """Empty where it does not tell."""
    client = Client()
    try:
        await client.connect(server.url, allow_reconnect=False, connect_timeout=5)
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5)
        found = json.loads(answer.data).get("cluster", {}).get("leader", "")
    except (OSError, Error):
        return ""
    finally:
        await client.close()
    return str(found)


@contextmanager
def nats_cluster() -> Iterator[NatsCluster]:
    ports = [free_port() for _ in NAMES]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {}
        for name, port in zip(NAMES, ports, strict=True):
            (root := Path(folder) / name).mkdir()
            server = NatsServer(
                root,
                *("--name", name, "--cluster_name", CLUSTER),
                *("--cluster", f"nats://127.0.0.1:{port}", "--routes", routes),
                durable=True,
            )
            stack.callback(server.stop)
            server.start()
            servers[name] = server
        yield NatsCluster(servers)
