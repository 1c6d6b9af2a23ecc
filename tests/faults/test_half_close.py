"""F4: clients that close their sending half, in every API, to wait for their answer or to go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.edge.half_close import SILENT_S
from runestone_testing import provider as scripts
from runestone_testing.heard import check_whole, understood
from runestone_testing.pairs import PAIRS, WORDS, Pair
from runestone_testing.provider import SSE, chunk, head
from runestone_testing.stand import Stand, standing

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.wire import Wire

every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
NATIVE = ["chat-openai", "messages-anthropic", "responses-openai", "completions-openai"]
EVENTS = 3  # said before the client closes its sending half
HEAD = head(content_type=SSE)


@every_pair
@pytest.mark.parametrize("stream", [False, True], ids=["F4-whole", "F4-streamed"])
async def test_a_client_that_closes_its_sending_half_is_answered(
    tmp_path: Path, pair: Pair, stream: bool
) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        go = asyncio.Event()
        stand.provider.answer = [scripts.until(go), pair.stream() if stream else pair.whole()]
        wire = await stand.connect()
        wire.send(pair.request(stream=stream))
        wire.writer.write_eof()
        await stand.provider.requested()
        interim = await wire.reader.readuntil(b"\r\n\r\n")
        assert interim.startswith(b"HTTP/1.1 102 ")
        go.set()
        said = await wire.closed()
        while said.startswith(b"HTTP/1.1 1"):
            said = said.partition(b"\r\n\r\n")[2]
        heard = understood(said)
        check_whole(pair, heard, WORDS, stream=stream)
        assert stand.lines()[0]["status"] == 200
        stand.next_answer = pair.chat()


async def half_closed(stand: Stand, pair: Pair, script: list[Any]) -> Wire:
    """A client of a stream, which it has begun to read, that sends no more."""
    stand.provider.answer = script
    wire = await stand.connect()
    wire.send(pair.request(stream=True))
    peer = (await stand.provider.requested()).peer
    while peer.sent_bytes < len(script[0]):
        await asyncio.sleep(0)
    await wire.reader.readuntil(b"\r\n\r\n")
    wire.writer.write_eof()
    return wire


@every_pair
async def test_F4_within_a_stream(tmp_path: Path, pair: Pair) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        go = asyncio.Event()
        said = [*map(chunk, pair.events())]
        begun, rest = b"".join(said[:EVENTS]), b"".join(said[EVENTS:])
        script = [HEAD + begun, scripts.until(go), rest + scripts.LAST_CHUNK]
        wire = await half_closed(stand, pair, script)
        before = await wire.reader.readuntil(b": ping\n\n\r\n")
        go.set()
        heard = understood(HEAD + before + await wire.closed())
        check_whole(pair, heard, WORDS, stream=True)
        assert stand.lines()[0]["status"] == 200
        stand.next_answer = pair.chat()


@pytest.mark.parametrize("pair", [PAIRS[name] for name in NATIVE], ids=NATIVE)
async def test_F4_within_an_event(tmp_path: Path, pair: Pair) -> None:
    """No comment can stand there; that the event goes on, and is taken, tells."""
    async with standing(tmp_path, config=pair.config) as stand:
        first, second, *rest = pair.events()
        pieces = [second[at : at + 4] for at in range(0, len(second), 4)]
        slowly = [step for piece in pieces[1:] for step in (scripts.pause(0.05), chunk(piece))]
        begun = HEAD + chunk(first) + chunk(pieces[0])
        script = [begun, *slowly, b"".join(map(chunk, rest)) + scripts.LAST_CHUNK]
        wire = await half_closed(stand, pair, script)
        heard = understood(HEAD + await wire.closed(within_s=30))
        check_whole(pair, heard, WORDS, stream=True)
        assert len(pieces) * 0.05 > SILENT_S
        assert stand.lines()[0]["status"] == 200
        stand.next_answer = pair.chat()


@every_pair
async def test_F4_and_leaves_later(tmp_path: Path, pair: Pair) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        begun = b"".join(map(chunk, pair.events()[:EVENTS]))
        wire = await half_closed(stand, pair, [HEAD + begun, scripts.hang()])
        await wire.reader.readuntil(b": ping\n\n\r\n")
        await wire.close()
        await stand.provider.requests[0].peer.closed(within_s=30)
        assert stand.lines()[0]["status"] == 499
        stand.next_answer = pair.chat()
