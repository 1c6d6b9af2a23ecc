"""The safety net under the watches: compares what we know with what the API server lists.

At the start it tells when the picture is whole: until then, what is missing may only not have come
in yet. Later it finds what a watch has missed. One that had to start over lists what exists and
says nothing of what was deleted meanwhile, so a revoked key would live on in our memory. Lists
carry metadata only; what is really missing is then read one by one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from runestone_operator.collect.cache import Cache, Change, Place
from runestone_operator.collect.views import build_view
from runestone_operator.errors import KubeError, NotFoundError
from runestone_operator.kinds import WATCHED, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube

log = logging.getLogger(__name__)

SETTLE_S: Final = 2.0  # what the watch is about to tell is not missed
POLL_S: Final = 0.05

Selectors = Mapping[Kind, tuple[str, str]]


class Resync:
    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        note: Callable[[Change], None],
        *,
        selectors: Selectors,
        metrics: Metrics,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._note = note
        self._selectors = selectors
        self._metrics = metrics
        self.is_whole = False
        self._hints: set[Kind] = set()
        self._hinted = asyncio.Event()

    def listed(self, kind: Kind) -> None:
        """A list of this kind came in: if it is not the first, the watch has started over."""
        if self.is_whole:
            self._hints.add(kind)
            self._hinted.set()

    async def wait_until_whole(self) -> None:
        """Until everything is known that there is now."""
        async with asyncio.TaskGroup() as tasks:
            for kind in WATCHED:
                tasks.create_task(self._take_in(kind))
        self.is_whole = True

    async def _take_in(self, kind: Kind) -> None:
        while True:
            try:
                listed, _ = await self._list(kind)
                await self._wait_for(kind, listed)
            except KubeError as error:
                log.warning("list failed", extra={"kind": kind.name, "error": str(error)})
                await asyncio.sleep(SETTLE_S)
            else:
                return

    async def _wait_for(self, kind: Kind, listed: Mapping[Place, int]) -> None:
        loop = asyncio.get_running_loop()
        missing, progress_s = self._behind(kind, listed), loop.time()
        while missing:
            await asyncio.sleep(POLL_S)
            left = self._behind(kind, missing)
            if len(left) < len(missing):
                progress_s = loop.time()
            elif loop.time() - progress_s > SETTLE_S:  # it was deleted, or the watch is late
                for place in left:
                    await self._catch_up(kind, place)
                return
            missing = left

    async def serve(self, period_s: float) -> None:
        """Everything once a period, and a kind whose watch has started over soon. Until
        cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + period_s
        while True:
            try:
                async with asyncio.timeout_at(due_s):
                    await self._hinted.wait()
                    await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                self._hints.update(WATCHED)
                due_s = loop.time() + period_s
            kinds, self._hints = self._hints, set()
            self._hinted.clear()
            for kind in kinds:
                await self._guarded(kind)

    async def _guarded(self, kind: Kind) -> None:
        try:
            await self.compare(kind)
        except KubeError as error:
            log.warning("resync failed", extra={"kind": kind.name, "error": str(error)})

    async def compare(self, kind: Kind) -> None:
        listed, as_of = await self._list(kind)
        for place, version in self._cache.versions(kind).items():
            if place not in listed and version <= as_of:
                self._missed(kind, place, self._cache.remove(kind, *place, as_of))
        behind = self._behind(kind, listed)
        if behind:
            await asyncio.sleep(SETTLE_S)
        for place in self._behind(kind, behind):
            await self._catch_up(kind, place)

    async def _list(self, kind: Kind) -> tuple[dict[Place, int], int]:
        listed: dict[Place, int] = {}
        as_of = 0
        selectors = [self._selectors[kind]] if kind in self._selectors else []
        async for page in self._kube.list_metadata(kind, selectors=selectors):
            as_of = int(page["metadata"]["resourceVersion"])
            for item in page.get("items") or ():
                meta = item["metadata"]
                listed[meta.get("namespace", ""), meta["name"]] = int(meta["resourceVersion"])
        return listed, as_of

    def _behind(self, kind: Kind, listed: Mapping[Place, int]) -> dict[Place, int]:
        known = self._cache.versions(kind)
        return {place: at for place, at in listed.items() if known.get(place, 0) < at}

    async def _catch_up(self, kind: Kind, place: Place) -> None:
        try:
            body = await self._kube.read(kind, *place)
        except NotFoundError:
            return
        self._missed(kind, place, self._cache.put(build_view(kind, body)))

    def _missed(self, kind: Kind, place: Place, change: Change | None) -> None:
        if change is None:
            return
        self._metrics.missed.labels(kind.name).inc()
        log.warning(
            "the watch had missed a change",
            extra={"kind": kind.name, "namespace": place[0], "name_": place[1]},
        )
        self._note(change)
