"""A13-A14, A16: clients that send a byte now and then, or nothing more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from runestone_testing import provider as scripts
from runestone_testing.gateway import raw_request
from runestone_testing.raw import BODY, CHUNKED, MODELS, POST, keyed
from runestone_testing.stand import FINE, Stand, standing

if TYPE_CHECKING:
    from pathlib import Path


SLOW_HEADS = [
    pytest.param(b"", b"", id="A13-before-the-first-byte"),
    pytest.param(b"\r\n", b"\r\n", id="A13-blank-lines"),
    pytest.param(b"G", b"", id="A13-in-the-method"),
    pytest.param(MODELS[:9], b"x", id="A13-in-the-url"),
    pytest.param(MODELS, b"x: y\r\n", id="A13-in-the-headers"),
]


@pytest.mark.parametrize(("start", "piece"), SLOW_HEADS)
async def test_a_head_that_drips_is_cut_at_the_deadline(
    tmp_path: Path, start: bytes, piece: bytes
) -> None:
    async with standing(tmp_path, header_timeout_s=0.2, idle_timeout_s=0.2) as stand:
        wire = await stand.connect()
        began_s = asyncio.get_running_loop().time()
        wire.send(start)
        ending = asyncio.create_task(wire.closed())
        while not ending.done():  # a byte now and then resets nothing
            wire.send(piece)
            await asyncio.wait([ending], timeout=0.02)
        assert asyncio.get_running_loop().time() - began_s < 10
        said = await ending
        if start.strip():
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request_timeout"' in said
        else:
            assert said == b""


async def test_A13_200_slow_heads_hold_up_nobody_and_end(tmp_path: Path) -> None:
    async with standing(tmp_path, header_timeout_s=0.5) as stand:
        wires = [await stand.connect() for _ in range(200)]
        for wire in wires:
            wire.send(MODELS)
        assert (await stand.chat()).status_code == 200
        for wire in wires:
            stand.refused(await wire.answer(), 408, "request_timeout")


SLOW_BODIES = [
    pytest.param(b"Content-Length: 100000\r\n", b"x", id="A14-sized"),
    pytest.param(CHUNKED, b"1\r\nx\r\n", id="A14-chunked"),
    pytest.param(b"Content-Length: 100000\r\n", b"", id="A14-silent"),
]


@pytest.mark.parametrize(("framing", "piece"), SLOW_BODIES)
async def test_a_body_that_drips_is_cut_at_the_deadline(
    tmp_path: Path, framing: bytes, piece: bytes
) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(keyed(POST + framing))
        answering = asyncio.create_task(wire.answer())
        while not answering.done():
            wire.send(piece)
            await asyncio.wait([answering], timeout=0.02)
        stand.refused(await answering, 408, "request_timeout")
        await wire.closed()
        assert [line["status"] for line in stand.lines()] == [408]


async def test_A14_a_body_that_comes_steadily_may_take_its_time(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        whole = BODY + b" " * 16 * 1024
        wire.send(keyed(POST + b"Content-Length: %d\r\n" % len(whole)))
        for at in range(0, len(whole), 512):  # 0.8 s, for what may take 1.2
            wire.send(whole[at : at + 512])
            await asyncio.sleep(0.025)
        assert (await wire.answer()).status == 200


async def test_A14_a_body_that_nobody_wants_any_more_drips_no_longer(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(POST + b"Content-Length: 100000\r\n\r\n")
        stand.refused(await wire.answer(), 401)
        closing = asyncio.create_task(wire.closed())
        while not closing.done():
            wire.send(b"x")
            await asyncio.wait([closing], timeout=0.02)
        assert await closing == b""


async def test_A16_a_client_that_asks_to_continue_and_falls_silent_is_cut(tmp_path: Path) -> None:
    async with standing(tmp_path, body_timeout_s=0.2) as stand:
        wire = await stand.connect()
        wire.send(keyed(POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n"))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        stand.refused(await wire.answer(), 408, "request_timeout")
        assert await wire.closed() == b""


async def test_A16_a_refusal_needs_no_body_to_continue(stand: Stand) -> None:
    wire = await stand.connect()
    wire.send(POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")


async def test_F7_a_slow_answer_is_no_slow_request(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with standing(tmp_path, header_timeout_s=0.1, body_timeout_s=0.1) as stand:
        stand.provider.answer = [scripts.until(go), FINE]
        wire = await stand.connect()
        whole = raw_request()
        wire.send(whole + whole[:10])
        await stand.provider.requested()
        await asyncio.sleep(0.3)
        go.set()
        assert (await wire.answer()).status == 200
        wire.send(whole[10:])
        assert (await wire.answer()).status == 200


async def test_A16_refused_before_its_body_is_asked_for(stand: Stand) -> None:
    """Its client sends none then, or all the same: nobody knows what comes next."""
    wire = await stand.connect()
    wire.send(POST + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
    answer = await wire.answer()
    stand.refused(answer, 401, "invalid_api_key")
    assert answer.headers["connection"] == "close"
    assert await wire.closed() == b""
