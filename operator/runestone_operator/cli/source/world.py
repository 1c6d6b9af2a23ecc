"""Documents -> resources, Secrets and namespaces, or what is wrong with them and where.

What a cluster would hold if the files were applied to it. Values of Secrets are in here; nothing
that is said about them holds one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runestone_operator.api.load import KINDS, Rejected, parse
from runestone_operator.api.problems import FieldError, Location, path_of
from runestone_operator.api.resource import GROUP, ApiKey, Resource
from runestone_operator.cli.report import Place, Problem
from runestone_operator.cli.source.document import Node
from runestone_operator.cli.source.files import Contents, Document
from runestone_operator.cli.source.secret import InvalidSecretError, parse_secret

SECRET: Final = "Secret"
NAMESPACE: Final = "Namespace"
DEFAULT_NAMESPACE: Final = "default"
_CORE: Final = "v1"
_LISTS: Final = frozenset({"List", "SecretList", *(f"{kind}List" for kind in KINDS)})


@dataclass(frozen=True, slots=True)
class Ref:
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and the document that it was read from."""

    resource: Resource | Rejected
    document: Document

    def place(self, location: Location = ()) -> Place:
        return Place(self.document.file, self.document.node.line_of(location))


@dataclass(frozen=True, slots=True)
class Skipped:
    kind: str
    place: Place


@dataclass(slots=True)
class World:
    resources: dict[Ref, Found] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)  # Secret -> its ApiKey
    labels: dict[str, Mapping[str, str]] = field(default_factory=dict)  # of namespaces
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    count: int = 0  # documents of the three kinds, the wrong ones included
    places: dict[Ref, Place] = field(default_factory=dict)

    def namespaces(self) -> list[str]:
        """Those that a resource is in."""
        return sorted({ref.namespace for ref in self.resources})


def named_namespaces(contents: Contents) -> set[str]:
    """Every namespace that a resource or a Secret says it is in."""
    found = (
        _text(_metadata(item).get("namespace"))
        for document in contents.documents
        for item in _items(document)
        if _kind(item) in {*KINDS, SECRET}
    )
    return {namespace for namespace in found if namespace}


def build_world(contents: Contents, home: str = DEFAULT_NAMESPACE) -> World:
    """`home` is the namespace of what names none."""
    world = World(problems=list(contents.problems))
    for document in contents.documents:
        for item in _items(document):
            _Reader(world, item, home).read()
    return world


def _items(document: Document) -> Iterator[Document]:
    """The document itself or, of a List, each of its items."""
    if _kind(document) not in _LISTS:
        yield document
        return
    items = document.node.child("items")
    for item in items.content if items and isinstance(items.content, list) else ():
        yield from _items(Document(document.file, item))


def _kind(document: Document) -> str:
    return _text(_field(document.node, "kind"))


def _metadata(document: Document) -> Mapping[str, Any]:
    node = document.node.child("metadata")
    return node.plain() if node and isinstance(node.content, dict) else {}


def _field(node: Node, name: str) -> object:
    child = node.child(name)
    return child.content if child else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


@dataclass(slots=True)
class _Reader:
    """One document on its way into the world."""

    world: World
    document: Document
    home: str

    def read(self) -> None:
        node, kind = self.document.node, _kind(self.document)
        version = _text(_field(node, "apiVersion"))
        if not isinstance(node.content, dict):
            self._say(
                (), "is no resource: a map with apiVersion, kind and metadata is expected", label=""
            )
        elif not kind:
            self._say((), "is no resource: kind is missing", label="")
        elif kind in KINDS or version.partition("/")[0] == GROUP:
            self._read_resource(kind)
        elif version == _CORE and kind == SECRET:
            self._read_secret()
        elif version == _CORE and kind == NAMESPACE:
            self._read_namespace()
        else:
            self.world.skipped.append(Skipped(kind, self._place(())))

    def _read_resource(self, kind: str) -> None:
        self.world.count += 1
        resource = parse(self.document.node.plain(), namespace=self.home)
        if resource.meta is not None:
            ref = Ref(kind, resource.meta.namespace, resource.meta.name)
            if self._is_first(ref):
                self.world.resources[ref] = Found(resource, self.document)
        if isinstance(resource, Rejected):
            self._say_all(resource.errors)

    def _read_secret(self) -> None:
        if (ref := self._named(SECRET)) is None or not self._is_first(ref):
            return
        try:
            values = parse_secret(self.document.node.plain())
        except InvalidSecretError as invalid:
            values = {}
            self._say_all(invalid.errors)
        self.world.secrets[ref.namespace, ref.name] = values
        for owner in _list(_metadata(self.document).get("ownerReferences")):
            if isinstance(owner, Mapping) and owner.get("kind") == ApiKey.kind:
                self.world.owners[ref.namespace, ref.name] = _text(owner.get("name"))

    def _read_namespace(self) -> None:
        if (ref := self._named(NAMESPACE)) is None:
            return
        labels = _metadata(self.document).get("labels")
        if isinstance(labels, Mapping):
            self.world.labels[ref.name] = {key: str(value) for key, value in labels.items()}

    def _named(self, kind: str) -> Ref | None:
        meta = _metadata(self.document)
        name, namespace = meta.get("name"), meta.get("namespace") or self.home
        if isinstance(name, str) and name and isinstance(namespace, str):
            return Ref(kind, namespace, name)
        self._say(("metadata", "name"), "is required")
        return None

    def _is_first(self, ref: Ref) -> bool:
        first = self.world.places.setdefault(ref, place := self._place(()))
        if first is not place:
            self._say(("metadata", "name"), f"is defined already, at {first}")
        return first is place

    def _say_all(self, errors: Iterable[FieldError]) -> None:
        for error in errors:
            self._say(error.location, error.message)

    def _say(self, location: Location, message: str, *, label: str | None = None) -> None:
        name = _text(_metadata(self.document).get("name")) or "?"
        resource = f"{_kind(self.document)}/{name}" if label is None else label
        problem = Problem(self._place(location), message, resource, path_of(location))
        self.world.problems.append(problem)

    def _place(self, location: Location) -> Place:
        return Place(self.document.file, self.document.node.line_of(location))
