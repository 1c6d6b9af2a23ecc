"""What Kopf calls: handlers of events, and of nothing else. No logic here.

There are no handlers of changes: with those Kopf keeps a copy of the object in its annotations, and
its progress and errors as well. There are no indices either: until all of them are filled, Kopf
wakes every object's task for every object that comes in, which for 2,000 objects takes a minute and
grows with the square. That the picture is whole is told by a list of our own (see watch/resync.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kopf

from runestone_operator.kinds import WATCHED, Kind
from runestone_operator.reconcile.reconciler import Reconciler
from runestone_operator.watch.canary import Canary
from runestone_operator.watch.resync import Resync


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is to hear what the watches tell."""

    reconciler: Reconciler
    canary: Canary
    resync: Resync

    def hear(self, kind: Kind, type: str | None, body: Mapping[str, Any]) -> None:
        if type == "DELETED":
            self.reconciler.gone(kind, body)
            return
        if self.canary.is_it(kind, body["metadata"]):
            self.canary.heard(int(body["metadata"]["resourceVersion"]))
        self.reconciler.seen(kind, body)
        if type is None:  # it comes from a list, not from the watch
            self.resync.listed(kind)


def build_registry(ears: Ears, *, in_cluster: bool) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    login = kopf.login_with_service_account if in_cluster else kopf.login_with_kubeconfig
    kopf.on.login(registry=registry, id="login")(login)
    for kind in WATCHED:
        _register(registry, kind, ears)
    return registry


def _register(registry: kopf.OperatorRegistry, kind: Kind, ears: Ears) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)
    async def follow(body: kopf.Body, type: str | None, **_: Any) -> None:
        ears.hear(kind, type, body)
