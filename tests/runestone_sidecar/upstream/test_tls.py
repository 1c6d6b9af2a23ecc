"""TLS to a provider: who is believed, and that nobody else ever sees a byte of the request."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.upstream.faults import (
    ConnectTimeout,
    LostBeforeHead,
    LostMidBody,
    TlsFailed,
    TlsNotVerified,
)
from runestone_sidecar.upstream.origin import Deadlines, Origin, TlsOptions
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.tls import (
    MAX_CONTEXTS,
    BadAuthorities,
    Contexts,
    build_context,
)
from runestone_sidecar.upstream.tunnel import ProxySettings
from runestone_testing.authority import Authority
from runestone_testing.provider import (
    HOST,
    Action,
    Provider,
    Script,
    chunk,
    close,
    hang,
    head,
    json_reply,
    pause,
    reply,
    reset,
)
from runestone_testing.upstream import LIMIT_BYTES, fetch, loop_turns, origin_of, post

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_testing.peer import Peer

SECRET = b"the-provider-key"
MIB = 2**20


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority()


@pytest.fixture
def trust(authority: Authority) -> TlsOptions:
    return TlsOptions(ca_pem=authority.pem)


async def test_custom_authority(client: Client, authority: Authority, trust: TlsOptions) -> None:
    async with Provider(json_reply({}), tls=authority.server_context()) as provider:
        for _ in range(3):
            assert await fetch(client, origin_of(provider, tls=trust)) == b"{}"
        assert [peer.requests for peer in provider.peers] == [3]


async def test_one_of_several_authorities(
    client: Client, authority: Authority, stranger: Authority
) -> None:
    both = TlsOptions(ca_pem=stranger.pem + authority.pem)
    async with Provider(json_reply({}), tls=authority.server_context()) as provider:
        assert await fetch(client, origin_of(provider, tls=both)) == b"{}"


async def test_system_authorities(
    nothing_left: None,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    client = Client(proxies=ProxySettings())
    async with Provider(json_reply({}), tls=authority.server_context()) as provider:
        assert await fetch(client, origin_of(provider)) == b"{}"
        await client.close()


@pytest.mark.parametrize(
    "case", ["expired", "wrong-host", "self-signed", "unknown-authority", "custom-replaces-system"]
)
async def test_not_verified(
    client: Client, authority: Authority, stranger: Authority, trust: TlsOptions, case: str
) -> None:
    cases: dict[str, Callable[[], tuple[ssl.SSLContext, TlsOptions | None]]] = {
        "expired": lambda: (authority.server_context(expired=True), trust),
        "wrong-host": lambda: (authority.server_context("api.example"), trust),
        "self-signed": lambda: (stranger.self_signed_context(), trust),
        "unknown-authority": lambda: (authority.server_context(), None),
        "custom-replaces-system": lambda: (stranger.server_context(), trust),
    }
    context, tls = cases[case]()
    async with Provider(json_reply({}), tls=context) as provider:
        for _ in range(2):
            with pytest.raises(TlsNotVerified) as caught:
                await fetch(client, origin_of(provider, tls=tls, max_connections=1), SECRET)
            assert not caught.value.sent
            assert caught.value.detail
        await loop_turns()
        assert provider.requests == []
        assert all(peer.received_bytes == 0 for peer in provider.peers)


async def test_address_is_verified_too(
    client: Client, authority: Authority, trust: TlsOptions
) -> None:
    async with Provider(json_reply({}), tls=authority.server_context("localhost")) as provider:
        with pytest.raises(TlsNotVerified):
            await fetch(client, Origin("https", HOST, provider.port, trust))
    async with Provider(json_reply({}), tls=authority.server_context(HOST)) as provider:
        assert await fetch(client, Origin("https", HOST, provider.port, trust)) == b"{}"


@pytest.mark.parametrize("case", ["expired", "wrong-host", "self-signed"])
async def test_verification_switched_off(
    client: Client, authority: Authority, stranger: Authority, case: str
) -> None:
    contexts: dict[str, Callable[[], ssl.SSLContext]] = {
        "expired": lambda: authority.server_context(expired=True),
        "wrong-host": lambda: authority.server_context("api.example"),
        "self-signed": stranger.self_signed_context,
    }
    async with Provider(json_reply({}), tls=contexts[case]()) as provider:
        assert await fetch(client, origin_of(provider, tls=TlsOptions(verify=False))) == b"{}"


async def test_trust_is_part_of_the_pool(client: Client, authority: Authority) -> None:
    async with Provider(json_reply({}), tls=authority.server_context()) as provider:
        assert await fetch(client, origin_of(provider, tls=TlsOptions(verify=False))) == b"{}"
        with pytest.raises(TlsNotVerified):
            await fetch(client, origin_of(provider))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([close()], id="fin"),
        pytest.param([reset()], id="rst"),
        pytest.param([b"\x16\x03\x03\x00\x7a\x02\x00", close()], id="truncated-hello"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n", close()], id="plain-http"),
        pytest.param([b"\x15\x03\x03\x00\x02\x02\x28", close()], id="alert"),
    ],
)
async def test_handshake_broken_off(client: Client, script: Script) -> None:
    async with Provider(on_connect=script) as provider:
        origin = Origin("https", HOST, provider.port, max_connections=1)
        for _ in range(2):
            with pytest.raises(TlsFailed) as caught:
                await fetch(client, origin, SECRET)
            assert not caught.value.sent
            assert not isinstance(caught.value, TlsNotVerified)


async def test_tls_1_1_is_refused(client: Client, authority: Authority, trust: TlsOptions) -> None:
    context = authority.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Provider(json_reply({}), tls=context) as provider:
        with pytest.raises(TlsFailed):
            await fetch(client, origin_of(provider, tls=trust))


async def test_name_is_sent(client: Client, authority: Authority, trust: TlsOptions) -> None:
    seen: list[str | None] = []
    context = authority.server_context()
    context.sni_callback = lambda _, name, __: seen.append(name)
    async with Provider(json_reply({}), tls=context) as provider:
        await fetch(client, origin_of(provider, tls=trust))
    assert seen == ["localhost"]


async def test_unreadable_authorities(client: Client) -> None:
    origin = Origin("https", HOST, 1, TlsOptions(ca_pem=b"not a certificate"))
    with pytest.raises(TlsFailed):
        await fetch(client, origin)
    for pem in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"):
        with pytest.raises(BadAuthorities):
            build_context(TlsOptions(ca_pem=pem))


async def test_equal_options_share_a_context(trust: TlsOptions, authority: Authority) -> None:
    contexts = Contexts()
    first = await contexts.context_for(trust)
    assert await contexts.context_for(TlsOptions(ca_pem=bytes(authority.pem))) is first
    assert await contexts.context_for(None) is await contexts.context_for(TlsOptions())
    assert await contexts.context_for(None) is not first


async def test_contexts_are_bounded() -> None:
    contexts = Contexts()
    for number in range(2 * MAX_CONTEXTS):  # authorities that rotate for years
        await contexts.context_for(TlsOptions(ca_pem=b"%d" % number, verify=False))
    assert len(contexts._contexts) == MAX_CONTEXTS


async def test_idle_connection_closed_by_the_provider(
    client: Client, authority: Authority, trust: TlsOptions
) -> None:
    async with Provider(tls=authority.server_context()) as provider:
        provider.queue([json_reply({}), close()], json_reply({"second": True}))
        origin = origin_of(provider, tls=trust)
        await fetch(client, origin)
        await provider.peers[0].closed()
        await loop_turns()
        assert await fetch(client, origin) == b'{"second": true}'


async def test_stale_connection(client: Client, authority: Authority, trust: TlsOptions) -> None:
    async with Provider(tls=authority.server_context()) as provider:
        provider.queue(json_reply({}), [reset()])
        origin = origin_of(provider, tls=trust)
        await fetch(client, origin)
        with pytest.raises(LostBeforeHead) as caught:
            await fetch(client, origin)
        assert caught.value.stale


async def cut_the_wire(peer: Peer) -> None:
    peer.abort()


@pytest.mark.asyncio(loop_factories=["uvloop"])  # asyncio's TLS does not tell the two ends apart
@pytest.mark.parametrize("cut", [cut_the_wire, reset()], ids=["fin", "rst"])
async def test_body_until_close_needs_a_close_notify(
    client: Client, authority: Authority, trust: TlsOptions, cut: Action
) -> None:
    """Whoever can cut the TCP connection could otherwise shorten a body unseen."""
    start = b"HTTP/1.1 200 OK\r\n\r\n"
    async with Provider(tls=authority.server_context()) as provider:
        origin = origin_of(provider, tls=trust)
        provider.queue([start + b"whole", close()], [start + b"cut", pause(0.02), cut])
        assert await fetch(client, origin) == b"whole"
        with pytest.raises(LostMidBody):
            await fetch(client, origin)


async def test_stalled_reader_stops_the_provider(
    client: Client, authority: Authority, trust: TlsOptions
) -> None:
    body = bytes(50 * MIB)
    async with Provider(reply(body), tls=authority.server_context()) as provider:
        response = await post(client, origin_of(provider, tls=trust))
        sent = -1
        while sent != provider.peers[0].sent_bytes:
            sent = provider.peers[0].sent_bytes
            await loop_turns(100)
        assert sent < len(body) / 2
        assert response.buffered_bytes <= MIB
        assert await response.read(LIMIT_BYTES) == body


async def test_large_request_body(client: Client, authority: Authority, trust: TlsOptions) -> None:
    body = bytes(16 * MIB)
    async with Provider(json_reply({}), tls=authority.server_context()) as provider:
        assert await fetch(client, origin_of(provider, tls=trust), body) == b"{}"
        assert provider.requests[0].body == body


async def test_cancelled_call_is_seen(
    client: Client, authority: Authority, trust: TlsOptions
) -> None:
    async with Provider([head(), chunk(b"a"), hang()], tls=authority.server_context()) as provider:
        response = await post(client, origin_of(provider, tls=trust))
        response.close()
        await provider.peers[0].closed()


async def test_deadline_covers_the_handshake(client: Client) -> None:
    async with Provider(on_connect=[hang()]) as mute:
        with pytest.raises(ConnectTimeout):
            await fetch(
                client, Origin("https", HOST, mute.port), deadlines=Deadlines(0.15, 5, 5, 5)
            )
