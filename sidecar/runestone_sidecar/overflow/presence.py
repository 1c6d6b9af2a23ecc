"""Which jobs this sidecar runs, for others that are brought one of them; and the same of others.

A message that comes again says only that its worker was not heard in time. After a nats-server that
was away that is as likely the fault of the connection, and to run the job once more would cost a
second call. So its worker is asked: one that says it runs the job keeps it. One that nobody listens
for is dead, and one that does not answer stands still: its job is taken over. Only right after a
connection was made nobody is given up: others may still be on their way.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Missing, Unsure
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.names import Names
from runestone_sidecar.overflow.record import JobRecord

ANSWER_S: Final = 1.0
AGAIN_S: Final = 1.0
YES: Final = b"yes"
NO: Final = b"no"


@dataclass(slots=True)
class Presence:
    streams: Streams
    holder: Holder
    silence_s: float  # for so long after a connection nobody is given up, nor asked twice in vain
    worker: str = field(default_factory=lambda: secrets.token_hex(8))
    _running: set[str] = field(default_factory=set)  # jobs
    _silent: dict[str, float] = field(default_factory=dict)  # workers, and until when

    @contextlib.contextmanager
    def at_work(self, job_id: str) -> Iterator[None]:
        self._running.add(job_id)
        try:
            yield
        finally:
            self._running.discard(job_id)

    async def run(self) -> None:
        """Until cancelled: answers on each connection."""
        changed = asyncio.Event()
        self.streams.follow(lambda _: changed.set())
        self.holder.on_swap(lambda _: changed.set())
        while True:
            changed.clear()
            names = self._names()
            if names is None or not self.streams.is_up:
                await changed.wait()
                continue
            with contextlib.suppress(BrokerError):
                async with self.streams.answering(names.at_work(self.worker), self._answer):
                    await self._stands(changed, names)
            await asyncio.sleep(0 if changed.is_set() else AGAIN_S)

    async def runs(self, names: Names, record: JobRecord) -> bool:
        """Whether the worker that the record names lives, and has the job in hand. Raises
        BrokerError where that cannot be asked."""
        worker = record.worker
        if worker == self.worker:
            return record.id in self._running
        if not worker.isalnum() or self._silent.get(worker, 0.0) > time.monotonic():
            return False
        try:
            said = await self.streams.ask(
                names.at_work(worker),
                record.id.encode(),
                inbox=names.said(secrets.token_hex(8)),
                within_s=ANSWER_S,
            )
        except (Missing, Unsure) as error:
            if self.streams.up_for_s < self.silence_s:
                return True
            if isinstance(error, Unsure):
                self._note_silent(worker)
            return False
        return said == YES

    def _note_silent(self, worker: str) -> None:
        now_s = time.monotonic()
        silent = {name: until_s for name, until_s in self._silent.items() if until_s > now_s}
        self._silent = silent | {worker: now_s + self.silence_s}

    def _answer(self, asked: bytes) -> bytes:
        return YES if asked.decode(errors="replace") in self._running else NO

    def _names(self) -> Names | None:
        snapshot = self.holder.current
        return Names(snapshot.namespace) if snapshot is not None else None

    async def _stands(self, changed: asyncio.Event, names: Names) -> None:
        """While the connection does, and the namespace is that: a reload is no reason to be
        deaf for a moment."""
        up_since_s = self.streams.up_since_s
        while self.streams.up_since_s == up_since_s and self._names() == names:
            await changed.wait()
            changed.clear()
