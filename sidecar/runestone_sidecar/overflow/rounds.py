"""Workers and couriers serve a store while there is one, and leave in good order."""

import asyncio
import contextlib
import logging
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.broker.faults import BrokerError, Missing
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Store

AWAY_LOOK_S: Final = 1.0
TROUBLE_S: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Rounds:
    """What is served, and how, is its heirs'."""

    space: Space
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _running: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _consumers: dict[str, str] = field(init=False, default_factory=dict)  # by owner
    _of: Store | None = field(init=False, default=None)  # that they belong to
    _leaving: bool = field(init=False, default=False)

    async def run(self) -> None:
        """Until cancelled; what is under way then is given back."""
        try:
            while not self._leaving:
                store = self.space.store
                if store is None:
                    self._of = None
                    self._is_away()
                    await self._sit_out(AWAY_LOOK_S)
                    continue
                try:
                    async with self._woken_by(store):
                        await self._serve(store)
                except BrokerError as error:
                    log.debug("%s: %s", type(self).__name__, type(error).__name__)
                    if isinstance(error, Missing):
                        self.space.lose()
                    await self._sit_out(TROUBLE_S)
            await asyncio.Event().wait()
        finally:
            await self._give_back()

    def leave(self) -> None:
        """Take no more."""
        self._leaving = True
        self._wake.set()

    async def finish(self, within_s: float) -> None:
        """What is under way has so long to end, and is given back then."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, within_s))
        await self._give_back()

    def _is_away(self) -> None:
        """There is no store just now."""

    @abstractmethod
    def _woken_by(self, store: Store) -> AbstractAsyncContextManager[None]:
        """While it is entered, news of the store set `_wake`. Raises BrokerError."""

    @abstractmethod
    async def _serve(self, store: Store) -> None:
        """While it is this store. Raises BrokerError."""

    async def _give_back(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _sit_out(self, longest_s: float) -> None:
        """What woke us before the trouble is no news: with it this would not wait at all, and give
        the event loop no turn for anything, not even for what ends the trouble."""
        self._wake.clear()
        if not self._leaving:
            await self._rest(longest_s)

    async def _rest(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._wake.wait()
