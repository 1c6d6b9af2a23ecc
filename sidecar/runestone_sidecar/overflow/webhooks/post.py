"""One attempt to post: resolve, judge every address, connect to one that was judged, ask, hang up.

The answer's status is all that counts. Its body is not read, so neither its size nor its pace
matters, and a redirect is an answer like any other.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.overflow.webhooks.metrics import Outcome
from runestone_sidecar.overflow.webhooks.resolve import Resolver, Unresolved
from runestone_sidecar.overflow.webhooks.urls import Address, WebhookUrl
from runestone_sidecar.pipeline.verdicts import retry_after_s
from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.faults import ConnectFailed, NotConnected, TlsFailed, UpstreamFault
from runestone_sidecar.upstream.http1 import Connection
from runestone_sidecar.upstream.origin import Deadlines, Origin

TOTAL_S: Final = 20.0
CONNECT_S: Final = 5.0  # to one address; and for its name
ADDRESSES: Final = 4  # tried at most

_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    status: int = 0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Poster:
    dialer: Dialer
    guard: Guard
    resolver: Resolver
    total_s: float = TOTAL_S

    async def post(self, url: WebhookUrl, headers: bytes, body: bytes) -> Answer:
        """`headers` are rendered lines, without Host and Content-Length."""
        try:
            async with asyncio.timeout(self.total_s):
                connection = await self._connect(url, await self._addresses(url))
                try:
                    return await self._ask(connection, url, headers, body)
                finally:
                    connection.close()
        except TimeoutError:
            return Answer(Outcome.TIMEOUT)
        except _Stopped as stopped:
            return Answer(stopped.outcome)
        except UpstreamFault as fault:
            return Answer(_outcome_of(fault))

    async def _addresses(self, url: WebhookUrl) -> list[Address]:
        """One that may not be reached condemns them all: who answers so plays a game."""
        found = [url.address] if url.address else await self._resolved(url)
        if not all(self.guard.admits(address, url.port) for address in found):
            raise _Stopped(Outcome.FORBIDDEN)
        return found[:ADDRESSES]

    async def _resolved(self, url: WebhookUrl) -> list[Address]:
        if not self.guard.admits_name(url.host, url.port):
            raise _Stopped(Outcome.FORBIDDEN)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self.resolver.resolve(url.host, url.port)
        except (Unresolved, TimeoutError) as error:
            raise _Stopped(Outcome.UNRESOLVED) from error

    async def _connect(self, url: WebhookUrl, addresses: list[Address]) -> Connection:
        fault: NotConnected = ConnectFailed("no address")
        for address in addresses:
            try:
                return await self._dial(url.origin(address))
            except TlsFailed:
                raise
            except NotConnected as error:
                fault = error
        raise fault

    async def _dial(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self.dialer.dial(origin)
        except TimeoutError as error:
            raise ConnectFailed("too late") from error

    async def _ask(
        self, connection: Connection, url: WebhookUrl, headers: bytes, body: bytes
    ) -> Answer:
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n"
        host = Origin(url.scheme, url.host, url.port).host_header
        within = self.total_s
        response = connection.start(
            head % (url.target, host, headers, len(body)),
            body,
            deadlines=Deadlines(within, within, within, within),
            started_at=asyncio.get_running_loop().time(),
            bodiless=False,
        )
        await response.opened()
        after = retry_after_s(response.header(b"retry-after"), None)
        return Answer(_judged(response.status), response.status, after)


class _Stopped(Exception):
    """Before anything was sent."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _judged(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.GONE if status == _GONE else Outcome.REFUSED


def _outcome_of(fault: UpstreamFault) -> Outcome:
    if isinstance(fault, TlsFailed):
        return Outcome.TLS
    if isinstance(fault, NotConnected):
        return Outcome.UNREACHABLE
    return Outcome.TIMEOUT if "timeout" in fault.kind else Outcome.BROKEN
