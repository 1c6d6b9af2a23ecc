"""The third pass: what there is to say about each resource goes into its status, if it is news."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from runestone_operator.api.conditions import PROGRAMMED
from runestone_operator.api.scalars import Timestamp
from runestone_operator.api.status import ResourceStatus
from runestone_operator.collect.views import ResourceView, build_view
from runestone_operator.compiler.verdicts import ResourceRef
from runestone_operator.errors import ConflictError, NotFoundError
from runestone_operator.kinds import RESOURCES
from runestone_operator.publish.events import notice_of, post_event
from runestone_operator.publish.parallel import for_each
from runestone_operator.publish.status import (
    Finding,
    Status,
    build_status,
    finding_of,
    kept_finding,
    transitions,
)
from runestone_operator.reconcile.notices import RotationNotices
from runestone_operator.reconcile.programmed import Programmed, Reason, judge
from runestone_operator.reconcile.state import NamespaceState, World

log = logging.getLogger(__name__)

_KIND: Final = {kind.name: kind for kind in RESOURCES}


class Reporting:
    def __init__(self, world: World) -> None:
        self._world = world
        self._notices = RotationNotices(world)

    async def run(self, namespace: str) -> None:
        state = self._world.states.get(namespace)
        if state is not None:
            await for_each(list(state.verdicts), self._report)
            await self._notices.tell(namespace)

    async def _report(self, resource: ResourceRef) -> None:
        """By the newest state, which may be newer than the one that the pass began with."""
        world = self._world
        state = world.states.get(resource.namespace)
        kind = _KIND[resource.kind]
        view = world.cache.resource(kind, resource.namespace, resource.name)
        if state is None or view is None or resource not in state.verdicts:
            return
        before = _own_part(view.status)
        after = self._status(resource, view, state)
        if after == before:
            return
        meta = {"namespace": view.namespace, "name": view.name, "uid": view.uid}
        try:
            made = await world.kube.apply(kind, {"metadata": meta, "status": after}, status=True)
        except (NotFoundError, ConflictError):
            return  # deleted, or another object of that name by now: its event will come
        world.cache.put(build_view(kind, made))
        await self._post_events(view, before, after)

    def _status(self, resource: ResourceRef, view: ResourceView, state: NamespaceState) -> Status:
        world = self._world
        findings = [finding_of(verdict) for verdict in state.verdicts[resource]]
        programmed = judge(resource, view, state, world.fleet)
        facts = state.compiled.statuses.get(resource, ResourceStatus())
        return build_status(
            view.status,
            facts=facts.model_copy(update=_rollout_facts(programmed, view.status)),
            findings=[*findings, *_programmed_finding(programmed, view.status)],
            generation=state.generations[resource],
            now=Timestamp.of(datetime.now(UTC)),
        )

    async def _post_events(
        self, view: ResourceView, before: Mapping[str, Any], after: Status
    ) -> None:
        for condition in transitions(before, after):
            if condition.reason == Reason.WAITING:
                continue  # every change waits for a moment, and that is no news
            log.info(
                "condition changed",
                extra={
                    "namespace": view.namespace,
                    "resource": f"{view.kind.name}/{view.name}",
                    "condition": f"{condition.type}={condition.status}",
                    "reason": condition.reason,
                },
            )
            await post_event(self._world.kube, view, notice_of(condition))


def _own_part(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without conditions that other controllers may have added."""
    own = {"Accepted", "ResolvedRefs", "Programmed", "Conflicted"}
    conditions = status.get("conditions")
    if not isinstance(conditions, list):
        return status
    kept = [item for item in conditions if isinstance(item, dict) and item.get("type") in own]
    return {**status, "conditions": kept}


def _programmed_finding(
    programmed: Programmed | None, status: Mapping[str, Any]
) -> Iterator[Finding]:
    if programmed is not None:
        yield Finding(PROGRAMMED, programmed.is_true, programmed.reason, programmed.message)
    elif (kept := kept_finding(status, PROGRAMMED)) is not None:
        yield kept


def _rollout_facts(programmed: Programmed | None, status: Mapping[str, Any]) -> dict[str, Any]:
    if programmed is None:
        return {"sidecars": status.get("sidecars"), "digest": status.get("digest")}
    return {"sidecars": programmed.sidecars, "digest": programmed.digest}
