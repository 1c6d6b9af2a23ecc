"""C13-C16, P9: a stream that is lost anywhere is never made to look whole, whatever was asked how.

For every pair of client API and provider dialect a stream is cut at many places (RUNESTONE_CUTS=1:
at every byte), by a reset and by a clean end.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import pytest

from runestone_testing import provider as scripts
from runestone_testing.pairs import PAIRS, Pair, slow
from runestone_testing.provider import SSE, chunk, head
from runestone_testing.stand import Stand, standing
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRIDE = int(os.environ.get("RUNESTONE_CUTS", "29"))
ENDS = {"C14-reset": scripts.reset, "C15-fin": scripts.close}


async def received(stand: Stand, pair: Pair) -> bytes:
    """All that a streaming client gets, head and framing too."""
    wire = await Wire.connect(stand.gateway.port)
    wire.send(pair.request(stream=True))
    data = await wire.closed()
    await wire.close()
    return data


def readable(said: bytes) -> bytes:
    """The events that a client can make anything of: ended, and JSON (or [DONE])."""
    _, _, rest = said.partition(b"\r\n\r\n")
    body = b""
    while rest:  # the last chunk may be a part of one
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    kept = []
    for event in body.split(b"\n\n")[:-1]:
        data = event.rpartition(b"data: ")[2]
        with suppress(ValueError):
            kept.append(
                event if data == b"[DONE]" else event[:0] + orjson.dumps(orjson.loads(data))
            )
            kept.append(event.partition(b"\n")[0])
    return b"\n".join(kept)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.timeout(900)
async def test_cut_anywhere(tmp_path: Path, pair: Pair, end: Callable[[], scripts.Action]) -> None:
    whole = pair.stream()
    start = len(head(content_type=SSE))
    finish_at = start + sum(len(chunk(event)) for event in pair.events()[: pair.finish() + 1])
    finish_at -= len(b"\n\n\r\n")  # its data is whole before the event is, and its chunk
    async with standing(tmp_path, config=pair.config) as stand:
        for cut in range(start, len(whole), STRIDE):
            stand.provider.answer = [whole[:cut], end()]
            said = await received(stand, pair)
            assert not pair.counted or b'"usage"' not in said, (cut, said)
            status = said.partition(b"\r\n")[0]
            if b" 200 " not in status:  # nothing had been sent on yet
                assert b" 502 " in status, (cut, said)
                continue
            rest = readable(said)
            if pair.api.whole in rest:  # only the last event's end, or the message's, was missing
                assert cut >= len(whole) - len(b"\n\n\r\n" + scripts.LAST_CHUNK), (cut, said)
                continue
            assert not said.endswith(b"0\r\n\r\n"), (cut, said)
            if any(told in rest for told in pair.api.finished):  # as the provider itself had said
                assert cut >= finish_at, (cut, said)
            elif b"error" not in rest:
                raise AssertionError((cut, said))
        assert len(stand.provider.requests) >= (len(whole) - start) // STRIDE
        stand.next_answer = pair.chat()


@pytest.mark.parametrize("pair", PAIRS.values(), ids=[f"C13-{name}" for name in PAIRS])
async def test_silence_within_a_stream(tmp_path: Path, pair: Pair) -> None:
    events = pair.events()
    script: scripts.Script = [
        head(content_type=SSE),
        b"".join(map(chunk, events[:3])),
        scripts.hang(),
    ]

    def config(*urls: str) -> object:
        return pair.config(*urls, timeouts=slow(150))

    async with standing(tmp_path, config=config, providers=2) as stand:  # type: ignore[arg-type]
        stand.provider.answer = script
        said = await received(stand, pair)
        assert b" 200 " in said.partition(b"\r\n")[0]
        assert pair.api.whole not in said
        assert not any(told in said for told in pair.api.finished)
        assert b"upstream_idle_timeout" in said or b"error" in said
        assert not said.endswith(b"0\r\n\r\n")
        assert stand.providers[1].requests == []  # nothing is tried again after the first byte
        stand.next_answer = pair.chat()


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b'data: {"cho', id="C16-within-an-object"),
        pytest.param("data: €".encode()[:-1], id="C16-within-a-character"),
        pytest.param(b"data: \xf0\x9f", id="C16-within-an-emoji"),
        pytest.param(b"da", id="C16-within-a-field-name"),
    ],
)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_tail_that_is_half_an_event(tmp_path: Path, pair: Pair, tail: bytes) -> None:
    events = pair.events()
    pieces = b"".join(map(chunk, [*events[:3], tail]))
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = head(content_type=SSE) + pieces + scripts.LAST_CHUNK
        said = await received(stand, pair)
        assert pair.api.whole not in said
        assert not any(told in said for told in pair.api.finished)
        assert not said.endswith(b"0\r\n\r\n")
        assert b"error" in said
        stand.next_answer = pair.chat()


@pytest.mark.parametrize("pair", PAIRS.values(), ids=[f"C15-whole-{name}" for name in PAIRS])
async def test_a_stream_that_is_whole_says_so(tmp_path: Path, pair: Pair) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = pair.stream()
        said = await received(stand, pair)
        assert pair.api.whole in said
        assert said.endswith(b"0\r\n\r\n")
        assert not pair.counted or b'"usage"' not in said
        for word in ("fünf", "Wörter", "sky"):
            assert word.encode() in said or json.dumps(word)[1:-1].encode() in said
        stand.next_answer = pair.chat()
