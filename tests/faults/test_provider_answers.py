"""C12, C20-C22: a provider whose answer does not begin, is none, or is cut, asked in every API."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Timeouts
from runestone_testing import provider as scripts
from runestone_testing.heard import ask, check_cut, check_whole, refusal_of
from runestone_testing.pairs import PAIRS, Pair, slow
from runestone_testing.provider import SSE, chunk, head, json_reply, reply
from runestone_testing.stand import standing
from runestone_testing.trouble import (
    THRICE,
    WORDS,
    answering,
    check_that_another_answers,
    check_that_it_is_refused,
    every_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_contract.config import Config

# --- what is no answer


@every_pair
@pytest.mark.parametrize("begun", [False, True], ids=["C12-silence", "C12-head-and-silence"])
async def test_silence_before_the_first_byte(tmp_path: Path, pair: Pair, begun: bool) -> None:
    def config(*urls: str) -> Config:
        return pair.config(*urls, timeouts=slow(300))

    def silence(asked: scripts.Request) -> list[Any]:
        kind = SSE if asked.json().get("stream") else "application/json"
        return [head(content_type=kind), scripts.hang()] if begun else [scripts.hang()]

    async with standing(tmp_path, config=config, providers=2) as stand:
        stand.provider.answer = silence
        await check_that_another_answers(stand, pair, "first_byte_timeout")
        for peer in stand.provider.peers:
            await peer.closed()


@every_pair
@pytest.mark.parametrize("begun", [False, True], ids=["C12-silence", "C12-head-and-silence"])
async def test_silence_where_only_the_whole_is_bounded(
    tmp_path: Path, pair: Pair, begun: bool
) -> None:
    """Nobody set a limit for what is not streamed: a black hole is found out all the same."""
    limits = Timeouts(first_byte_ms=100, first_byte_unstreamed_ms=400, total_ms=400)

    def config(*urls: str) -> Config:
        return pair.config(*urls, timeouts=limits)

    async with standing(tmp_path, config=config, providers=2) as stand:
        start = head(content_type="application/json")
        stand.provider.answer = [start, scripts.hang()] if begun else [scripts.hang()]
        stand.providers[1].answer = answering(pair)
        stand.next_answer = pair.chat()
        heard = await ask(stand, pair, stream=False)
        check_whole(pair, heard, WORDS, stream=False)
        assert stand.lines()[-1]["tried"] == ["shop/pool/p0: total_timeout"]
        assert stand.gateway.parts.health.load.of("shop/pool/p0").score < 1


WRONG_KIND: dict[str, Callable[[Pair, bool], Any]] = {
    "C20-page": lambda *_: reply(b"<html>", content_type="text/html"),
    "C20-page-called-the-right-name": lambda _, stream: reply(
        b"<html>", content_type=SSE if stream else "application/json"
    ),
    "C20-the-other-form": lambda pair, stream: pair.whole() if stream else pair.stream(),
    "C20-nothing": lambda _, stream: reply(b"", content_type=SSE if stream else "application/json"),
    "C20-an-array": lambda *_: json_reply([]),
    "C20-an-empty-object": lambda *_: json_reply({}),
    "C20-null": lambda *_: json_reply(None),
    "C21-gzip": lambda pair, stream: compressed(pair, stream=stream),
    "C21-101": lambda *_: reply(b"", 101, [("upgrade", "websocket"), ("connection", "upgrade")]),
    "C21-204": lambda *_: head(204),
    "C21-205": lambda *_: reply(b"", 205),
    "C21-304": lambda *_: head(304),
    "C21-206": lambda pair, _: pair.whole().replace(b" 200 ", b" 206 ", 1),
    "C21-not-http": lambda *_: b"220 smtp.example ESMTP\r\n\r\n",
}
KINDS = {"C21-101": "bad_response", "C21-not-http": "bad_response"} | {
    f"C21-{status}": f"status_{status}" for status in (204, 205, 206, 304)
}


def compressed(pair: Pair, *, stream: bool) -> bytes:
    body = b"".join(pair.events()) if stream else pair.whole().partition(b"\r\n\r\n")[2]
    kind = SSE if stream else "application/json"
    return reply(gzip.compress(body), 200, [("content-encoding", "gzip")], content_type=kind)


@every_pair
@pytest.mark.parametrize("form", WRONG_KIND)
async def test_an_answer_of_the_wrong_kind(tmp_path: Path, pair: Pair, form: str) -> None:
    def wrong(asked: scripts.Request) -> Any:
        return WRONG_KIND[form](pair, asked.json().get("stream") is True)

    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        for provider in stand.providers:
            provider.answer = wrong
        await check_that_it_is_refused(stand, pair, 502)
        await check_that_another_answers(stand, pair, KINDS.get(form, "bad_reply"))


@every_pair
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids=lambda n: f"C21-{n}")
async def test_a_redirect_carries_nothing_elsewhere(
    tmp_path: Path, pair: Pair, status: int
) -> None:
    async with scripts.Provider(pair.whole()) as elsewhere:
        async with standing(tmp_path, config=pair.config) as stand:
            target = f"{elsewhere.url}/v1{pair.api.path}"
            stand.provider.answer = reply(b"", status, [("location", target)])
            await check_that_it_is_refused(stand, pair, 502)
            assert len(stand.provider.requests) == 2
            stand.next_answer = pair.chat()
        assert elsewhere.peers == []


@every_pair
async def test_C21_interim_answers_are_passed_over(tmp_path: Path, pair: Pair) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = lambda asked: interim + answering(pair)(asked)
        for stream in (False, True):
            heard = await ask(stand, pair, stream=stream)
            check_whole(pair, heard, WORDS, stream=stream)
            assert "link" not in heard.headers
        stand.next_answer = pair.chat()


@every_pair
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(b"garbage\r\n", id="C21-garbage-after-the-end"),
        pytest.param(json_reply({"choices": "not yours"}), id="C21-a-second-answer"),
    ],
)
async def test_what_follows_an_answer_is_nobodys(tmp_path: Path, pair: Pair, extra: bytes) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = lambda asked: answering(pair)(asked) + extra
        for stream in (False, True, False):
            heard = await ask(stand, pair, stream=stream)
            check_whole(pair, heard, WORDS, stream=stream)
        assert len(stand.provider.peers) == 3, "a connection with a foreign answer was used again"
        stand.next_answer = pair.chat()


@every_pair
async def test_C21_an_error_in_json_after_events_is_no_end(tmp_path: Path, pair: Pair) -> None:
    tail = b'{"error":{"message":"out of memory","type":"server_error"}}'
    begun = b"".join(map(chunk, [*pair.events()[:3], tail]))
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = head(content_type=SSE) + begun + scripts.LAST_CHUNK
        check_cut(pair, await ask(stand, pair, stream=True))
        stand.next_answer = pair.chat()


# --- kept connections, and who pays twice


@every_pair
async def test_C22_a_kept_connection_that_was_closed_costs_one_more_try(
    tmp_path: Path, pair: Pair
) -> None:
    def once_each(asked: scripts.Request) -> Any:
        return answering(pair)(asked) if asked.peer.requests == 1 else [scripts.close()]

    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        stand.provider.answer = once_each
        for stream in (False, True, True):
            heard = await ask(stand, pair, stream=stream)
            check_whole(pair, heard, WORDS, stream=stream)
        assert [peer.requests for peer in stand.provider.peers] == [2, 2, 1]
        assert stand.providers[1].requests == []
        stand.next_answer = pair.chat()


async def test_C22_nor_do_many_that_were_closed_cost_more(tmp_path: Path) -> None:
    """As when the provider's node was lost: nothing tells, until something is written."""
    pair, go = PAIRS["chat-openai"], asyncio.Event()
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = [scripts.until(go), pair.whole(WORDS)]
        asked = [asyncio.create_task(ask(stand, pair)) for _ in range(20)]
        await stand.provider.requested(20)
        go.set()
        await asyncio.gather(*asked)
        kept = set(map(id, stand.provider.open_peers))
        assert len(kept) == 20
        stand.provider.answer = lambda asked: (
            [scripts.reset()] if id(asked.peer) in kept else pair.whole(WORDS)
        )
        for _ in range(3):
            check_whole(pair, await ask(stand, pair), WORDS, stream=False)
        assert len(stand.provider.requests) == 20 + 1 + 3
        stand.next_answer = pair.chat()


@every_pair
async def test_C22_and_no_more_than_one(tmp_path: Path, pair: Pair) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = answering(pair)
        check_whole(pair, await ask(stand, pair), WORDS, stream=False)
        stand.provider.answer = [scripts.close()]
        refusal_of(pair, await ask(stand, pair), 502)
        assert len(stand.provider.requests) == 3
        stand.next_answer = pair.chat()


BEGUN = {
    "C22-one-byte": b"H",
    "C22-status-line": b"HTTP/1.1 200 OK\r\n",
    "C22-interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "C22-half-an-answer": None,
}


@every_pair
@pytest.mark.parametrize("end", [scripts.close, scripts.reset], ids=["fin", "reset"])
@pytest.mark.parametrize("form", BEGUN)
async def test_an_answer_that_began_is_not_asked_for_again_there(
    tmp_path: Path, pair: Pair, form: str, end: Callable[[], Any]
) -> None:
    """Whoever began to answer has done the work, and will want it paid."""

    def config(*urls: str) -> Config:
        return pair.config(*urls, retry=THRICE)

    def cut(asked: scripts.Request) -> list[Any]:
        begun = BEGUN[form]
        if begun is None and asked.json().get("stream"):  # a streamed one was not handed on yet
            begun = head(content_type=SSE)
        return [begun or pair.whole()[:-5], end()]

    async with standing(tmp_path, config=config, providers=2) as stand:
        first, other = stand.providers
        for answer in (answering(pair), cut):  # on a kept connection
            first.answer, other.answer = answer, answering(pair)
            for stream in (False, True):
                heard = await ask(stand, pair, stream=stream)
                check_whole(pair, heard, WORDS, stream=stream)
        assert (len(first.requests), len(other.requests)) == (4, 2)
        stand.next_answer = pair.chat()
