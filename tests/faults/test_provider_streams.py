"""C17-C19: event streams in every spelling, without an end to a line, and drop by drop."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Timeouts
from runestone_sidecar.pipeline import execute
from runestone_sidecar.upstream.http1 import READ_HIGH_BYTES
from runestone_sidecar.upstream.response import Response
from runestone_sidecar.upstream.sse import MAX_EVENT_BYTES, MAX_LINE_BYTES
from runestone_testing import provider as scripts
from runestone_testing.heard import ask, check_cut, check_whole, refusal_of
from runestone_testing.pairs import PAIRS, WORDS, Pair
from runestone_testing.provider import SSE, chunk, head
from runestone_testing.stand import standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_contract.config import Config

SAME_DIALECT = {
    "chat-openai",
    "chat-openai-counted",
    "messages-anthropic",
    "responses-openai",
    "completions-openai",
}
MIB = 1 << 20
KERNEL_BYTES = 8 * MIB  # what the sockets on the way may hold, at the most

every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def passes(pair: Pair) -> bool:
    """Whether the provider's bytes are the client's, but for the usage that we asked for."""
    return any(PAIRS[name] is pair for name in SAME_DIALECT)


# --- C17


def over_lines(event: bytes) -> bytes:
    """Its JSON on several lines, each with a field of its own."""
    start, _, data = event.removesuffix(b"\n\n").rpartition(b"data: ")
    if data == b"[DONE]":
        return event
    lines = json.dumps(json.loads(data), indent=1).encode().split(b"\n")
    return start + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def commented(event: bytes) -> bytes:
    return b": a comment\n:\n\n: OPENROUTER PROCESSING\nid: 7\nretry: 10\nunknown\n" + event


SPELLINGS: dict[str, Callable[[list[bytes]], bytes]] = {
    "C17-lf": b"".join,
    "C17-cr": lambda events: b"".join(events).replace(b"\n", b"\r"),
    "C17-crlf": lambda events: b"".join(events).replace(b"\n", b"\r\n"),
    "C17-mixed": lambda events: b"".join(
        event.replace(b"\n", (b"\r", b"\n", b"\r\n")[number % 3])
        for number, event in enumerate(events)
    ),
    "C17-bom": lambda events: b"\xef\xbb\xbf" + b"".join(events),
    "C17-comments": lambda events: b"".join(map(commented, events)),
    "C17-data-on-many-lines": lambda events: b"".join(map(over_lines, events)),
    "C17-no-blank-after-the-colon": lambda events: (
        b"".join(events)
        .replace(b": {", b":{", 0)
        .replace(b"data: ", b"data:")
        .replace(b"event: ", b"event:")
    ),
    "C17-no-last-blank-line": lambda events: b"".join(events).removesuffix(b"\n"),
    "C17-no-last-line-end": lambda events: b"".join(events).removesuffix(b"\n\n"),
    "C17-blank-lines-between": lambda events: b"\n\n\n" + b"\n\n".join(events),
}
CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "at-once": lambda data: [data],
    "byte-by-byte": lambda data: [data[at : at + 1] for at in range(len(data))],
    "anywhere": lambda data: at_random(data, seed=20261123),
}


def at_random(data: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    places = sorted(rng.sample(range(1, len(data)), 30))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@every_pair
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_every_spelling_is_understood(tmp_path: Path, pair: Pair, spelling: str) -> None:
    data = SPELLINGS[spelling](pair.events())
    async with standing(tmp_path, config=pair.config) as stand:
        for name, cut in CUTS.items():
            pieces = b"".join(map(chunk, cut(data)))
            stand.provider.answer = head(content_type=SSE) + pieces + scripts.LAST_CHUNK
            heard = await ask(stand, pair, stream=True)
            assert heard.status == 200, (name, heard)
            assert heard.is_whole, (name, heard)
            if pair.counted:
                assert b'"usage"' not in heard.body, name
                assert heard.body.startswith(data[: data.index(b'"usage"') - 100]), name
            elif passes(pair):
                assert heard.body == data, name
            else:
                check_whole(pair, heard, WORDS, stream=True)
            if b"output_tokens" in data or pair.counted:  # else the provider counts nothing
                assert stand.lines()[-1]["output_tokens"] == 5, name
        stand.next_answer = pair.chat()


# --- C18


def endless(pair: Pair, start: bytes, filler: bytes) -> Callable[[scripts.Request], Any]:
    """Some whole events, then what never ends."""
    script = [head(content_type=SSE), *map(chunk, pair.events()[:4]), chunk(start)]
    return lambda _: [*script, *flood(filler, 200 * MIB)]


def flood(filler: bytes, size_bytes: int) -> list[Any]:
    """So much, if anybody takes it. (A pause lets the provider see that nobody does.)"""
    piece = chunk(filler * (64 * 1024 // len(filler)))
    return [*[piece, scripts.pause(0)] * (size_bytes // len(piece)), scripts.hang()]


class Held:
    """The most that a request's answer had buffered on its way, of what came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = 0
        feed = Response.feed

        def watched(response: Response, piece: bytes) -> None:
            feed(response, piece)
            self.most_bytes = max(self.most_bytes, response.buffered_bytes)

        monkeypatch.setattr(Response, "feed", watched)


ENDLESS = [
    pytest.param(b"data: ", b"x", MAX_LINE_BYTES, id="C18-data"),
    pytest.param(b'data: {"choices":[{"delta":{"content":"', b"y", MAX_LINE_BYTES, id="C18-json"),
    pytest.param(b": ", b"z", MAX_LINE_BYTES, id="C18-comment"),
    pytest.param(b"data: 1\n", b"data: 22222222222222222222222\n", MAX_EVENT_BYTES, id="C18-lines"),
]


@every_pair
@pytest.mark.parametrize(("start", "filler", "bound_bytes"), ENDLESS)
async def test_an_endless_event_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pair: Pair,
    start: bytes,
    filler: bytes,
    bound_bytes: int,
) -> None:
    held = Held(monkeypatch)
    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        stand.provider.answer = endless(pair, start, filler)
        heard = await ask(stand, pair, stream=True)
        error = check_cut(pair, heard)
        assert error["message"] == "The provider's stream was lost before it was whole."
        (peer,) = stand.provider.peers
        await peer.closed()
        assert bound_bytes < peer.sent_bytes < 2 * bound_bytes + KERNEL_BYTES
        assert held.most_bytes <= 5 * READ_HIGH_BYTES
        assert stand.providers[1].requests == []
        assert stand.lines()[-1]["interrupted"] == "bad_reply"
        stand.next_answer = pair.chat()


@every_pair
async def test_C18_an_endless_first_line_is_no_answer(tmp_path: Path, pair: Pair) -> None:
    """Where nothing can be handed on of it, another provider may still be asked."""
    line = [chunk(b"data: "), *flood(b"x", 25 * MIB)]
    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        stand.provider.answer = [head(content_type=SSE), *line]
        stand.providers[1].answer = pair.stream()
        heard = await ask(stand, pair, stream=True)
        if passes(pair):
            check_cut(pair, heard)
        else:
            check_whole(pair, heard, WORDS, stream=True)
            assert heard.headers["x-runestone-attempts"] == "2"
        stand.next_answer = pair.chat()


@every_pair
async def test_C18_an_endless_whole_answer_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    monkeypatch.setattr(execute, "MAX_REPLY_BYTES", MIB)
    async with standing(tmp_path, config=pair.config) as stand:
        start = head(content_type="application/json") + chunk(b'{"x":"')
        stand.provider.answer = [start, *flood(b"y", 25 * MIB)]
        refusal_of(pair, await ask(stand, pair), 502)
        (peer,) = stand.provider.peers
        await peer.closed()
        assert peer.sent_bytes < 2 * MIB + KERNEL_BYTES
        stand.next_answer = pair.chat()


# --- C19


IDLE_MS = 400


def dripping(pair: Pair, *, stream: bool, for_s: float) -> list[Any]:
    """The answer drop by drop, for so long: many times what silence may last would be too slow."""
    answer = pair.stream() if stream else pair.whole()
    size = 8
    return [scripts.drip(answer, for_s * size / len(answer), size)]


@every_pair
@pytest.mark.parametrize("stream", [False, True], ids=["C19-whole", "C19-streamed"])
async def test_a_drip_is_kept(tmp_path: Path, pair: Pair, stream: bool) -> None:
    def config(*urls: str) -> Config:
        return pair.config(*urls, timeouts=Timeouts(first_byte_ms=IDLE_MS, idle_ms=IDLE_MS))

    async with standing(tmp_path, config=config) as stand:
        stand.provider.answer = dripping(pair, stream=stream, for_s=2.5 * IDLE_MS / 1000)
        heard = await ask(stand, pair, stream=stream)
        check_whole(pair, heard, WORDS, stream=stream)
        assert stand.lines()[-1]["duration_ms"] > 2 * IDLE_MS
        stand.next_answer = pair.chat()


@every_pair
async def test_C19_but_not_past_the_whole_calls_limit(tmp_path: Path, pair: Pair) -> None:
    total_ms = 600

    def config(*urls: str) -> Config:
        return pair.config(*urls, timeouts=Timeouts(total_ms=total_ms))

    async with standing(tmp_path, config=config, providers=2) as stand:
        begun, rest = pair.events()[:5], b"".join(map(chunk, pair.events()[5:]))
        stand.provider.answer = [
            head(content_type=SSE) + b"".join(map(chunk, begun)),
            scripts.drip(rest, 20 / len(rest)),
        ]
        heard = await ask(stand, pair, stream=True)
        check_cut(pair, heard)
        line = stand.lines()[-1]
        assert line["interrupted"] == "total_timeout"
        assert total_ms - 5 <= line["duration_ms"] < total_ms + 2000
        assert stand.providers[1].requests == []
        stand.next_answer = pair.chat()
