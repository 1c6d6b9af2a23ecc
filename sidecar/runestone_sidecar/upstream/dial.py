"""Opens a connection: the name, TCP, the proxy's tunnel, TLS. Every failure is a NotConnected.

It knows no deadline: whoever calls it cancels it, and then no socket is left behind.
"""

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, cast

from runestone_sidecar.upstream.faults import (
    ConnectFailed,
    ResolveFailed,
    TlsFailed,
    TlsNotVerified,
)
from runestone_sidecar.upstream.http1 import Connection
from runestone_sidecar.upstream.tls import BadAuthorities, Contexts
from runestone_sidecar.upstream.tunnel import ProxySettings, Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_sidecar.upstream.origin import Origin

TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 4}  # seconds, and probes
HANDSHAKE_S = 3600.0  # asyncio insists on a limit of its own; the caller's is the one that counts


class Dialer:
    """What all connections are opened with."""

    def __init__(self, proxies: ProxySettings) -> None:
        self._proxies = proxies
        self._contexts = Contexts()

    async def dial(self, origin: "Origin") -> Connection:
        if origin.scheme == "http":
            connection = Connection()
            await _tcp(lambda: connection, origin.peer, origin.port)
            return connection
        context = await self._context(origin)  # before TCP: a bad CA needs no socket
        transport = await self._channel(origin)
        try:
            return await _tls(transport, context, origin.host)
        except BaseException:
            transport.abort()
            raise

    async def _context(self, origin: "Origin") -> ssl.SSLContext:
        try:
            return await self._contexts.context_for(origin.tls)
        except BadAuthorities as error:
            raise TlsFailed(str(error)) from error

    async def _channel(self, origin: "Origin") -> asyncio.Transport:
        """A bare way to the origin, for TLS to be put on top."""
        proxy = self._proxies.proxy_for(origin)
        if proxy is None:
            return await _tcp(asyncio.Protocol, origin.peer, origin.port)
        tunnel = Tunnel(proxy, origin)
        transport = await _tcp(lambda: tunnel, proxy.host, proxy.port)
        try:
            await tunnel.opened()
        except BaseException:
            transport.abort()
            raise
        return transport


async def _tcp(
    protocol: "Callable[[], asyncio.Protocol]", host: str, port: int
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(protocol, host, port)
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: a label of over 63 characters
        raise ResolveFailed(f"cannot resolve {host}") from error
    except OSError as error:
        raise ConnectFailed(error.strerror or "cannot connect") from error
    _keep_alive(transport)
    return transport


def _keep_alive(transport: asyncio.Transport) -> None:
    """A model may think for minutes: keeps NAT tables awake, and finds a dead peer meanwhile."""
    tcp = transport.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in TCP_KEEPALIVE.items():
        if hasattr(socket, name):  # not everywhere
            tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _tls(transport: asyncio.Transport, context: ssl.SSLContext, host: str) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection()
    connection.connection_made(transport)  # a handshake that fails is told to it as a loss
    try:
        wrapped = await loop.start_tls(
            transport, connection, context, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_S
        )
    except ssl.SSLCertVerificationError as error:
        raise TlsNotVerified(error.verify_message) from error
    except ssl.SSLError as error:
        raise TlsFailed(error.reason or "handshake failed") from error
    except OSError as error:
        raise TlsFailed("the connection broke off in the handshake") from error
    connection.connection_made(cast("asyncio.Transport", wrapped))
    return connection
