"""A caller that goes away, at each phase of a call: the provider sees it, and no place is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import ConnectTimeout
from runestone_sidecar.upstream.origin import Deadlines, Origin, TlsOptions
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.tunnel import Proxy, ProxySettings
from runestone_testing.provider import (
    HOST,
    Provider,
    Script,
    chunk,
    hang,
    head,
    json_reply,
    read_head,
    silent_port,
)
from runestone_testing.upstream import LIMIT_BYTES, fetch, loop_turns, origin_of, post

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runestone_sidecar.upstream.response import Response

BRIEF = Deadlines(connect_s=0.15, first_byte_s=5, idle_s=5, total_s=30)


async def cancel(task: asyncio.Task[bytes]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def begun(call: Coroutine[None, None, bytes]) -> asyncio.Task[bytes]:
    return asyncio.create_task(call)


async def test_while_waiting_for_a_place(client: Client) -> None:
    async with Provider([hang()]) as provider:
        origin = origin_of(provider, max_connections=1)
        holder = begun(fetch(client, origin))
        await provider.requested()
        waiting = begun(fetch(client, origin))
        await loop_turns()
        await cancel(waiting)
        provider.answer = json_reply({})
        await cancel(holder)
        assert await fetch(client, origin) == b"{}"


async def test_while_connecting(client: Client) -> None:
    with silent_port() as port:
        origin = Origin.from_base_url(f"http://{HOST}:{port}", max_connections=1)
        call = begun(fetch(client, origin))
        await loop_turns()
        await cancel(call)
        with pytest.raises(ConnectTimeout):  # and not PoolExhausted
            await fetch(client, origin, deadlines=BRIEF)


@pytest.mark.parametrize("limit", ["caller", "deadline"])
async def test_in_the_tls_handshake(client: Client, limit: str) -> None:
    async with Provider(on_connect=[hang()]) as mute:
        origin = Origin.from_base_url(f"https://{HOST}:{mute.port}", tls=TlsOptions(verify=False))
        if limit == "caller":
            call = begun(fetch(client, origin))
            await (await mute.connected()).read()  # the client's hello
            await cancel(call)
        else:
            with pytest.raises(ConnectTimeout):
                await fetch(client, origin, deadlines=BRIEF)
        await (await mute.connected()).closed()


@pytest.mark.parametrize("limit", ["caller", "deadline"])
async def test_while_the_proxy_thinks(nothing_left: None, limit: str) -> None:
    async with Provider([hang()]) as proxy:
        client = Client(proxies=ProxySettings(Proxy(HOST, proxy.port)))
        origin = Origin.from_base_url("https://provider.example")
        if limit == "caller":
            call = begun(fetch(client, origin))
            await proxy.requested()
            await cancel(call)
        else:
            with pytest.raises(ConnectTimeout):
                await fetch(client, origin, deadlines=BRIEF)
        await (await proxy.connected()).closed()
        await client.close()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([hang()], id="before-the-head"),
        pytest.param([b"HTTP/1.1 200", hang()], id="within-the-head"),
        pytest.param([head(), hang()], id="before-the-body"),
        pytest.param([head(), chunk(b"a"), hang()], id="within-the-body"),
    ],
)
async def test_while_reading(client: Client, script: Script) -> None:
    async with Provider(script) as provider:
        origin = origin_of(provider, max_connections=1)
        call = begun(fetch(client, origin))
        await provider.requested()
        await loop_turns()
        await cancel(call)
        await provider.peers[0].closed()
        provider.answer = json_reply({})
        assert await fetch(client, origin) == b"{}"


async def test_while_a_large_body_is_being_sent(client: Client) -> None:
    async with Provider(on_connect=[read_head(), hang()]) as provider:
        origin = origin_of(provider, max_connections=1)
        call = begun(fetch(client, origin, bytes(32 * 2**20)))
        peer = await provider.connected()
        await loop_turns(100)
        await cancel(call)
        peer.start_reading()  # or it could not see anything
        await peer.closed()


READERS: dict[str, Callable[[Response], Coroutine[None, None, object]]] = {
    "next": lambda response: response.next(),
    "wait": lambda response: response.wait(9),
    "read": lambda response: response.read(LIMIT_BYTES),
}


@pytest.mark.parametrize("reader", READERS)
async def test_in_each_way_of_reading(client: Client, reader: str) -> None:
    async with Provider([head(), hang()]) as provider:
        response = await post(client, origin_of(provider))
        task = asyncio.create_task(READERS[reader](response))
        await loop_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await provider.peers[0].closed()
