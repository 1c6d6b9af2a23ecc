"""Replaces the generated keys that are due, so that nobody who uses the newest key is refused.

A new key first exists in memory alone, and its hash in the configuration. When every sidecar lets
it in, it is written into its Secret, where applications find it. An operator that dies before has
lost a key that nobody has seen; the next one begins anew.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from runestone_contract.config import KeyHash
from runestone_operator.api.resource import ApiKey
from runestone_operator.api.scalars import Timestamp
from runestone_operator.collect.history import rotation_due
from runestone_operator.collect.inputs import history_of
from runestone_operator.compiler.inputs import fact_of
from runestone_operator.errors import RefusedError
from runestone_operator.kinds import KEY
from runestone_operator.publish.client_key import generate_key, replace_client_key
from runestone_operator.publish.events import Notice, post_event
from runestone_operator.publish.parallel import for_each
from runestone_operator.reconcile.state import World

log = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0  # with sidecars that do not take over the new hash, or do not answer
LOOK_AGAIN_S: Final = 3600.0  # at least so often: the clock on the wall may be set


@dataclass(frozen=True, slots=True)
class Coming:
    """A key that is on its way into its Secret."""

    uid: str
    value: str = field(repr=False)
    since_s: float
    not_before_s: float = 0.0  # it was refused, and is not to be tried at once

    @property
    def hash(self) -> KeyHash:
        return KeyHash(sha256=fact_of(self.value.encode()).sha256)


class Rotation:
    def __init__(self, world: World) -> None:
        self._world = world
        self._coming: dict[str, dict[str, Coming]] = {}  # namespace -> ApiKey -> its new key

    def coming(self, namespace: str) -> Mapping[str, KeyHash]:
        return {name: each.hash for name, each in self._coming.get(namespace, {}).items()}

    def is_ready(self, namespace: str) -> bool:
        """Whether there is a key that its Secret can hold now."""
        coming = self._coming.get(namespace, {})
        return any(self._is_time(namespace, name, coming) for name in coming)

    def forget(self, namespace: str) -> None:
        self._coming.pop(namespace, None)

    def forget_all(self) -> None:
        self._coming.clear()

    async def run(self, namespace: str) -> RefusedError | None:
        """Takes every due key one step further. One that may not be written stops no other."""
        due = {key.meta.name: key for key in self._keys(namespace) if self._is_due(key)}
        coming = self._coming.setdefault(namespace, {})
        for name in list(coming):
            if name not in due or due[name].meta.uid != coming[name].uid:
                del coming[name]
        refused: list[RefusedError] = []

        async def advance(key: ApiKey) -> None:
            name = key.meta.name
            try:
                await self._replace(key, coming[name])
            except RefusedError as error:
                refused.append(error)
                again_s = self._world.now_s() + error.retry_within_s
                coming[name] = replace(coming[name], not_before_s=again_s)
                await self._tell_refused(key, error)
            else:
                del coming[name]

        ready = [key for name, key in due.items() if self._is_time(namespace, name, coming)]
        for name, key in due.items():
            if name not in coming:
                coming[name] = Coming(key.meta.uid, generate_key(), self._world.now_s())
        await for_each(ready, advance)
        if not coming:
            self.forget(namespace)
        return refused[0] if refused else None

    def again_s(self, namespace: str) -> float | None:
        """In how many seconds there is something to do, if nothing changes until then."""
        soonest_s = min(self._waits(namespace), default=None)
        return None if soonest_s is None else min(max(0.0, soonest_s), LOOK_AGAIN_S)

    def _waits(self, namespace: str) -> Iterator[float]:
        now_s = self._world.now_s()
        coming = self._coming.get(namespace, {})
        for key in self._keys(namespace):
            history = history_of(key, self._world.cache)
            if history is None:
                continue
            due = rotation_due(key, history, now_s)
            if key.meta.name in coming:
                waiting = coming[key.meta.name]
                yield max(1.0, max(waiting.since_s + PATIENCE_S, waiting.not_before_s) - now_s)
            elif due is not None:
                yield due[1]
            # The sidecars' clocks have ended it by then: now it is to go from the configuration.
            yield from (old.until_s - now_s for old in history.retired if old.until_s > now_s)

    def _keys(self, namespace: str) -> Iterator[ApiKey]:
        for view in self._world.cache.resources(KEY, namespace):
            key = view.resource
            if isinstance(key, ApiKey) and key.meta.deletion_timestamp is None:
                yield key

    def _is_due(self, key: ApiKey) -> bool:
        history = history_of(key, self._world.cache)
        due = rotation_due(key, history, self._world.now_s()) if history else None
        return due is not None and due[1] <= 0

    def _is_time(self, namespace: str, name: str, coming: Mapping[str, Coming]) -> bool:
        """For the key that is coming to be written, if there is one."""
        now_s, this = self._world.now_s(), coming.get(name)
        if this is None or now_s < this.not_before_s:
            return False
        return now_s > this.since_s + PATIENCE_S or self._is_known(namespace, name, this)

    def _is_known(self, namespace: str, name: str, coming: Coming) -> bool:
        """To every sidecar, of those that let the ApiKey in at all."""
        rollout, record = self._world.fleet.rollout(namespace), f"key {namespace}/{name}"
        if rollout is None:
            return False
        line = rollout.lines.get(record)
        if line is None:
            return True
        tally = self._world.fleet.tally(namespace, record)
        return coming.hash.sha256.encode() in line and tally.have == tally.total

    async def _tell_refused(self, key: ApiKey, error: RefusedError) -> None:
        """A quota, an admission policy, an immutable Secret: for someone to mend."""
        view = self._world.cache.resource(KEY, key.meta.namespace, key.meta.name)
        history = history_of(key, self._world.cache)
        if view is None or history is None:
            return
        notice = Notice(
            identity=("KeyNotReplaced", str(history.made_at_s), history.made_for, error.reason),
            at=Timestamp.of_epoch_s(int(self._world.now_s())),
            action="Rotate",
            reason="KeyNotReplaced",
            note=f"a new key is due, and cannot be written: {error}; the one there is works on",
            is_warning=True,
        )
        await post_event(self._world.kube, view, notice)

    async def _replace(self, key: ApiKey, coming: Coming) -> None:
        world = self._world
        cause = await replace_client_key(world.kube, world.cache, key, coming.value, world.now_s())
        if cause is not None:
            world.metrics.rotations.labels(cause).inc()
            place = {"namespace": key.meta.namespace, "resource": f"ApiKey/{key.meta.name}"}
            log.info("client key replaced", extra={**place, "cause": str(cause)})
