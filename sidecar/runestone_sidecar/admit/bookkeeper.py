"""Writes the records of keys as they should be for this sidecar, one write of a key at a time."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from runestone_sidecar.admit.ledger import Ledger
from runestone_sidecar.admit.members import Members
from runestone_sidecar.admit.permits import Rank
from runestone_sidecar.admit.record import UnknownRecord, decode, encode
from runestone_sidecar.admit.share import Share

KEEP_EMPTY_S: Final = 60.0  # a record that nobody holds anything by


@dataclass(slots=True)
class Bookkeeper:
    _ledger: Ledger
    _members: Members
    _clock: Callable[[], float]
    _on_away: Callable[[], None]  # the ledger does not answer
    is_open: bool = False
    is_shared: bool = False
    counts: Counter[str] = field(default_factory=Counter)  # what was asked of the ledger
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def _me(self) -> str:
        return self._members.me

    @property
    def sidecars(self) -> int:
        """Sidecars that share."""
        return len(self._members.living())

    def look(self, key: str, share: Share, *, is_news: bool = False) -> None:
        """What the record means for us; writes what is to be written."""
        now_s = self._clock()
        record, lots = share.next_record(self._me, (), self.sidecars, now_s)
        share.grant(lots, self._me)
        is_calm = not share.differs(record, self._me, now_s)
        share.looked(now_s, is_calm=is_calm and not is_news)
        if not is_calm or self._members.silent(share.record.holders):
            self.poke(key, share)

    def poke(self, key: str, share: Share) -> None:
        share.again = True
        if share.task is None:
            share.task = self.start(self._work(key, share))

    async def _work(self, key: str, share: Share) -> None:
        """Until the record is as it should be, as far as this sidecar goes."""
        try:
            share.again = True
            while share.again and self.is_open:
                share.again = False
                await self._write(key, share)
        except ConnectionError:
            share.is_known = False
            self._on_away()
        except UnknownRecord:
            share.is_known, share.is_foreign = False, True
            living = self._members.living()
            rank = Rank(living.index(self._me), len(living))
            share.grant_alone(self._me, rank, away_s=math.inf)
        finally:
            share.task = None
            share.wake()

    async def settle_up(self, key: str, share: Share) -> None:
        self.poke(key, share)
        while share.task is not None:
            await asyncio.wait([share.task])
        if not share.is_known and not share.is_foreign:
            raise ConnectionError

    async def leave(self, key: str, share: Share) -> None:
        """Whatever was under way, this comes after it."""
        if share.task is not None:
            await asyncio.wait([share.task])
        while True:
            await self._read(key, share)
            now_s = self._clock()
            record = share.last_record(self._me, now_s)
            ttl_s = None if record.holders else record.counts_for_s() + KEEP_EMPTY_S
            written = await self._ledger.write(
                key, encode(record), after=share.revision, ttl_s=ttl_s
            )
            if written is not None:
                return

    async def _write(self, key: str, share: Share) -> None:
        if not share.is_known:
            await self._read(key, share)
        dead: list[str] = []
        if self._members.silent(share.record.holders):
            dead = await self._members.dead(share.record.holders)
        now_s, after = self._clock(), share.revision
        is_modest = not self.is_shared
        record, lots = share.next_record(self._me, dead, self.sidecars, now_s, modest=is_modest)
        if self.is_shared:
            share.grant(lots, self._me)
        if not share.differs(record, self._me, now_s):
            return
        share.is_unsure = True
        self.counts["write"] += 1
        ttl_s = None if record.holders else record.counts_for_s() + KEEP_EMPTY_S
        revision = await self._ledger.write(key, encode(record), after=after, ttl_s=ttl_s)
        share.again = True
        if revision is None:
            self.counts["conflict"] += 1
            share.is_unsure = False
            share.is_known = share.revision > after  # it was told meanwhile
        else:
            share.wrote(record, self._me, now_s)
            if revision >= share.revision:
                share.adopt(record, revision, now_s)

    async def _read(self, key: str, share: Share) -> None:
        self.counts["read"] += 1
        found = await self._ledger.read(key)
        content, revision, age_s = found or (b"", 0, 0.0)
        is_unsure = share.is_unsure
        share.adopt(decode(content), revision, self._clock() - age_s)
        share.is_unsure = is_unsure

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
