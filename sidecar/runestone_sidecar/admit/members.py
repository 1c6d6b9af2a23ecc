"""Which sidecars share a namespace's limits, and for how long each may believe that it is one.

Each writes a sign of life into the ledger. One that cannot stops using what it holds before the
others take it for dead: they look at the age of its last sign by the ledger's own clock.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.admit.ledger import Ledger

ALIVE: Final = "_alive."  # no key's id begins so
BEATS: Final = 5  # in a lease


@dataclass(slots=True)
class Members:
    ledger: Ledger
    me: str
    lease_s: float
    clock: Callable[[], float]
    confirmed_s: float = -1.0  # that we are one
    until_s: float = -1.0  # we are one so long
    _heard: dict[str, float] = field(default_factory=dict)
    _since_s: float = 0.0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def beat_every_s(self) -> float:
        return self.lease_s / BEATS

    async def beat(self) -> None:
        """Raises ConnectionError."""
        sent_s = self.clock()
        await self.ledger.write(ALIVE + self.me, b"", ttl_s=3 * self.lease_s)
        self.confirmed_s = sent_s
        self.until_s = sent_s + self.lease_s - self.beat_every_s

    def begin(self) -> None:
        """Connected anew: nobody was heard for a while, and that says nothing."""
        self._since_s = self.clock()

    def heard(self, key: str) -> bool:
        """Whether it is a new one."""
        holder = key.removeprefix(ALIVE)
        is_new = holder not in self._heard and holder != self.me
        self._heard[holder] = self.clock()
        self._news.set()
        return is_new

    def forget_the_dead(self) -> None:
        now_s = self.clock()
        for holder, heard_s in [*self._heard.items()]:
            if now_s - max(heard_s, self._since_s) > 3 * self.lease_s:
                del self._heard[holder]

    def living(self) -> list[str]:
        """This one too; in the same order everywhere. For metrics, from another thread too."""
        since_s = self.clock() - self.lease_s
        return sorted(
            {self.me, *(id_ for id_, heard_s in [*self._heard.items()] if heard_s > since_s)}
        )

    def known(self) -> list[str]:
        """Those there were when anything was heard last."""
        since_s = max(self._heard.values(), default=0.0) - self.lease_s
        return sorted(
            {self.me, *(id_ for id_, heard_s in self._heard.items() if heard_s > since_s)}
        )

    async def heard_again(self, others: Collection[str]) -> None:
        """Returns once each of them was, since the connection."""
        while any(self._heard.get(id_, -1.0) < self._since_s for id_ in others):
            self._news.clear()
            await self._news.wait()

    def silent(self, holders: Iterable[str]) -> list[str]:
        now_s = self.clock()
        return [
            id_
            for id_ in holders
            if id_ != self.me
            and now_s - max(self._heard.get(id_, 0.0), self._since_s) > self.lease_s
        ]

    async def dead(self, holders: Iterable[str]) -> list[str]:
        """Of those silent the ones that the ledger has heard no more of than we. Raises
        ConnectionError."""
        found = []
        for holder in self.silent(holders):
            sign = await self.ledger.read(ALIVE + holder)
            if sign is None or sign[2] > self.lease_s:
                found.append(holder)
            else:
                self._heard[holder] = self.clock() - sign[2]
        return found
