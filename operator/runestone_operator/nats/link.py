"""Our connection to the NATS server's system account: made and kept in the background, for ever.

Each connection is a client of its own, so that nothing is left of one that was lost. Whoever
follows the link is told of each, and begins anew.
"""

import asyncio
import base64
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from nats.aio.client import Client
from nats.errors import Error, NoServersError, StaleConnectionError

from runestone_operator.nats.trust import Trust

CONNECT_S: Final = 5.0
ANSWER_S: Final = 3.0
LOOK_EVERY_S: Final = 5.0
CLOSE_S: Final = 1.0
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 10.0
NEVER_S: Final = 1 << 30

Follower = Callable[[bool], None]

log = logging.getLogger(__name__)


class Link:
    def __init__(self, urls: Sequence[str], trust: Callable[[], Trust | None]) -> None:
        self._urls = list(urls)
        self._trust = trust
        self._followers: list[Follower] = []
        self._told: str | None = None  # the reason for being away that was logged
        self.client: Client | None = None  # None: away

    def follow(self, follower: Follower) -> None:
        """It is called with True for each connection that stands, and with False for its loss."""
        self._followers.append(follower)

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            trust = self._trust()
            if trust is not None:
                failures = 0 if await self._serve(trust) else failures + 1
            longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(0.5, 1.0) * longest_s)

    async def _serve(self, trust: Trust) -> bool:
        """One connection, for as long as it and the trust last. Whether it was made."""
        client, lost = Client(), asyncio.Event()
        try:
            await self._connect(client, lost, trust)
            self._change(client)
            await self._until_dead(client, lost, trust)
            self._tell(StaleConnectionError())
        except (OSError, Error) as error:
            self._tell(error)
        finally:
            was_up = self.client is not None
            self._change(None)
            await _close(client)
        return was_up

    async def _connect(self, client: Client, lost: asyncio.Event, trust: Trust) -> None:
        user = trust.system_user()

        async def on_closed() -> None:
            lost.set()

        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                self._urls,
                name="runestone-operator",
                user_jwt_cb=trust.system_user_token().encode,
                signature_cb=lambda nonce: base64.b64encode(user.sign(nonce.encode())),
                error_cb=_note,
                closed_cb=on_closed,
                allow_reconnect=False,  # see above
                max_reconnect_attempts=1,  # each of the servers
                reconnect_time_wait=0,
                connect_timeout=int(ANSWER_S),
                ping_interval=NEVER_S,  # we look at its answer
            )

    async def _until_dead(self, client: Client, lost: asyncio.Event, trust: Trust) -> None:
        while self._trust() == trust:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await lost.wait()
                    return
            await client.rtt(timeout=int(ANSWER_S))

    def _change(self, client: Client | None) -> None:
        if client is self.client:
            return
        self.client = client
        if client is not None:
            self._told = None
            log.info("connected to NATS")
        for follower in self._followers:
            follower(client is not None)

    def _tell(self, error: Exception) -> None:
        """Once for each reason, however often it is tried again."""
        reason = _reason(error)
        if reason != self._told:
            self._told = reason
            log.warning("NATS is away, its accounts are not kept", extra={"reason": reason})


async def _close(client: Client) -> None:
    with contextlib.suppress(TimeoutError, OSError, Error):
        async with asyncio.timeout(CLOSE_S):
            await client.close()


async def _note(error: Exception) -> None:
    log.debug("NATS", extra={"error": type(error).__name__})


def _reason(error: Exception) -> str:
    """In our words: the client's may hold an address with its password."""
    if "authorization" in str(error).lower():
        return "it does not accept us: does it include auth.conf of Secret runestone-nats-auth?"
    if isinstance(error, StaleConnectionError):
        return "the connection was lost"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, (OSError, NoServersError)):
        return "nobody is there"
    return f"the connection failed ({type(error).__name__})"
