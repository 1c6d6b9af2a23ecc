"""The upstream client: a bounded keep-alive pool for each origin, and the one way to send.

A Client is one for the process and outlives reloads. It knows nothing of providers, keys or
retries: whoever sends decides what a fault means.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.faults import (
    ConnectFailed,
    ConnectTimeout,
    Phase,
    PoolExhausted,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.http1 import TIMER_GRAIN_S
from runestone_sidecar.upstream.tunnel import ProxySettings

if TYPE_CHECKING:
    from collections.abc import Collection

    from runestone_sidecar.upstream.http1 import Connection
    from runestone_sidecar.upstream.origin import Deadlines, Origin
    from runestone_sidecar.upstream.outgoing import Upload
    from runestone_sidecar.upstream.response import Response

IDLE_EXPIRY_S = 50.0  # below the 60 s after which load balancers drop an idle connection
WITHOUT_LENGTH = frozenset({b"GET", b"HEAD", b"DELETE"})  # when they have no body


class Client:
    """Sends requests, each over a kept connection if there is one."""

    def __init__(
        self, *, proxies: ProxySettings | None = None, idle_expiry_s: float = IDLE_EXPIRY_S
    ) -> None:
        """`proxies` None: as HTTPS_PROXY and NO_PROXY say."""
        self._dialer = Dialer(ProxySettings.from_env() if proxies is None else proxies)
        self._idle_expiry_s = idle_expiry_s
        self._pools: dict[Origin, Pool] = {}
        self._retired: list[Pool] = []

    async def send(
        self,
        origin: "Origin",
        *,
        target: bytes,
        headers: bytes,
        body: bytes,
        deadlines: "Deadlines",
        method: bytes = b"POST",
    ) -> "Response":
        """Returns once the final head of the answer is there. Redirects are answers like others.

        `headers` is a rendered block (http1.render_headers); Host and Content-Length are added.
        """
        pool = self._pools.get(origin) or self._add(origin)
        end = b"Content-Length: %d\r\n\r\n" % len(body)
        if not body and method in WITHOUT_LENGTH:
            end = b"\r\n"
        head = b"".join((method, b" ", target, pool.after_target, headers, end))
        started_at = pool.loop.time()
        connection = pool.take()
        if connection is None:
            connection = await pool.acquire(started_at, deadlines)
        response = connection.start(
            head,
            body,
            deadlines=deadlines,
            started_at=started_at,
            bodiless=method == b"HEAD",
        )
        await response.opened()
        return response

    async def upload(
        self,
        origin: "Origin",
        *,
        target: bytes,
        headers: bytes,
        body: "Upload",
        deadlines: "Deadlines",
        method: bytes = b"POST",
    ) -> "Response":
        """As `send`, for a body that is passed on while it comes.

        An answer that is no success ends the upload; also what its iterator raises is raised here.
        Of a NotConnected nothing was asked of the iterator; after any other fault it is used up.
        """
        pool = self._pools.get(origin) or self._add(origin)
        head = b"".join((method, b" ", target, pool.after_target, headers, body.framing, b"\r\n"))
        started_at = pool.loop.time()
        connection = await pool.acquire(started_at, deadlines)
        response = connection.start(
            head, b"", deadlines=deadlines, started_at=started_at, bodiless=False
        )
        connection.upload(body)
        await response.opened()
        if response.status >= 300:
            connection.hang_up()
        return response

    def drop_idle(self, origin: "Origin") -> None:
        """A kept connection was found gone: all others there were idle for longer still."""
        if pool := self._pools.get(origin):
            pool.drop_idle()

    def prune(self, keep: "Collection[Origin]") -> None:
        """Lets go of origins no longer configured: calls under way there end undisturbed."""
        for origin in [origin for origin in self._pools if origin not in keep]:
            pool = self._pools.pop(origin)
            pool.retire()
            self._retired.append(pool)
        self._retired = [pool for pool in self._retired if not pool.is_empty]

    def _add(self, origin: "Origin") -> "Pool":
        pool = self._pools[origin] = Pool(origin, self._dialer, self._idle_expiry_s)
        return pool

    async def close(self) -> None:
        """Ends every call and returns when all sockets are closed.

        But for a call that is still connecting: it fails as soon as it has.
        """
        pools = [*self._pools.values(), *self._retired]
        self._pools.clear()
        self._retired.clear()
        for pool in pools:
            pool.close()
        for pool in pools:
            await pool.emptied.wait()  # transports close in the loop's next turns


class Pool:
    """The connections to one origin.

    A place is taken from before a connection is dialled until it is closed. While anybody waits,
    all places are taken and nothing is idle: what becomes free goes to who waited longest.
    """

    def __init__(self, origin: "Origin", dialer: Dialer, idle_expiry_s: float) -> None:
        self.after_target = b" HTTP/1.1\r\nHost: %b\r\n" % origin.host_header
        self.connections: set[Connection] = set()  # whose sockets are not closed yet
        self.emptied = asyncio.Event()  # closed, and the sockets too
        self.loop = asyncio.get_running_loop()
        self._origin = origin
        self._dialer = dialer
        self._idle_expiry_s = idle_expiry_s
        self._idle: list[Connection] = []  # last in, first out: the longest idle is the first
        self._taken = 0
        # Each gets a connection, or None for a place to dial in. Ordered, and quick to leave.
        self._waiters: OrderedDict[asyncio.Future[Connection | None], None] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._retired = self._closed = False

    @property
    def is_empty(self) -> bool:
        return not self._taken and not self.connections

    def take(self) -> "Connection | None":
        """The connection used last, of those kept."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and not connection.transport.is_closing():  # usable, in line
                return connection
            connection.close()
        return None

    async def acquire(self, started_at: float, deadlines: "Deadlines") -> "Connection":
        """A connection of one's own: a kept one, a new one, or one that another is done with."""
        while True:
            connection = self.take()
            if connection is not None:
                return connection
            if self._taken < self._origin.max_connections:
                self._taken += 1
                return await self._dial(started_at, deadlines)
            connection = await self._turn(started_at, deadlines)
            if connection is None:
                return await self._dial(started_at, deadlines)
            if connection.usable:
                return connection
            connection.close()  # lost in the moment between being handed over and here

    def retire(self) -> None:
        """No longer configured: keeps nothing."""
        self._retired = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.drop_idle()

    def drop_idle(self) -> None:
        for connection in tuple(self._idle):
            connection.close()

    def close(self) -> None:
        """Ends every call here; `emptied` tells when it is done."""
        self._closed = True
        for waiter in self._waiters:  # before a place is free: nobody is to dial now
            if not waiter.done():
                waiter.set_exception(PoolExhausted("the client is closing"))
        self.retire()
        for connection in tuple(self.connections):
            connection.abort()
        if not self.connections:
            self.emptied.set()

    # --- what a connection tells its owner

    def release(self, connection: "Connection") -> None:
        if self._waiters and self._hand_over(connection):
            return
        if self._retired or len(self._idle) >= self._origin.max_idle:
            connection.close()
            return
        connection.idle_since = self.loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._idle_expiry_s, self._sweep)

    def discard(self, connection: "Connection") -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        self._free()

    def gone(self, connection: "Connection") -> None:
        self.connections.discard(connection)
        if self._closed and not self.connections:
            self.emptied.set()

    # --- inside

    def _hand_over(self, freed: "Connection | None") -> bool:
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # it may be cancelled and not know it yet
                waiter.set_result(freed)
                return True
        return False

    def _free(self) -> None:
        """A place is free: it goes to who waits, and stays taken, or to whoever comes."""
        if not self._hand_over(None):
            self._taken -= 1

    async def _turn(self, started_at: float, deadlines: "Deadlines") -> "Connection | None":
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiters[waiter] = None
        alarm = self.loop.call_at(
            started_at + min(deadlines.connect_s, deadlines.total_s),
            self._expire,
            waiter,
            _late(Phase.QUEUE, deadlines),
        )
        try:
            return await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())  # cancelled with the gift already in hand
            raise
        finally:
            alarm.cancel()

    def _expire(self, waiter: "asyncio.Future[Connection | None]", fault: UpstreamFault) -> None:
        self._waiters.pop(waiter, None)
        if not waiter.done():
            waiter.set_exception(fault)

    def _give_back(self, freed: "Connection | None") -> None:
        if freed is None:
            self._free()
        elif freed.usable:
            self.release(freed)
        else:
            freed.close()

    async def _dial(self, started_at: float, deadlines: "Deadlines") -> "Connection":
        """Fills a place already taken, or frees it."""
        connection = None
        try:
            # A timeout block costs more than a timer, and nothing beside a connect.
            async with asyncio.timeout_at(started_at + min(deadlines.connect_s, deadlines.total_s)):
                connection = await self._dialer.dial(self._origin)
        except TimeoutError as error:
            raise _late(Phase.CONNECT, deadlines) from error
        finally:
            if connection is None:
                self._free()
        if not connection.usable or self._closed:
            connection.close()
            self._free()
            raise ConnectFailed("closed as soon as it was open")
        self.connections.add(connection)
        connection.adopt(self)
        return connection

    def _sweep(self) -> None:
        """Closes what was idle too long, and looks again when the next will have been."""
        self._sweeper = None
        horizon = self.loop.time() + TIMER_GRAIN_S - self._idle_expiry_s
        while self._idle and self._idle[0].idle_since <= horizon:
            self._idle[0].close()
        if self._idle:
            when = self._idle[0].idle_since + self._idle_expiry_s
            self._sweeper = self.loop.call_at(when, self._sweep)


def _late(phase: Phase, deadlines: "Deadlines") -> UpstreamFault:
    """The fault of whichever deadline comes first, while there is no connection."""
    if deadlines.total_s <= deadlines.connect_s:
        return TotalTimeout(phase)
    return PoolExhausted() if phase is Phase.QUEUE else ConnectTimeout()
