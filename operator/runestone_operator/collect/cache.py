"""What is known of the cluster: the newest view of every object, whoever told of it.

The watch tells, and so does the answer to each of our own writes: the higher resourceVersion wins,
so an own write is not met again as news, and an answer that comes late does not turn time back.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from runestone_operator.collect.views import (
    ConfigMapView,
    NamespaceView,
    PodView,
    ResourceView,
    SecretView,
    View,
)
from runestone_operator.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    POD,
    RESOURCES,
    SECRET,
    WATCHED,
    Kind,
)

REMEMBERED_DELETIONS: Final = 10_000

V = TypeVar("V", bound=View)
Place = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True)
class Change:
    """Of one object, in what matters; `before` is None for a new one, `after` for one that went."""

    before: View | None
    after: View | None

    @property
    def sides(self) -> tuple[View, ...]:
        return tuple(side for side in (self.before, self.after) if side is not None)


class Cache:
    def __init__(self) -> None:
        self._views: dict[Kind, dict[str, dict[str, View]]] = {kind: {} for kind in WATCHED}
        self._deleted: OrderedDict[tuple[Kind, str, str], int] = OrderedDict()

    def put(self, view: View) -> Change | None:
        """None where it is old or says nothing new."""
        if view.version <= self._deleted.get((view.kind, view.namespace, view.name), 0):
            return None
        inside = self._views[view.kind].setdefault(view.namespace, {})
        before = inside.get(view.name)
        if before is not None and before.version >= view.version:
            return None
        inside[view.name] = view
        return None if view == before else Change(before, view)

    def remove(self, kind: Kind, namespace: str, name: str, version: int) -> Change | None:
        """The object was deleted, as of `version`."""
        self._remember_deletion((kind, namespace, name), version)
        inside = self._views[kind].get(namespace, {})
        before = inside.get(name)
        if before is None or before.version > version:
            return None
        del inside[name]
        if not inside:
            del self._views[kind][namespace]
        return Change(before, None)

    def _remember_deletion(self, key: tuple[Kind, str, str], version: int) -> None:
        self._deleted[key] = max(version, self._deleted.pop(key, 0))
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def resources(self, kind: Kind, namespace: str) -> list[ResourceView]:
        return self._all(ResourceView, kind, namespace)

    def resource(self, kind: Kind, namespace: str, name: str) -> ResourceView | None:
        return self._one(ResourceView, kind, namespace, name)

    def has_resources(self, namespace: str) -> bool:
        return any(namespace in self._views[kind] for kind in RESOURCES)

    def resource_namespaces(self) -> set[str]:
        return {namespace for kind in RESOURCES for namespace in self._views[kind]}

    def occupied_namespaces(self) -> set[str]:
        """Where there are resources, or what was written for some."""
        return self.resource_namespaces() | set(self._views[CONFIG_MAP])

    def everywhere(self, kind: Kind) -> Iterator[View]:
        for inside in list(self._views[kind].values()):
            yield from inside.values()

    def secret(self, namespace: str, name: str) -> SecretView | None:
        return self._one(SecretView, SECRET, namespace, name)

    def secrets(self, namespace: str) -> list[SecretView]:
        return self._all(SecretView, SECRET, namespace)

    def config_map(self, namespace: str, name: str) -> ConfigMapView | None:
        return self._one(ConfigMapView, CONFIG_MAP, namespace, name)

    def running_pods(self, namespace: str) -> list[PodView]:
        """That have a sidecar, and an address to ask it at."""
        return [pod for pod in self._all(PodView, POD, namespace) if pod.is_reachable]

    def namespace(self, name: str) -> NamespaceView | None:
        return self._one(NamespaceView, NAMESPACE, "", name)

    def versions(self, kind: Kind) -> Mapping[Place, int]:
        return {(view.namespace, view.name): view.version for view in self.everywhere(kind)}

    def counts(self) -> Mapping[Kind, int]:
        return {kind: sum(map(len, self._views[kind].values())) for kind in RESOURCES}

    def _all(self, type_: type[V], kind: Kind, namespace: str) -> list[V]:
        inside = self._views[kind].get(namespace, {})
        return [view for view in inside.values() if isinstance(view, type_)]

    def _one(self, type_: type[V], kind: Kind, namespace: str, name: str) -> V | None:
        view = self._views[kind].get(namespace, {}).get(name)
        return view if isinstance(view, type_) else None
