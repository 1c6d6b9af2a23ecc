"""C1-C4, C9-C11: a provider that is not there, is not itself, or refuses, asked in every API.

What the client gets is another provider's answer, or one refusal in its own API's words.
"""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Tls
from runestone_sidecar.upstream import dial
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.authority import Authority
from runestone_testing.heard import ask, check_whole, refusal_of
from runestone_testing.pairs import PAIRS, Pair
from runestone_testing.provider import json_reply, reply
from runestone_testing.stand import standing
from runestone_testing.trouble import (
    HURRY,
    SECRET_DETAIL,
    TWICE,
    WORDS,
    answering,
    check_that_another_answers,
    check_that_it_is_refused,
    every_pair,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from runestone_contract.config import Config
    from runestone_testing.peer import Peer

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
