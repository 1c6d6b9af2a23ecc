"""Every way in which a provider fails a call that reached it, each as its own fault."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream import http1
from runestone_sidecar.upstream.faults import (
    BodyTooLarge,
    FirstByteTimeout,
    IdleTimeout,
    LostBeforeHead,
    LostMidBody,
    Phase,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.origin import Deadlines
from runestone_testing.provider import (
    SSE,
    Provider,
    Script,
    chunk,
    chunked,
    close,
    drip,
    event,
    hang,
    head,
    json_reply,
    pause,
    reply,
    reset,
)
from runestone_testing.upstream import (
    LIMIT_BYTES,
    PATIENT,
    fetch,
    loop_turns,
    origin_of,
    post,
)

if TYPE_CHECKING:
    from runestone_sidecar.upstream.pool import Client

SOON_S = 0.15


def deadlines(
    *, first_byte_s: float = 10, idle_s: float = 10, total_s: float = 30, connect_s: float = 10
) -> Deadlines:
    return Deadlines(connect_s, first_byte_s, idle_s, total_s)


async def drained(client: Client, provider: Provider, limits: Deadlines = PATIENT) -> bytes:
    """Everything that `next` gives, and then its fault."""
    response = await post(client, origin_of(provider), deadlines=limits)
    got = b""
    try:
        while data := await response.next():
            got += data
    except UpstreamFault as fault:
        fault.add_note(repr(got))
        raise
    finally:
        response.close()
    return got


@pytest.mark.parametrize("end", [close(), reset()], ids=["fin", "rst"])
@pytest.mark.parametrize(
    "whole",
    [json_reply({"choices": [1, 2, 3]}), chunked(b"one", b"two", b"three")],
    ids=["sized", "chunked"],
)
async def test_truncated_anywhere_is_never_a_success(
    client: Client, whole: bytes, end: Script
) -> None:
    async with Provider() as provider:
        for at in range(len(whole)):
            provider.queue([whole[:at], end])  # type: ignore[list-item]
            with pytest.raises((LostBeforeHead, LostMidBody)) as caught:
                await fetch(client, origin_of(provider))
            assert caught.value.sent
        provider.queue(whole)
        assert await fetch(client, origin_of(provider))


async def test_lost_before_head_on_a_fresh_connection_is_not_stale(client: Client) -> None:
    async with Provider([close()]) as provider:
        with pytest.raises(LostBeforeHead) as caught:
            await fetch(client, origin_of(provider))
    assert not caught.value.stale


@pytest.mark.parametrize("end", [close(), reset()], ids=["fin", "rst"])
async def test_lost_keep_alive_connection_is_stale(client: Client, end: Script) -> None:
    async with Provider() as provider:
        provider.queue(json_reply({}), [end])  # type: ignore[list-item]
        await fetch(client, origin_of(provider))
        with pytest.raises(LostBeforeHead) as caught:
            await fetch(client, origin_of(provider))
        assert len(provider.peers) == 1
    assert caught.value.stale
    assert caught.value.sent


async def test_lost_long_after_it_was_asked_is_not_stale(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever worked on it for long has read it: to ask again would be billed twice."""
    monkeypatch.setattr(http1, "STALE_WITHIN_S", 0.0)
    async with Provider() as provider:
        provider.queue(json_reply({}), [close()])
        await fetch(client, origin_of(provider))
        with pytest.raises(LostBeforeHead) as caught:
            await fetch(client, origin_of(provider))
    assert not caught.value.stale


async def test_one_byte_of_an_answer_is_not_stale(client: Client) -> None:
    async with Provider() as provider:
        provider.queue(json_reply({}), [b"H", close()])
        await fetch(client, origin_of(provider))
        with pytest.raises(LostBeforeHead) as caught:
            await fetch(client, origin_of(provider))
    assert not caught.value.stale


async def test_connection_closed_while_idle_is_not_used_again(client: Client) -> None:
    async with Provider() as provider:
        provider.queue([json_reply({}), close()], json_reply({"second": True}))
        await fetch(client, origin_of(provider))
        await provider.peers[0].closed()
        await loop_turns()  # it is in our socket; now the loop has seen it too
        assert await fetch(client, origin_of(provider)) == b'{"second": true}'
        assert len(provider.peers) == 2


async def test_connection_that_speaks_while_idle_is_not_used_again(client: Client) -> None:
    async with Provider() as provider:
        provider.queue([json_reply({}), pause(0.01), reply(b"for somebody else")])
        provider.answer = json_reply({"second": True})
        await fetch(client, origin_of(provider))
        await provider.peers[0].closed()
        assert await fetch(client, origin_of(provider)) == b'{"second": true}'


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([hang()], id="nothing"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", hang()], id="half-a-head"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", hang()], id="interim-only"),
        pytest.param([drip(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 99, 0.01)], id="head-dripped"),
        pytest.param([head(), hang()], id="head-and-no-body"),
    ],
)
async def test_first_byte_timeout(client: Client, script: Script) -> None:
    limits = deadlines(first_byte_s=SOON_S)
    async with Provider(script) as provider:
        started_s = time.monotonic()
        with pytest.raises(FirstByteTimeout) as caught:
            await fetch(client, origin_of(provider), deadlines=limits)
        assert SOON_S - 0.01 <= time.monotonic() - started_s < SOON_S + 10
        assert caught.value.sent
        await (await provider.connected()).closed()


async def test_idle_timeout_after_what_came(client: Client) -> None:
    script: Script = [head(content_type=SSE), chunk(event({"n": 1})), hang()]
    async with Provider(script) as provider:
        started_s = time.monotonic()
        with pytest.raises(IdleTimeout) as caught:
            await drained(client, provider, deadlines(idle_s=SOON_S))
        assert SOON_S - 0.01 <= time.monotonic() - started_s < SOON_S + 10
        assert caught.value.phase is Phase.BODY
        assert 'data: {"n":1}' in caught.value.__notes__[0]
        await provider.peers[0].closed()


async def test_idle_limit_may_be_longer_than_first_byte_limit(client: Client) -> None:
    script: Script = [head(), chunk(b"a"), pause(2 * SOON_S), chunk(b"b") + b"0\r\n\r\n"]
    async with Provider(script) as provider:
        limits = deadlines(first_byte_s=SOON_S, idle_s=10)
        assert await drained(client, provider, limits) == b"ab"


async def test_first_byte_limit_may_be_longer_than_idle_limit(client: Client) -> None:
    script: Script = [head(), pause(2 * SOON_S), chunk(b"a") + b"0\r\n\r\n"]
    async with Provider(script) as provider:
        limits = deadlines(first_byte_s=10, idle_s=SOON_S)
        assert await drained(client, provider, limits) == b"a"


async def test_total_timeout_cuts_a_drip_that_is_never_idle(client: Client) -> None:
    script: Script = [head(), drip(chunk(b"x") * 1000, 0.01, size=6)]
    async with Provider(script) as provider:
        started_s = time.monotonic()
        with pytest.raises(TotalTimeout) as caught:
            await drained(client, provider, deadlines(idle_s=1, total_s=2 * SOON_S))
        assert 2 * SOON_S - 0.01 <= time.monotonic() - started_s < 2 * SOON_S + 10
        assert caught.value.phase is Phase.BODY
        assert caught.value.begun


async def test_total_timeout_after_a_head_alone(client: Client) -> None:
    async with Provider([head(), hang()]) as provider:
        with pytest.raises(TotalTimeout) as caught:
            await drained(client, provider, deadlines(total_s=SOON_S))
        assert caught.value.phase is Phase.BODY
        assert not caught.value.begun


async def test_slow_drip_within_the_limits_is_kept(client: Client) -> None:
    async with Provider([drip(chunked(b"slow", b"but", b"sure"), 0.002)]) as provider:
        assert await drained(client, provider, deadlines(idle_s=SOON_S)) == b"slowbutsure"


async def test_deadlines_of_one_call_do_not_reach_into_the_next(client: Client) -> None:
    async with Provider(json_reply({})) as provider:
        origin = origin_of(provider)
        await fetch(client, origin, deadlines=deadlines(first_byte_s=SOON_S, total_s=SOON_S))
        provider.answer = [pause(2 * SOON_S), json_reply({"slow": True})]
        assert await fetch(client, origin) == b'{"slow": true}'
        with pytest.raises(FirstByteTimeout):
            await fetch(client, origin, deadlines=deadlines(first_byte_s=SOON_S / 2))
        assert len(provider.peers) == 1  # so both rang on one connection's timer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(b"x" * 1001), id="said-beforehand"),
        pytest.param([head(), chunk(b"x" * 600), chunk(b"x" * 600), hang()], id="found-out"),
        pytest.param([head(headers=[("content-length", "99999")]), hang()], id="not-waited-for"),
    ],
)
async def test_body_over_the_limit(client: Client, answer: Script) -> None:
    async with Provider(answer) as provider:
        response = await post(client, origin_of(provider))
        with pytest.raises(BodyTooLarge) as caught:
            await response.read(1000)
        assert caught.value.limit_bytes == 1000


async def test_body_at_the_limit(client: Client) -> None:
    async with Provider(chunked(b"x" * 400, b"x" * 600)) as provider:
        response = await post(client, origin_of(provider))
        assert len(await response.read(1000)) == 1000


async def test_redirect_is_an_answer_and_is_not_followed(client: Client) -> None:
    async with Provider() as elsewhere, Provider() as provider:
        provider.answer = reply(b"", 302, [("location", elsewhere.url)])
        response = await post(client, origin_of(provider))
        assert response.status == 302
        await response.read(LIMIT_BYTES)
        assert elsewhere.peers == []


async def test_faults_name_no_secret(client: Client) -> None:
    async with Provider([close()]) as provider:
        with pytest.raises(UpstreamFault) as caught:
            await client.send(
                origin_of(provider),
                target=b"/v1?key=canary",
                headers=b"authorization: Bearer canary\r\n",
                body=b"canary",
                deadlines=PATIENT,
            )
    assert "canary" not in str(caught.value) + repr(caught.value)


async def test_two_hundred_calls_end_within_a_second_of_their_cancellation(client: Client) -> None:
    async with Provider([head(), chunk(b"x"), hang()]) as provider:
        origin = origin_of(provider, max_connections=200)

        async def call() -> None:
            response = await post(client, origin)
            while await response.next():
                pass

        calls = [asyncio.create_task(call()) for _ in range(200)]
        await provider.requested(200)
        cancelled_at = time.monotonic()
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for peer in provider.peers:
            await peer.closed()
            assert peer.closed_at is not None
            assert peer.closed_at - cancelled_at < 1
