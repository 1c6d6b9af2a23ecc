"""The sidecar's own servers inside the test's event loop, for faults scripted beside it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client import generate_latest

from runestone_contract.config import Config
from runestone_sidecar.app import Parts, build
from runestone_sidecar.edge.server import Server, api_bounds
from runestone_sidecar.settings import Settings
from runestone_testing import bundles

CHAT = "/chat/completions"


@dataclass
class Gateway:
    parts: Parts
    port: int
    client: httpx.AsyncClient  # with the key, at /v1
    server: Server
    serving: asyncio.Task[None]

    async def chat(self, **fields: object) -> httpx.Response:
        return await self.client.post(CHAT, json=question(**fields))

    def metrics(self) -> str:
        return generate_latest(self.parts.health.metrics.registry).decode()

    async def drain(self) -> None:
        """As SIGTERM has it; what is not done after a second is cancelled."""
        self.server.should_exit = True
        await self.serving
        await self.server.cut()


def question(**fields: object) -> dict[str, object]:
    given: dict[str, object] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello"}],
    }
    return given | fields


def raw_request(*headers: str, **fields: object) -> bytes:
    """A chat request as it goes over the wire."""
    body = json.dumps(question(**fields)).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"authorization: Bearer {bundles.CLIENT_KEY}",
        *headers,
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def gateway(
    root: Path, config: Config, credentials: dict[str, str] | None = None, **settings: object
) -> AsyncIterator[Gateway]:
    """Real uvicorn on a port of the kernel's choice; drained at the end."""
    bundles.publish(root, config, credentials)
    used = Settings(root / "config", root / "credentials", port=0, drain_s=1, **settings)  # type: ignore[arg-type]
    parts = build(used)
    if parts.audit is not None:
        parts.audit.begin()
    await parts.source.refresh()
    server = Server(
        parts.api,
        host="127.0.0.1",
        port=0,
        drain_s=1,
        bounds=api_bounds(used),
        refused=parts.traffic.refused,
    )
    port = server.listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[server.listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/v1",
            headers={"authorization": f"Bearer {bundles.CLIENT_KEY}"},
            trust_env=False,
            verify=False,  # no TLS here, and its context takes 20 ms to make
            timeout=30,
        ) as client:
            yield Gateway(parts, port, client, server, serving)
    finally:
        server.should_exit = True
        await serving
        await parts.client.close()
        parts.lines.flush()
        if parts.audit is not None:
            parts.audit.close()
