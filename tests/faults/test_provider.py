"""C1-C4, C9-C12, C20-C22: a provider in trouble before its answer began, asked in every API.

What the client gets is another provider's answer, or one refusal in its own API's words.
"""

from __future__ import annotations

import asyncio
import gzip
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Retry, Timeouts, Tls
from runestone_sidecar.upstream import dial
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.authority import Authority
from runestone_testing.heard import ask, check_cut, check_whole, refusal_of
from runestone_testing.pairs import PAIRS, Pair, slow
from runestone_testing.provider import SSE, chunk, head, json_reply, reply
from runestone_testing.stand import Stand, standing

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from runestone_contract.config import Config
    from runestone_testing.peer import Peer

WORDS = "another one answers"
SECRET_DETAIL = "internal-host-17"
TWICE = Retry(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=2)
THRICE = Retry(max_attempts=3, initial_backoff_ms=1, max_backoff_ms=2)
HURRY = Timeouts(connect_ms=300)

every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def answering(pair: Pair, text: str = WORDS) -> Callable[[scripts.Request], bytes]:
    return lambda asked: pair.stream(text) if asked.json().get("stream") else pair.whole(text)


async def check_that_another_answers(stand: Stand, pair: Pair, failed: str) -> None:
    """Plain and streamed; the last provider is the other."""
    stand.providers[-1].answer = answering(pair)
    stand.next_answer = pair.chat()
    for stream in (False, True):
        heard = await ask(stand, pair, stream=stream)
        check_whole(pair, heard, WORDS, stream=stream)
        assert stand.lines()[-1]["tried"] == [f"shop/pool/p0: {failed}"]


async def check_that_it_is_refused(stand: Stand, pair: Pair, status: int) -> None:
    for stream in (False, True):
        heard = await ask(stand, pair, stream=stream)
        error = refusal_of(pair, heard, status)
        code = "upstream_timeout" if status == 504 else "upstream_error"
        assert error.get("code", code) == code  # Anthropic's envelope has none
        assert heard.headers["x-should-retry"] == "false"  # it was tried as often as it is worth
        assert SECRET_DETAIL not in heard.body.decode()
        others = {each.partition(": ")[0] for each in stand.lines()[-1]["tried"]}
        assert ("No other provider" in error["message"]) is (len(others) > 1)


# --- nobody is there


@contextmanager
def refusing() -> Iterator[str]:
    with scripts.refusing_port() as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    with scripts.silent_port() as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def nameless() -> Iterator[str]:
    yield "http://provider.invalid"


NOWHERE = [
    pytest.param(refusing, "connect_failed", 502, id="C1-refused"),
    pytest.param(silent, "connect_timeout", 504, id="C2-no-answer-to-syn"),
    pytest.param(nameless, "resolve_failed", 502, id="C3-no-such-name"),
]


@every_pair
@pytest.mark.parametrize(("where", "kind", "status"), NOWHERE)
async def test_nobody_there(
    tmp_path: Path,
    where: Callable[[], AbstractContextManager[str]],
    kind: str,
    status: int,
    pair: Pair,
) -> None:
    with where() as url:
        there = f"{url}/v1"

        def with_another(other: str) -> Config:
            return pair.config(there, other, timeouts=HURRY)

        def alone(_: str) -> Config:
            return pair.config(there, timeouts=HURRY)

        async with standing(tmp_path / "both", config=with_another) as stand:
            await check_that_another_answers(stand, pair, kind)
        async with standing(tmp_path / "alone", config=alone) as stand:
            await check_that_it_is_refused(stand, pair, status)
            stand.next_status = status


async def test_C3_a_name_that_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept connections serve while it is gone; then others; and it itself once it is back."""
    pair, known, real = PAIRS["chat-openai"], True, dial._tcp

    async def resolving(protocol: Any, host: str, port: int) -> Any:
        is_first = port == stand.provider.port
        return await real(protocol, host if known or not is_first else "provider.invalid", port)

    monkeypatch.setattr(dial, "_tcp", resolving)
    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        for provider in stand.providers:
            provider.answer = answering(pair)

        async def served_by() -> str:
            heard = await ask(stand, pair)
            check_whole(pair, heard, WORDS, stream=False)
            return heard.headers["x-runestone-provider"].rpartition("/")[2]

        assert await served_by() == "p0"
        known = False
        assert await served_by() == "p0", "its connection was there"
        for peer in stand.provider.open_peers:
            peer.close()
            await peer.closed()
        for _ in range(3):
            assert await served_by() == "p1"
        known = True
        assert await served_by() == "p0"


# --- somebody else is there


AUTHORITY = Authority()


async def half_a_handshake(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"\x16\x03\x03\x00\x7a\x02\x00")
    peer.close()


async def no_tls(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.close()


IMPOSTORS = [
    pytest.param(AUTHORITY.server_context(expired=True), None, "tls_not_verified", id="C4-expired"),
    pytest.param(
        AUTHORITY.server_context("other.example"), None, "tls_not_verified", id="C4-wrong-host"
    ),
    pytest.param(Authority().self_signed_context(), None, "tls_not_verified", id="C4-self-signed"),
    pytest.param(Authority().server_context(), None, "tls_not_verified", id="C4-unknown-issuer"),
    pytest.param(None, half_a_handshake, "tls_failed", id="C4-cut-handshake"),
    pytest.param(None, no_tls, "tls_failed", id="C4-no-tls"),
]
CA = {"cred-a": bundles.PROVIDER_KEY, "ca": AUTHORITY.pem.decode()}


@every_pair
@pytest.mark.parametrize(("context", "instead", "kind"), IMPOSTORS)
async def test_an_impostor_never_sees_the_key(
    tmp_path: Path,
    context: ssl.SSLContext | None,
    instead: Callable[[Peer], Any] | None,
    kind: str,
    pair: Pair,
) -> None:
    impostor = scripts.Provider(pair.whole(), on_connect=[instead] if instead else (), tls=context)
    async with impostor:
        there = f"https://localhost:{impostor.port}/v1"

        def config(other: str) -> Config:
            return pair.config(there, other, tls=Tls(ca="ca"))

        async with standing(tmp_path, config=config, credentials=CA) as stand:
            stand.provider.answer = told(pair, 500)
            await check_that_it_is_refused(stand, pair, 502)
            await check_that_another_answers(stand, pair, kind)
            for peer in impostor.peers:
                await peer.closed()
        assert impostor.requests == []
        assert bool(impostor.peers) is (context is None)  # with TLS there is none but who got in


async def test_C4_who_it_should_be_gets_the_request(tmp_path: Path) -> None:
    """Or the tests above would show nothing."""
    pair = PAIRS["chat-openai"]
    async with scripts.Provider(pair.whole(WORDS), tls=AUTHORITY.server_context()) as provider:

        def config(_: str) -> Config:
            return pair.config(f"{provider.url}/v1", tls=Tls(ca="ca"))

        async with standing(tmp_path, config=config, credentials=CA) as stand:
            stand.providers.append(provider)
            check_whole(pair, await ask(stand, pair), WORDS, stream=False)
            stand.next_answer = pair.chat()
        assert provider.requests[0].header("authorization") == f"Bearer {bundles.PROVIDER_KEY}"


# --- refusals


def told(pair: Pair, status: int, message: str = SECRET_DETAIL) -> bytes:
    """An error in the provider's own words."""
    error: dict[str, Any] = {"message": message, "type": "invalid_request_error"}
    if pair.dialect == "Anthropic":
        return json_reply({"type": "error", "error": error}, status=status)
    return json_reply({"error": error | {"param": "temperature", "code": "odd"}}, status=status)


@every_pair
async def test_C9_a_500_and_then_an_answer_is_one_200(tmp_path: Path, pair: Pair) -> None:
    def config(*urls: str) -> Config:
        return pair.config(*urls, retry=TWICE)

    async with standing(tmp_path, config=config) as stand:
        stand.provider.answer = answering(pair)
        for stream in (False, True):
            stand.provider.queue(told(pair, 500))
            heard = await ask(stand, pair, stream=stream)
            check_whole(pair, heard, WORDS, stream=stream)
            assert heard.headers["x-runestone-attempts"] == "2"
        assert len(stand.provider.requests) == 4
        assert [line["status"] for line in stand.lines()] == [200, 200]
        stand.next_answer = pair.chat()


@every_pair
@pytest.mark.parametrize("status", [401, 403], ids=["C10-401", "C10-403"])
async def test_a_refused_key_is_ours_to_mend(tmp_path: Path, pair: Pair, status: int) -> None:
    async with standing(tmp_path, config=pair.config) as stand:
        stand.provider.answer = told(pair, status, f"{SECRET_DETAIL} {bundles.PROVIDER_KEY}")
        for _ in range(3):
            await check_that_it_is_refused(stand, pair, 502)
        assert len(stand.provider.requests) == 6
        warnings = [line for line in stand.outputs.logged().split("\n") if " WARNING " in line]
        assert len(warnings) == 1, warnings  # an alarm, not a flood
        assert f"{status}: " in warnings[0]
        assert 'reason="refused"' in (await stand.health("/metrics")).text
        stand.next_answer = pair.chat()


@every_pair
@pytest.mark.parametrize("status", [400, 404, 422], ids=["C11-400", "C11-404", "C11-422"])
async def test_a_refused_request_is_handed_on(tmp_path: Path, pair: Pair, status: int) -> None:
    def config(*urls: str) -> Config:
        return pair.config(*urls, retry=TWICE)

    async with standing(tmp_path, config=config, providers=2) as stand:
        stand.provider.answer = told(pair, status, "temperature: much too hot")
        for stream in (False, True):
            heard = await ask(stand, pair, stream=stream)
            error = refusal_of(pair, heard, status)
            assert "much too hot" in error["message"]
            if pair.api.path != "/messages" and pair.dialect == "OpenAI":
                assert (error["code"], error["param"]) == ("odd", "temperature")
            assert "x-should-retry" not in heard.headers
        assert len(stand.provider.requests) == 2
        assert stand.providers[1].requests == []
        stand.next_answer = pair.chat()


ODD_BODIES = [
    pytest.param(reply(b"", 400), id="C21-empty"),
    pytest.param(
        reply(f"<h1>{SECRET_DETAIL}".encode(), 400, content_type="text/html"), id="C21-page"
    ),
    pytest.param(
        reply(
            gzip.compress(b'{"error":{"message":"internal-host-17"}}'),
            400,
            [("content-encoding", "gzip")],
            content_type="application/json",
        ),
        id="C21-gzip",
    ),
    pytest.param(reply(b"[" * 100_000, 400, content_type="application/json"), id="C21-deep"),
    pytest.param(reply(b"x" * 600_000, 400, content_type="application/json"), id="C21-large"),
    pytest.param([told(PAIRS["chat-openai"], 400)[:-9], scripts.close()], id="C21-cut"),
]


@every_pair
@pytest.mark.parametrize("answer", ODD_BODIES)
async def test_a_refusal_without_sense_is_told_by_its_status(
    tmp_path: Path, pair: Pair, answer: Any
) -> None:
    async with standing(tmp_path, config=pair.config, providers=2) as stand:
        stand.provider.answer = answer
        heard = await ask(stand, pair)
        error = refusal_of(pair, heard, 400)
        assert SECRET_DETAIL not in heard.body.decode()
        assert error["message"] == "The provider answered 400 without saying why."
        assert stand.providers[1].requests == []
        stand.next_answer = pair.chat()


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
            await peer.closed(within_s=1)


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
