"""The way out through a proxy, and who is reached without it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from runestone_sidecar.upstream.faults import ConnectFailed, TlsNotVerified, TunnelFailed
from runestone_sidecar.upstream.origin import Origin, TlsOptions
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.tunnel import Proxy, ProxySettings
from runestone_testing.authority import Authority
from runestone_testing.provider import (
    HOST,
    Provider,
    Script,
    close,
    json_reply,
    refusing_port,
    reply,
    reset,
    tunnel,
)
from runestone_testing.upstream import fetch, loop_turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = "provider.example"  # that only the proxy knows how to reach
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest_asyncio.fixture
async def proxy(nothing_left: None) -> AsyncIterator[Provider]:
    async with Provider() as proxy:
        yield proxy


@pytest_asyncio.fixture
async def client(proxy: Provider) -> AsyncIterator[Client]:
    client = Client(
        proxies=ProxySettings.from_env({"HTTPS_PROXY": f"http://me:s%40cret@{HOST}:{proxy.port}"})
    )
    yield client
    await client.close()


async def test_requests_go_through_the_tunnel(client: Client, proxy: Provider) -> None:
    authority = Authority()
    async with Provider(json_reply({}), tls=authority.server_context(NAME)) as provider:
        proxy.answer = [OPENED, tunnel(HOST, provider.port)]
        origin = Origin.from_base_url(f"https://{NAME}", tls=TlsOptions(ca_pem=authority.pem))
        for _ in range(2):
            assert await fetch(client, origin, b"secret") == b"{}"
        assert [request.body for request in provider.requests] == [b"secret"] * 2
        assert provider.requests[0].header("host") == NAME
        assert provider.requests[0].header("proxy-authorization") is None
        (connect,) = proxy.requests
        assert (connect.method, connect.target) == ("CONNECT", f"{NAME}:443")
        assert connect.header("host") == f"{NAME}:443"
        credentials = base64.b64encode(b"me:s@cret").decode()
        assert connect.header("proxy-authorization") == f"Basic {credentials}"


async def test_provider_is_verified_behind_the_proxy(client: Client, proxy: Provider) -> None:
    authority = Authority()
    async with Provider(json_reply({}), tls=authority.server_context("other.example")) as provider:
        proxy.answer = [OPENED, tunnel(HOST, provider.port)]
        origin = Origin.from_base_url(f"https://{NAME}", tls=TlsOptions(ca_pem=authority.pem))
        with pytest.raises(TlsNotVerified):
            await fetch(client, origin)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        pytest.param(reply(b"who are you?", 407), 407, id="407"),
        pytest.param(reply(b"no way", 502), 502, id="502"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: x\r\n\r\n", 302, id="redirect"),
        pytest.param([b"HTTP/1.1 200", close()], None, id="half-an-answer"),
        pytest.param([reset()], None, id="reset"),
        pytest.param(b"SSH-2.0-x\r\n\r\n", None, id="not-http"),
        pytest.param(b"HTTP/1.1\r\n\r\n", None, id="no-status"),
        pytest.param(b"HTTP/1.1 200 ok\r\nx: " + b"y" * 20_000, None, id="endless-head"),
        pytest.param(OPENED + b"early bytes", 200, id="bytes-before-tls"),
    ],
)
async def test_tunnel_refused(
    client: Client, proxy: Provider, script: Script, status: int | None
) -> None:
    proxy.answer = script
    origin = Origin.from_base_url(f"https://{NAME}", max_connections=1)
    for number in (1, 2):
        with pytest.raises(TunnelFailed) as caught:
            await fetch(client, origin)
        assert caught.value.status == status
        assert not caught.value.sent
        assert "cret" not in str(caught.value)
        await proxy.peers[number - 1].closed()


async def test_proxy_that_is_not_there(nothing_left: None) -> None:
    with refusing_port() as port:
        client = Client(proxies=ProxySettings(Proxy(HOST, port)))
        with pytest.raises(ConnectFailed):
            await fetch(client, Origin.from_base_url(f"https://{NAME}"))
        await client.close()


async def test_http_origin_goes_directly(client: Client, proxy: Provider) -> None:
    async with Provider(json_reply({})) as provider:
        assert await fetch(client, Origin.from_base_url(provider.url)) == b"{}"
    await loop_turns()
    assert proxy.peers == []


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        pytest.param("", "https://api.example", False, id="nothing-listed"),
        pytest.param("*", "https://api.example", True, id="star"),
        pytest.param("example", "https://api.example", True, id="parent-domain"),
        pytest.param("api.example", "https://api.example", True, id="the-name"),
        pytest.param("API.Example", "https://api.example", True, id="any-case"),
        pytest.param(".example", "https://api.example", True, id="below-dot"),
        pytest.param(".api.example", "https://api.example", False, id="dot-is-below-only"),
        pytest.param("*.example", "https://api.example", True, id="wildcard"),
        pytest.param("i.example", "https://api.example", False, id="no-part-of-a-label"),
        pytest.param("other, api.example", "https://api.example", True, id="second-in-list"),
        pytest.param("api.example:443", "https://api.example", True, id="its-port"),
        pytest.param("api.example:8443", "https://api.example", False, id="another-port"),
        pytest.param("10.1.2.3", "https://10.1.2.3", True, id="address"),
        pytest.param("10.0.0.0/8", "https://10.1.2.3", True, id="network"),
        pytest.param("10.0.0.0/8", "https://11.1.2.3", False, id="outside-the-network"),
        pytest.param("10.0.0.0/8", "https://api.example", False, id="name-against-network"),
        pytest.param("fd00::/8", "https://[fd00::1]", True, id="ipv6-network"),
        pytest.param("[fd00::1]", "https://[fd00::1]", True, id="ipv6-in-brackets"),
        pytest.param("", "https://localhost", True, id="localhost"),
        pytest.param("", "https://127.3.2.1", True, id="loopback"),
        pytest.param("", "https://[::1]", True, id="ipv6-loopback"),
        pytest.param("", "http://api.example", True, id="http"),
    ],
)
def test_who_is_reached_directly(no_proxy: str, url: str, direct: bool) -> None:
    env = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy}
    proxy = ProxySettings.from_env(env).proxy_for(Origin.from_base_url(url))
    assert (proxy is None) is direct


@pytest.mark.parametrize(
    ("env", "proxy"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": ""}, None, id="empty"),
        pytest.param({"HTTPS_PROXY": "http://a:1"}, Proxy("a", 1), id="upper"),
        pytest.param(
            {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, Proxy("b", 2), id="lower"
        ),
        pytest.param({"HTTPS_PROXY": "a:1"}, Proxy("a", 1), id="no-scheme"),
        pytest.param({"HTTPS_PROXY": "http://a"}, Proxy("a", 80), id="no-port"),
        pytest.param({"HTTPS_PROXY": "http://[::1]:8"}, Proxy("::1", 8), id="ipv6"),
    ],
)
def test_environment(env: dict[str, str], proxy: Proxy | None) -> None:
    assert ProxySettings.from_env(env).https == proxy


@pytest.mark.parametrize(
    "url", ["socks5://a:1", "https://a:1", "http://", "http://me:s/cret@a:1", "http://[::1"]
)
def test_unusable_proxy_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY must be") as caught:
        ProxySettings.from_env({"HTTPS_PROXY": url})
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_password_is_not_shown() -> None:
    settings = ProxySettings.from_env({"HTTPS_PROXY": "http://me:canary@a:1"})
    assert "canary" not in repr(settings)
    assert base64.b64encode(b"me:canary").decode() not in repr(settings)
