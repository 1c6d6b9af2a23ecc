"""The namespace's store of jobs, once there is what it takes: configuration, key, connection."""

import asyncio
import logging
from dataclasses import dataclass, field

from runestone_sidecar.broker.faults import BrokerError, Refused, Unfit
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.errors import QueueUnavailable
from runestone_sidecar.overflow.names import Names
from runestone_sidecar.overflow.seal import BadKey, Sealer, parse_key
from runestone_sidecar.overflow.store import ACK_WAIT_S, Store

AGAIN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Space:
    """`store` is None while jobs can neither be taken nor run; requests go on without."""

    streams: Streams
    holder: Holder
    max_bytes: int
    ack_wait_s: float = ACK_WAIT_S
    replicas: int = 1
    again_s: float = AGAIN_S
    store: Store | None = None
    _told: str | None = None  # why there is none, as it was logged last
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _built: tuple[str, str] | None = None  # namespace and key that `_candidate` is for
    _candidate: Store | None = None

    @property
    def is_configured(self) -> bool:
        """Whether jobs are meant to be: a key to seal them with is there."""
        snapshot = self.holder.current
        return snapshot is not None and snapshot.overflow_key is not None

    def open(self) -> Store:
        """Raises QueueUnavailable."""
        if self.store is None:
            raise QueueUnavailable
        return self.store

    def lose(self) -> None:
        """Streams are not there any more, or may not be: they are looked at anew."""
        self.store = None
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled: makes the streams with each connection and each new key."""
        self.streams.follow(lambda _: self.lose())
        self.holder.on_swap(lambda _: self._changed.set())
        while True:
            self._changed.clear()
            wanted = self._wanted()
            if wanted is None or not self.streams.is_up:
                self.store = None
                await self._changed.wait()
                continue
            if self.store is not wanted:
                try:
                    await wanted.ensure()
                except BrokerError as error:
                    self._tell(_reason(error))
                    await asyncio.sleep(self.again_s)
                    continue
                self._told = None
                if not self._changed.is_set():
                    self.store = wanted
            await self._changed.wait()

    def _wanted(self) -> Store | None:
        snapshot = self.holder.current
        if snapshot is None or snapshot.overflow_key is None:
            return None
        built = (snapshot.namespace, snapshot.overflow_key)
        if built != self._built:
            self._built, self._candidate = built, self._build(*built)
        return self._candidate

    def _tell(self, reason: str) -> None:
        """Once: it is tried again every few seconds, for as long as it takes."""
        if reason != self._told:
            self._told = reason
            log.warning("no jobs are taken or run: %s", reason)

    def _build(self, namespace: str, key: str) -> Store | None:
        try:
            sealer = Sealer(parse_key(key))
        except BadKey:
            log.error("the overflow key is not 32 bytes in base64: no jobs are taken or run")
            return None
        names = Names(namespace)
        return Store(self.streams, names, sealer, self.max_bytes, self.ack_wait_s, self.replicas)


def _reason(error: BrokerError) -> str:
    if isinstance(error, Unfit):
        return (
            f"NATS refuses to change {error.name} as this version needs it, with error"
            f" {error.code}; was it made by somebody else?"
        )
    if isinstance(error, Refused):
        return f"NATS refused the streams that they need, with error {error.code}"
    return "NATS does not answer; does its server have JetStream?"
