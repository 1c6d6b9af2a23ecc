"""The way out through a proxy: which origins take it, and the CONNECT that opens it.

HTTPS_PROXY and NO_PROXY as Go and curl read them. Only https origins are tunnelled.
"""

import asyncio
import os
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import unquote, urlsplit

from runestone_sidecar.upstream.faults import TunnelFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runestone_sidecar.upstream.origin import Origin

MAX_ANSWER_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)  # value of Proxy-Authorization

    @classmethod
    def from_url(cls, url: str) -> Self:
        """ValueError, which never repeats the URL (it may hold a password), if it is unusable."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host = None  # and its text is dropped: it may quote a part of the password
        if not host or parts.scheme != "http":
            raise ValueError("HTTPS_PROXY must be http://[user:password@]host[:port]")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + b64encode(pair.encode())
        return cls(host, port, authorization)


VARIABLES: Final = {
    "HTTPS_PROXY": "the proxy to providers whose URL is https; none where it is empty",
    "NO_PROXY": "what is reached directly all the same: names, addresses, networks, or `*`",
}


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Both empty: every origin is reached directly."""

    https: Proxy | None = None
    direct: tuple[str, ...] = ()  # the entries of NO_PROXY, lower case

    @classmethod
    def from_env(cls, environ: "Mapping[str, str] | None" = None) -> Self:
        """The lower-case names win, as they do for curl."""
        env = os.environ if environ is None else environ
        url, listed = (env.get(name.lower()) or env.get(name) or "" for name in VARIABLES)
        entries = tuple(entry.strip().lower() for entry in listed.split(",") if entry.strip())
        return cls(Proxy.from_url(url) if url else None, entries)

    def proxy_for(self, origin: "Origin") -> Proxy | None:
        if self.https is None or origin.scheme != "https" or _is_loopback(origin.host):
            return None
        if any(_covers(entry, origin.host, origin.port) for entry in self.direct):
            return None
        return self.https


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _covers(entry: str, host: str, port: int) -> bool:
    """`*`, an address, a network, `.example.com` (below it) or `example.com` (it and below)."""
    if entry == "*":
        return True
    network = _network(entry)
    if network is not None:
        try:
            return ip_address(host) in network
        except ValueError:
            return False
    name, _, wanted_port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    if wanted_port and wanted_port != str(port):
        return False
    below = name.removeprefix("*").lstrip(".")
    return host.endswith(f".{below}") or (host == below and not name.startswith((".", "*")))


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a connection to the origin, and reads its answer; TLS follows on top."""

    def __init__(self, proxy: Proxy, origin: "Origin") -> None:
        self._proxy = proxy
        self._origin = origin
        self._answer = bytearray()
        self._done: asyncio.Future[TunnelFailed | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        authority = self._origin.peer_authority.encode()
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority)
        if self._proxy.authorization is not None:
            head += b"Proxy-Authorization: %b\r\n" % self._proxy.authorization
        cast("asyncio.Transport", transport).write(head + b"\r\n")

    async def opened(self) -> None:
        """TunnelFailed unless the proxy said 2xx."""
        fault = await self._done
        if fault is not None:
            raise fault

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end and len(self._answer) <= MAX_ANSWER_BYTES:
            return
        words = bytes(head[:64]).split(b" ", 2)
        if not end or not words[0].startswith(b"HTTP/1.") or len(words) < 2:
            self._settle(TunnelFailed("the proxy does not speak HTTP/1.1"))
        elif len(words[1]) == 3 and words[1].startswith(b"2") and not rest:
            self._settle(None)
        else:
            status = int(words[1]) if words[1].isdigit() else None
            self._settle(TunnelFailed(f"the proxy answered {status}", status=status))

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(TunnelFailed("the proxy closed the connection"))

    def _settle(self, fault: TunnelFailed | None) -> None:
        if not self._done.done():
            self._done.set_result(fault)
