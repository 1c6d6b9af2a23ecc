"""What the passes over a namespace share: the cluster as known, the doors to it, and what the last
compile came to."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from runestone_operator.api.load import Rejected
from runestone_operator.api.resource import Resource
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.published import Lines, Published
from runestone_operator.compiler.compile import Compiled
from runestone_operator.compiler.inputs import Inputs
from runestone_operator.compiler.verdicts import Kind, ResourceRef, Verdict
from runestone_operator.errors import KubeError
from runestone_operator.metrics import Metrics
from runestone_operator.nats.trust import Trust
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.nats_user import NatsUsers
from runestone_operator.reconcile.fleet import Fleet


@dataclass(slots=True)
class NamespaceState:
    compiled: Compiled
    lines: Lines  # of its bundle
    generations: Mapping[ResourceRef, int]  # of the resources that it was compiled from
    verdicts: Mapping[ResourceRef, tuple[Verdict, ...]] = field(init=False)
    failure: KubeError | None = None  # why it could not be written
    key_failure: KubeError | None = None  # why a client key could not be made
    rounds: int = 0  # of asking the sidecars since it was written

    def __post_init__(self) -> None:
        verdicts: dict[ResourceRef, list[Verdict]] = {}
        for verdict in self.compiled.verdicts:
            verdicts.setdefault(verdict.resource, []).append(verdict)
        self.verdicts = {resource: tuple(said) for resource, said in verdicts.items()}


@dataclass(slots=True)
class World:
    kube: Kube
    cache: Cache
    metrics: Metrics
    trust: Callable[[], Trust | None] = lambda: None  # what we sign for NATS with, if we do
    published: Published = field(init=False)
    nats_users: NatsUsers = field(init=False)
    fleet: Fleet = field(default_factory=Fleet)
    states: dict[str, NamespaceState] = field(default_factory=dict)
    now_s: Callable[[], float] = time.time  # by the clock on the wall

    def __post_init__(self) -> None:
        self.published = Published(self.cache)
        self.nats_users = NatsUsers(self.kube, self.cache, self.trust)

    def is_served(self, namespace: str) -> bool:
        """Whether anything can be written there; a namespace that is ending takes no more."""
        view = self.cache.namespace(namespace)
        return view is not None and not view.is_ending

    def forget_all(self) -> None:
        """What was known of the sidecars and of what was written: another has written since."""
        self.states.clear()
        self.fleet = Fleet()

    def forget(self, namespace: str) -> None:
        self.states.pop(namespace, None)
        self.fleet.forget(namespace)
        self.published.forget(namespace)
        self.nats_users.forget(namespace)


def generations_of(inputs: Inputs) -> dict[ResourceRef, int]:
    generations = dict(_generations(inputs.pools))
    generations |= _generations(inputs.keys)
    generations |= _generations(inputs.policies)
    generations |= _generations(inputs.unparsed)
    return generations


def _generations(resources: Iterable[Resource | Rejected]) -> Iterator[tuple[ResourceRef, int]]:
    for item in resources:
        if item.meta is not None:
            meta = item.meta
            yield ResourceRef(Kind(item.kind), meta.namespace, meta.name), meta.generation
