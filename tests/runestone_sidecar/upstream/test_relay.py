"""A body given out piece by piece as it comes, without its reader being woken for each."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import IdleTimeout, LostMidBody
from runestone_testing.provider import Provider, Script, chunk, hang, head, pause, reset
from runestone_testing.upstream import PATIENT, origin_of, post

if TYPE_CHECKING:
    from runestone_sidecar.upstream.pool import Client
    from runestone_sidecar.upstream.response import Response

PIECES = [b"%d;" % number for number in range(20)]
HASTY = dataclasses.replace(PATIENT, idle_s=3)
LAST: Script = [b"0\r\n\r\n"]


def paced() -> Script:
    return [head(), *(step for piece in PIECES for step in (chunk(piece), pause(0.002)))]


class Taker:
    """Takes `most` pieces, then has enough."""

    def __init__(self, most: int = 10**6) -> None:
        self.taken: list[bytes] = []
        self.tasks: set[asyncio.Task[object] | None] = set()
        self.most = most

    def __call__(self, data: bytes) -> bool:
        self.taken.append(data)
        self.tasks.add(asyncio.current_task())
        return len(self.taken) < self.most


async def rest_of(response: Response) -> bytes:
    parts = []
    while data := await response.next():
        parts.append(data)
    return b"".join(parts)


async def test_all_is_given_in_order_and_the_end_is_next(client: Client) -> None:
    taker = Taker()
    async with Provider([*paced(), *LAST]) as provider:
        response = await post(client, origin_of(provider))
        await response.relay(taker)
        assert await response.next() == b""
    assert b"".join(taker.taken) == b"".join(PIECES)
    assert len(taker.taken) > 5
    assert None in taker.tasks  # by the connection itself, in no task


async def test_what_is_there_already_is_given_at_once(client: Client) -> None:
    taker = Taker(1)
    async with Provider([head(), chunk(b"a"), hang()]) as provider:
        response = await post(client, origin_of(provider))
        assert await response.wait(30)
        await response.relay(taker)
        assert taker.taken == [b"a"]
        response.close()


@pytest.mark.parametrize("most", [1, 7], ids=["at-once", "in-the-middle"])
async def test_who_had_enough_loses_nothing(client: Client, most: int) -> None:
    taker = Taker(most)
    async with Provider([*paced(), *LAST]) as provider:
        response = await post(client, origin_of(provider))
        await response.relay(taker)
        assert len(taker.taken) == most
        assert b"".join(taker.taken) + await rest_of(response) == b"".join(PIECES)


async def test_what_the_taker_raises_is_raised(client: Client) -> None:
    def choosy(data: bytes) -> bool:
        if b"9" in data:
            raise ValueError(data)
        return True

    async with Provider([*paced(), hang()]) as provider:
        response = await post(client, origin_of(provider))
        with pytest.raises(ValueError, match="9"):
            await response.relay(choosy)
        response.close()
        await provider.peers[0].closed()


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        pytest.param(reset(), LostMidBody, id="reset"),
        pytest.param(hang(), IdleTimeout, id="silence"),
    ],
)
async def test_a_loss_comes_after_all_that_came(
    client: Client, end: object, fault: type[Exception]
) -> None:
    taker = Taker()
    async with Provider([*paced(), end]) as provider:  # type: ignore[list-item]
        response = await post(client, origin_of(provider), deadlines=HASTY)
        await response.relay(taker)
        assert b"".join(taker.taken) == b"".join(PIECES)
        with pytest.raises(fault):
            await response.next()


async def test_a_reader_that_is_cancelled_lets_go_of_the_provider(client: Client) -> None:
    taker = Taker()
    async with Provider([*paced(), hang()]) as provider:
        response = await post(client, origin_of(provider))
        relaying = asyncio.create_task(response.relay(taker))
        while not taker.taken:
            await asyncio.sleep(0)
        relaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relaying
        taken = len(taker.taken)
        await provider.peers[0].closed()
        assert len(taker.taken) == taken
