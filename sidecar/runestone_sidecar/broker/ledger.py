"""A namespace's ledger in NATS: a bucket of JetStream's, of which each change is sent to everybody.

The stream publishes what it has stored once more, with its revision, and a plain subscription
hears it: there is no consumer that could stall or be lost. What is missed is found out by the
next write, which names the revision that it follows.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import BadRequestError, NotFoundError

from runestone_contract.names import limits_bucket, nats_root
from runestone_sidecar.broker.faults import LOST, BrokerError, Missing, Refused, Unfit
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams

ANSWER_S: Final = 1.0
RETRY_S: Final = 1.0
OTHER_REVISION: Final = (10071, 10164)  # JetStream's codes of errors
CONFIG_VERSION: Final = 1  # of the stream: to be raised with each change
MAX_RECORD_BYTES: Final = 256 * 1024

_LAST: Final = "Nats-Sequence"
_TIME: Final = "Nats-Time-Stamp"
_UNFIT: Final = re.compile(r"[^-/_.a-zA-Z0-9]")

log = logging.getLogger(__name__)


class Reader(Protocol):
    """It is told of all that happens to the ledger."""

    def opened(self, store: str) -> None:
        """It can be read and written now. Another name of the store: the old one is lost."""

    def closed(self) -> None: ...
    def changed(self, key: str, content: bytes, revision: int) -> None: ...


class KvLedger:
    """`run` opens it whenever there is a connection. A key's value is a message of its subject."""

    def __init__(
        self, link: Link, *, replicas: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._streams = Streams(link)
        self._replicas = replicas
        self._clock = clock
        self._changed = asyncio.Event()
        self._namespace: str | None = None
        self._reader: Reader | None = None
        self._js: JetStreamContext | None = None  # of the connection that stands
        self._bucket = ""
        self._told: str | None = None  # why it could not be opened
        self._keys: dict[str, str] = {}  # by the form they have in a subject, where that is another
        self._ahead_s = 0.0  # the server's clock of ours, at least
        link.follow(self._follow)

    def join(self, namespace: str) -> None:
        """Nothing is opened before."""
        if namespace != self._namespace:
            self._namespace = namespace
            self._changed.set()

    async def run(self, reader: Reader) -> None:
        """Until cancelled."""
        self._reader = reader
        while True:
            self._changed.clear()
            client = self._link.client
            if client is not None and self._namespace:
                try:
                    await self._open(client, self._namespace, reader)
                except (BrokerError, *LOST) as error:
                    reader.closed()
                    self._tell(_reason(error))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_S):
                            await self._changed.wait()
                    continue
            await self._changed.wait()

    def _tell(self, reason: str) -> None:
        """Once, however often it is tried again."""
        if reason != self._told:
            self._told = reason
            log.warning("NATS keeps no ledger of limits for us: %s", reason)

    def _follow(self, client: Client | None) -> None:
        self._js = None
        if client is None and self._reader is not None:
            self._reader.closed()
        self._changed.set()

    async def _open(self, client: Client, namespace: str, reader: Reader) -> None:
        bucket = self._bucket = limits_bucket(namespace)
        told = f"{nats_root(namespace)}.limits."
        js = client.jetstream(timeout=ANSWER_S)
        config = _config(bucket, told, self._replicas)
        found = await self._streams.ensure_stream(config, version=CONFIG_VERSION)

        async def on_change(message: Msg) -> None:
            headers = message.headers or {}
            self._ahead_s = _seconds(headers.get(_TIME, "")) - self._clock()
            key = self._key(message.subject.removeprefix(told))
            reader.changed(key, message.data, int(headers.get(_LAST, 0)))

        await client.subscribe(f"{told}>", cb=on_change)
        await client.flush(timeout=int(ANSWER_S))
        self._js = js
        self._told = None
        reader.opened(found["created"])  # it tells it from one that was lost

    # -- a Ledger --

    async def read(self, key: str) -> tuple[bytes, int, float] | None:
        js = self._standing()
        try:
            found = await js.get_last_msg(f"KV_{self._bucket}", self._subject(key))
        except NotFoundError:
            return None
        except LOST as error:
            raise ConnectionError from error
        age_s = 0.0 if found.time is None else self._age_s(found.time)
        return found.data or b"", found.seq or 0, age_s

    async def write(
        self, key: str, content: bytes, *, after: int | None = None, ttl_s: float | None = None
    ) -> int | None:
        js = self._standing()
        headers: dict[str, str] = {}
        if after is not None:
            headers[Header.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(after)
        ttl = None if ttl_s is None else max(1.0, ttl_s)
        try:
            done = await js.publish(self._subject(key), content, headers=headers, msg_ttl=ttl)
        except BadRequestError as error:
            if error.err_code in OTHER_REVISION:
                return None
            raise ConnectionError from error
        except LOST as error:
            raise ConnectionError from error
        return done.seq

    def _standing(self) -> JetStreamContext:
        if self._js is None:
            raise ConnectionError
        return self._js

    def _subject(self, key: str) -> str:
        fit = _UNFIT.sub(lambda found: f"={ord(found[0]):x}=", key)
        if fit != key:
            self._keys[fit] = key
        return f"$KV.{self._bucket}.{fit}"

    def _key(self, fit: str) -> str:
        return self._keys.get(fit, fit)

    def _age_s(self, at: datetime) -> float:
        """By the server's clock alone; never more than it is."""
        return max(0.0, self._clock() + self._ahead_s - at.timestamp()) if self._ahead_s else 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, Missing):
        return "its server has no JetStream"
    if isinstance(error, Unfit):
        return f"it refuses to change {error.name} as this version needs it, error {error.code}"
    if isinstance(error, Refused):
        return f"it refuses to make one, error {error.code}"
    return type(error).__name__


def _config(bucket: str, told: str, replicas: int) -> dict[str, Any]:
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "storage": "file",
        "max_msgs_per_subject": 1,
        "max_msg_size": MAX_RECORD_BYTES,
        "discard": "new",  # what is there is never dropped for what comes
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "republish": {"src": f"$KV.{bucket}.>", "dest": f"{told}>"},
        "num_replicas": replicas,
    }


def _seconds(stamp: str) -> float:
    """Since 1970. JetStream writes nine digits of a second, more than Python takes."""
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", stamp)).timestamp()
    except ValueError:
        return 0.0
