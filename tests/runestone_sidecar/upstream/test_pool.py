"""How connections are kept, bounded, handed on and given up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.faults import (
    BadResponse,
    ConnectFailed,
    ConnectTimeout,
    LostMidBody,
    Phase,
    PoolExhausted,
    ResolveFailed,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.origin import Deadlines, Origin
from runestone_sidecar.upstream.pool import Client, Pool
from runestone_sidecar.upstream.tunnel import ProxySettings
from runestone_testing.provider import (
    Provider,
    Request,
    Script,
    chunk,
    close,
    hang,
    head,
    json_reply,
    refusing_port,
    reply,
    reset,
    silent_port,
    until,
)
from runestone_testing.upstream import fetch, loop_turns, origin_of, post

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from runestone_sidecar.upstream.http1 import Connection

BRIEF = Deadlines(connect_s=0.15, first_byte_s=5, idle_s=5, total_s=30)


async def start(call: Coroutine[None, None, bytes]) -> asyncio.Task[bytes]:
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


async def test_connection_is_kept(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        for _ in range(5):
            await fetch(client, origin_of(provider))
        assert [peer.requests for peer in provider.peers] == [5]


async def test_last_used_connection_is_used_next(client: Client) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    def answer(request: Request) -> Script:
        return [until(gates[int(request.body)]), json_reply({})]

    async with Provider(answer) as provider:
        origin = origin_of(provider)
        calls = [await start(fetch(client, origin, b"%d" % n)) for n in range(3)]
        await provider.requested(3)
        for n in (2, 0, 1):
            gates[n].set()
            await calls[n]
        last = next(r.peer for r in provider.requests if r.body == b"1")
        await fetch(client, origin, b"1")
        assert provider.requests[-1].peer is last


async def test_no_more_than_max_idle_are_kept(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        origin = origin_of(provider, max_idle=2)
        await asyncio.gather(*(fetch(client, origin) for _ in range(6)))
        await loop_turns()
        assert len(provider.open_peers) == 2


async def test_idle_connections_expire_one_by_one(nothing_left: None) -> None:
    client = Client(proxies=ProxySettings(), idle_expiry_s=0.2)
    gate = asyncio.Event()
    async with Provider() as provider:
        provider.queue(json_reply({}), [until(gate), json_reply({})])
        origin = origin_of(provider)
        both = asyncio.gather(fetch(client, origin), fetch(client, origin))
        first, second = [(await provider.requested(n)).peer for n in (1, 2)]
        asyncio.get_running_loop().call_later(0.1, gate.set)
        await both
        assert first.is_open
        await first.closed()
        assert second.is_open
        await second.closed()
        provider.answer = json_reply({})
        assert await fetch(client, origin) == b"{}"
        await client.close()


async def test_connections_are_bounded_and_waiters_are_served_in_order(client: Client) -> None:
    order: list[bytes] = []

    def answer(request: Request) -> Script:
        order.append(request.body)
        return [chunk_gate, json_reply({})]

    gate = asyncio.Event()
    chunk_gate = until(gate)
    async with Provider(answer) as provider:
        origin = origin_of(provider, max_connections=2)
        calls = [await start(fetch(client, origin, b"%02d" % n)) for n in range(12)]
        await provider.requested(2)
        await loop_turns()
        assert len(provider.requests) == 2
        gate.set()
        await asyncio.gather(*calls)
        assert order == sorted(order)
        assert len(provider.peers) == 2


async def test_waiting_in_vain_for_a_place(client: Client) -> None:
    async with Provider([hang()]) as provider:
        origin = origin_of(provider, max_connections=1)
        holder = await start(fetch(client, origin))
        await provider.requested()
        with pytest.raises(PoolExhausted) as caught:
            await fetch(client, origin, deadlines=BRIEF)
        assert (caught.value.phase, caught.value.sent) == (Phase.QUEUE, False)
        with pytest.raises(TotalTimeout) as total:
            await fetch(client, origin, deadlines=Deadlines(5, 5, 5, 0.1))
        assert (total.value.phase, total.value.sent) == (Phase.QUEUE, False)
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)


async def test_time_in_the_queue_counts_towards_the_total(client: Client) -> None:
    gate = asyncio.Event()
    async with Provider([until(gate), json_reply({})]) as provider:
        origin = origin_of(provider, max_connections=1)
        holder = await start(fetch(client, origin))
        await provider.requested()
        late = await start(fetch(client, origin, deadlines=Deadlines(5, 5, 5, 0.4)))
        await asyncio.sleep(0.3)
        gate.set()
        await holder
        gate.clear()
        started = asyncio.get_running_loop().time()
        with pytest.raises(TotalTimeout) as caught:
            await late
        assert caught.value.phase is Phase.HEAD
        assert asyncio.get_running_loop().time() - started < 0.3


@pytest.mark.parametrize("end", [hang(), close(), reset()], ids=["cancelled", "fin", "rst"])
async def test_place_of_a_lost_connection_goes_to_who_waits(client: Client, end: Script) -> None:
    async with Provider() as provider:
        provider.queue([end])  # type: ignore[list-item]
        provider.answer = json_reply({})
        origin = origin_of(provider, max_connections=1)
        first = await start(fetch(client, origin))
        waiting = await start(fetch(client, origin))
        await provider.requested()
        await loop_turns()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await waiting == b"{}"


async def test_cancelled_waiters_lose_nobody_the_turn(client: Client) -> None:
    gate = asyncio.Event()
    async with Provider([until(gate), json_reply({})]) as provider:
        origin = origin_of(provider, max_connections=1)
        calls = [await start(fetch(client, origin)) for _ in range(5)]
        await provider.requested()
        calls[1].cancel()
        calls[3].cancel()
        await loop_turns()
        (pool,) = client._pools.values()
        assert len(pool._waiters) == 2
        gate.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [end == b"{}" for end in ends] == [True, False, True, False, True]


async def test_waiter_cancelled_with_a_connection_in_hand_passes_it_on(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        origin = origin_of(provider, max_connections=1)
        first = await post(client, origin)  # its body is here: the connection is idle
        (pool,) = client._pools.values()
        held = pool.take()
        assert held is not None
        unlucky = await start(fetch(client, origin))
        next_one = await start(fetch(client, origin))
        await asyncio.sleep(0)
        pool.release(held)  # given to `unlucky`, who does not know yet
        unlucky.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unlucky
        assert await next_one == b"{}"
        assert len(provider.peers) == 1
        first.close()


async def test_refused_connection(client: Client) -> None:
    with refusing_port() as port:
        origin = Origin.from_base_url(f"http://127.0.0.1:{port}", max_connections=1)
        for _ in range(3):
            with pytest.raises(ConnectFailed) as caught:
                await fetch(client, origin, deadlines=BRIEF)
            assert not caught.value.sent


async def test_unknown_name(client: Client) -> None:
    origin = Origin.from_base_url("http://no-such-host.invalid")
    with pytest.raises(ResolveFailed):
        await fetch(client, origin)


async def test_overlong_name(client: Client) -> None:
    origin = Origin.from_base_url(f"http://{'a' * 64}.example")
    with pytest.raises(ResolveFailed):
        await fetch(client, origin)


async def test_connect_timeout(client: Client) -> None:
    with silent_port() as port:
        origin = Origin.from_base_url(f"http://127.0.0.1:{port}", max_connections=1)
        for _ in range(2):  # the second would find no place if the first had kept its
            with pytest.raises(ConnectTimeout) as caught:
                await fetch(client, origin, deadlines=BRIEF)
            assert not caught.value.sent
        with pytest.raises(TotalTimeout) as total:
            await fetch(client, origin, deadlines=Deadlines(5, 5, 5, 0.1))
        assert (total.value.phase, total.value.sent) == (Phase.CONNECT, False)


async def test_provider_that_speaks_first(client: Client) -> None:
    async with Provider(on_connect=b"220 mail ready\r\n") as provider:
        origin = origin_of(provider, max_connections=1)
        for _ in range(3):  # seen before the request is written, or after: not kept in either case
            with pytest.raises((ConnectFailed, BadResponse)):
                await fetch(client, origin, deadlines=BRIEF)


async def test_connection_lost_as_soon_as_it_is_open(nothing_left: None) -> None:
    class Unlucky(Dialer):
        async def dial(self, origin: Origin) -> Connection:
            connection = await super().dial(origin)
            connection.close()
            return connection

    async with Provider() as provider:
        pool = Pool(origin_of(provider, max_connections=1), Unlucky(ProxySettings()), 1)
        for _ in range(2):
            with pytest.raises(ConnectFailed):
                await pool.acquire(pool.loop.time(), BRIEF)
        assert pool.is_empty


async def test_prune_closes_idle_and_lets_busy_ones_end(client: Client) -> None:
    gate = asyncio.Event()
    async with Provider() as gone, Provider(json_reply({})) as kept:
        gone.queue(json_reply({}), [head(), chunk(b"a"), until(gate), chunk(b"b") + b"0\r\n\r\n"])
        await asyncio.gather(fetch(client, origin_of(kept)), fetch(client, origin_of(gone)))
        busy = await post(client, origin_of(gone))
        gone.queue(json_reply({}))
        await fetch(client, origin_of(gone))
        idle = next(peer for peer in gone.peers if peer is not gone.requests[1].peer)
        client.prune([origin_of(kept)])
        await idle.closed()
        assert gone.requests[1].peer.is_open
        gate.set()
        assert await busy.read(10) == b"ab"
        await gone.requests[1].peer.closed()
        assert len(kept.open_peers) == 1


async def test_close_ends_calls_and_waiters(nothing_left: None) -> None:
    client = Client(proxies=ProxySettings())
    async with Provider([head(), chunk(b"a"), hang()]) as provider:
        origin = origin_of(provider, max_connections=1)
        reading = await start(fetch(client, origin))
        await provider.requested()
        waiting = await start(fetch(client, origin))
        await loop_turns()
        await client.close()
        with pytest.raises(LostMidBody):
            await reading
        with pytest.raises(PoolExhausted):
            await waiting
        await provider.peers[0].closed()


async def test_close_reaches_pruned_origins(nothing_left: None) -> None:
    client = Client(proxies=ProxySettings())
    async with Provider([head(), hang()]) as provider:
        await post(client, origin_of(provider))
        client.prune([])
        await client.close()
        await provider.peers[0].closed()


async def test_random_cancellations_leak_no_place(client: Client) -> None:
    """Many callers, few places, and a third of them give up at random moments."""
    rng = random.Random(7)
    bodies = [json_reply({}), [close()], [head(), chunk(b"x"), close()], [json_reply({}), close()]]
    together: Counter[str] = Counter()

    def answer(_: Request) -> Script:
        (pool,) = client._pools.values()
        alive = sum(not connection.closed for connection in pool.connections)
        together["most"] = max(together["most"], alive)
        return rng.choice(bodies)  # type: ignore[return-value]

    async with Provider(answer) as provider:
        origin = origin_of(provider, max_connections=5, max_idle=3)

        async def call() -> None:
            try:
                async with asyncio.timeout(rng.choice([None, None, rng.random() / 50])):
                    await fetch(client, origin)
            except (UpstreamFault, TimeoutError) as error:
                together[type(error).__name__] += 1

        for _ in range(8):
            await asyncio.gather(*(call() for _ in range(100)))
        assert together["most"] == 5
        assert together["TimeoutError"] > 20
        (pool,) = client._pools.values()
        assert pool._taken == len(pool._idle) <= 3
        assert not pool._waiters
        provider.answer = reply(b"well")
        assert await asyncio.gather(*(fetch(client, origin) for _ in range(20))) == [b"well"] * 20


async def test_other_bounds_are_another_pool(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        await fetch(client, origin_of(provider, max_connections=7))
        await fetch(client, origin_of(provider, max_connections=8))
        await fetch(client, origin_of(provider, max_connections=7))
        assert len(provider.peers) == 2
