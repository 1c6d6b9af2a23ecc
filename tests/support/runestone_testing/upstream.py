"""Calls of the upstream client as tests make them: short, with patience where none is the point."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runestone_sidecar.upstream.origin import Deadlines, Origin, TlsOptions

if TYPE_CHECKING:
    from runestone_sidecar.upstream.pool import Client
    from runestone_sidecar.upstream.response import Response
    from runestone_testing.provider import Provider

TARGET = b"/v1/chat/completions"
LIMIT_BYTES = 100 * 2**20
PATIENT = Deadlines(connect_s=10, first_byte_s=10, idle_s=10, total_s=30)


def origin_of(
    provider: Provider,
    *,
    tls: TlsOptions | None = None,
    max_connections: int = 100,
    max_idle: int = 100,
) -> Origin:
    return Origin.from_base_url(
        provider.url, tls=tls, max_connections=max_connections, max_idle=max_idle
    )


async def post(
    client: Client, origin: Origin, body: bytes = b"{}", *, deadlines: Deadlines = PATIENT
) -> Response:
    return await client.send(
        origin,
        target=TARGET,
        headers=b"content-type: application/json\r\n",
        body=body,
        deadlines=deadlines,
    )


async def fetch(
    client: Client, origin: Origin, body: bytes = b"{}", *, deadlines: Deadlines = PATIENT
) -> bytes:
    """The whole body of an answer."""
    response = await post(client, origin, body, deadlines=deadlines)
    try:
        return await response.read(LIMIT_BYTES)
    finally:
        response.close()


async def loop_turns(count: int = 20) -> None:
    """Lets the loop see what is already in its sockets."""
    for _ in range(count):
        await asyncio.sleep(0)
