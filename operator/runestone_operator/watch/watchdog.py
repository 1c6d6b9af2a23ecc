"""Finds pods that ask for a sidecar and run without: those made while the webhook did not answer
(its failurePolicy is Ignore, so that its death stops nobody), and those older than the wish.

Pods with the label come by the watch. Those of a namespace with the label have none of their own
unless they were injected, so they are looked for by its absence.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from runestone_contract.names import INJECT_LABEL
from runestone_operator.api.scalars import Timestamp
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import NamespaceView, PodView, build_view
from runestone_operator.errors import KubeError, NotFoundError
from runestone_operator.inject.names import MIRROR_ANNOTATION, SKIPPED_ANNOTATION
from runestone_operator.kinds import NAMESPACE, POD
from runestone_operator.metrics import Metrics
from runestone_operator.publish.events import Notice, post_event
from runestone_operator.publish.kube import Kube

log = logging.getLogger(__name__)

_UNLABELLED: Final = ("labelSelector", f"!{INJECT_LABEL}")
_ALIVE: Final = ("fieldSelector", "status.phase!=Succeeded,status.phase!=Failed")
_EXEMPT: Final = frozenset({SKIPPED_ANNOTATION, MIRROR_ANNOTATION})


class Watchdog:
    def __init__(self, kube: Kube, cache: Cache, metrics: Metrics) -> None:
        self._kube = kube
        self._cache = cache
        self._metrics = metrics
        self._bare: set[str] = set()  # uids of pods without, that were told of
        self._fine: set[str] = set()  # uids of pods that have no label and were looked at

    async def serve(self, period_s: float) -> None:
        """Until cancelled. To be begun when everything is known."""
        try:
            while True:
                try:
                    await self.look()
                except KubeError as error:
                    log.warning("watchdog failed", extra={"error": str(error)})
                await asyncio.sleep(period_s)
        finally:
            self._metrics.uninjected.set(0)  # another looks after it now, and counts

    async def look(self) -> None:
        found: dict[str, PodView | None] = {pod.uid: pod for pod in self._labelled()}
        seen: set[str] = set()
        async for meta in self._unlabelled():
            seen.add(meta["uid"])
            if meta["uid"] in self._bare:
                found[meta["uid"]] = None
            elif meta["uid"] not in self._fine and (pod := await self._without(meta)):
                found[pod.uid] = pod
            else:
                self._fine.add(meta["uid"])
        for uid, pod in found.items():
            if pod is not None and uid not in self._bare:
                await self._tell(pod)
        self._bare, self._fine = set(found), self._fine & seen
        self._metrics.uninjected.set(len(found))

    def _labelled(self) -> Iterator[PodView]:
        for view in self._cache.everywhere(POD):
            if isinstance(view, PodView) and not view.has_sidecar and not view.is_over:
                yield view

    async def _unlabelled(self) -> AsyncIterator[Mapping[str, Any]]:
        for view in list(self._cache.everywhere(NAMESPACE)):
            if not isinstance(view, NamespaceView) or view.is_ending:
                continue
            if view.labels.get(INJECT_LABEL) != "true":
                continue
            pages = self._kube.list_metadata(
                POD, namespace=view.name, selectors=(_UNLABELLED, _ALIVE)
            )
            async for page in pages:
                for item in page.get("items") or ():
                    meta = item["metadata"]
                    annotations = meta.get("annotations") or {}
                    if not _EXEMPT & annotations.keys() and "deletionTimestamp" not in meta:
                        yield meta

    async def _without(self, meta: Mapping[str, Any]) -> PodView | None:
        """The pod, if it really has no sidecar: metadata do not say."""
        try:
            view = build_view(POD, await self._kube.read(POD, meta["namespace"], meta["name"]))
        except NotFoundError:
            return None
        assert isinstance(view, PodView)
        return None if view.has_sidecar or view.is_over else view

    async def _tell(self, pod: PodView) -> None:
        log.warning(
            "pod runs without the sidecar that it asks for",
            extra={"namespace": pod.namespace, "pod": pod.name},
        )
        await post_event(self._kube, pod, _notice(Timestamp.of(datetime.now(UTC))))


def _notice(at: Timestamp) -> Notice:
    return Notice(
        identity=("NotInjected",),
        at=at,
        action="Inject",
        reason="NotInjected",
        note="it asks for a Runestone sidecar and runs without: it was created while the webhook"
        " did not answer, or before it was asked to. Delete it, so that its owner makes it anew.",
        is_warning=True,
    )
