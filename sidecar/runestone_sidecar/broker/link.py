"""The process's connection to NATS: made and kept in the background, never waited for.

Each connection is a client of its own and the old one is thrown away: nothing that was written to
it is sent later, when it may not be true any more, and no subscription is left that hears nothing.
Whoever follows the link begins anew with each connection.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client
from nats.errors import NoServersError, StaleConnectionError

from runestone_sidecar.broker.credentials import BadCredentials, Credentials
from runestone_sidecar.broker.faults import LOST

CONNECT_S: Final = 5.0
LOOK_EVERY_S: Final = 1.5
ANSWER_S: Final = 2.0  # a server that does not answer for so long is dead
CLOSE_S: Final = 1.0
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 2.0
NEVER_S: Final = 1 << 30

Follower = Callable[[Client | None], None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Link:
    urls: tuple[str, ...]  # they may hold a user and a password, or a token
    credentials: Credentials | None = None
    rng: random.Random = field(default_factory=random.Random)
    client: Client | None = None  # None: away
    since_s: float | None = None  # by the monotonic clock: when that connection was made
    _is_known: bool = False  # whether it can be reached
    _followers: list[Follower] = field(default_factory=list)
    _told: str | None = None  # the reason for being away that was logged

    @property
    def is_up(self) -> bool:
        return self.client is not None

    def follow(self, follower: Follower) -> None:
        """It is called with each connection once it stands, and with None once it is lost, or
        where the first cannot be made."""
        self._followers.append(follower)

    async def run(self) -> None:
        """Until cancelled, and then the connection is closed."""
        failures = 0
        while True:
            client, lost = Client(), asyncio.Event()
            try:
                await self._connect(client, lost)
                failures = 0
                self._change(client)
                await _until_dead(client, lost)
                self._tell(StaleConnectionError())
            except (*LOST, BadCredentials) as error:
                self._tell(error)
            finally:
                self._change(None)
                await _close(client)
            longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures, 10))
            failures += 1
            await asyncio.sleep(self.rng.uniform(0.5, 1.0) * longest_s)

    async def _connect(self, client: Client, lost: asyncio.Event) -> None:
        async def on_closed() -> None:
            lost.set()

        credentials = self.credentials
        if credentials is not None and not credentials.are_there:
            credentials = None
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                list(self.urls),
                name="runestone-sidecar",
                user_jwt_cb=credentials.jwt if credentials else None,
                signature_cb=credentials.sign if credentials else None,
                error_cb=_note,
                closed_cb=on_closed,
                allow_reconnect=False,  # see above
                max_reconnect_attempts=1,  # each of the servers
                reconnect_time_wait=0,
                connect_timeout=int(ANSWER_S),
                ping_interval=NEVER_S,  # we look more often, and at its answer
            )

    def _change(self, client: Client | None) -> None:
        if client is self.client and self._is_known:
            return
        self.client, self._is_known = client, True
        self.since_s = None if client is None else time.monotonic()
        if client is not None:
            self._told = None
            url = client.connected_url
            log.info("connected to NATS at %s", f"{url.hostname}:{url.port}" if url else "?")
        for follower in self._followers:
            follower(client)

    def _tell(self, error: Exception) -> None:
        """Once for each reason, however often it is tried again."""
        reason = _reason(error)
        if reason != self._told:
            self._told = reason
            log.warning("NATS is away: %s; going on without it until it is back", reason)


async def _until_dead(client: Client, lost: asyncio.Event) -> None:
    """The server closed the connection, or does not answer any more."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await lost.wait()
                return
        await client.rtt(timeout=int(ANSWER_S))  # fails too where the client's own loop has ended


async def _close(client: Client) -> None:
    """Its last bytes may never get through to a server that is dead."""
    with contextlib.suppress(*LOST):
        async with asyncio.timeout(CLOSE_S):
            await client.close()


async def _note(error: Exception) -> None:
    log.debug("NATS: %s", type(error).__name__)


_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (BadCredentials, "the credentials file holds no user's JWT and seed"),
    (FileNotFoundError, "there is no such credentials file"),
    (PermissionError, "the credentials file cannot be read"),
    (StaleConnectionError, "the connection was lost"),
    (TimeoutError, "it does not answer"),
    (OSError, "nobody is there"),
    (RuntimeError, "the connection was lost"),
    (NoServersError, "nobody is there"),
)


def _reason(error: Exception) -> str:
    """In our words: what a client library says may hold an address with its password."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if "authorization" in str(error).lower():
        return "it does not accept our credentials"
    return f"the connection failed ({type(error).__name__})"
