"""What Kopf calls: indices tell of what is, events of what is gone. No logic here.

Every kind has an index, because Kopf calls no event handler before the indices have taken in every
listed object: the first event means that the picture is whole. There are no handlers of changes:
with those Kopf keeps a copy of the object in its annotations, and progress and errors as well.
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

    def seen(self, kind: Kind, body: Mapping[str, Any]) -> None:
        if self.canary.is_it(kind, body["metadata"]):
            self.canary.heard(int(body["metadata"]["resourceVersion"]))
        self.reconciler.seen(kind, body)

    def listed(self, kind: Kind) -> None:
        """An object of a list, and every first list has been taken in. A later one means that the
        watch has started over; what was deleted before that, it does not tell."""
        if self.reconciler.is_whole:
            self.resync.hint(kind)
        self.reconciler.begin()


def build_registry(ears: Ears, *, in_cluster: bool) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    login = kopf.login_with_service_account if in_cluster else kopf.login_with_kubeconfig
    kopf.on.login(registry=registry, id="login")(login)
    for kind in WATCHED:
        _register(registry, kind, ears)
    return registry


def _register(registry: kopf.OperatorRegistry, kind: Kind, ears: Ears) -> None:
    where = (kind.group, kind.version, kind.plural)

    @kopf.index(*where, registry=registry, id=f"see-{kind.plural}")
    async def see(body: kopf.Body, **_: Any) -> None:
        ears.seen(kind, body)

    @kopf.on.event(*where, registry=registry, id=f"follow-{kind.plural}")
    async def follow(body: kopf.Body, type: str | None, **_: Any) -> None:
        if type == "DELETED":
            ears.reconciler.gone(kind, body)
        elif type is None:
            ears.listed(kind)
