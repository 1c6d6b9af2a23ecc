"""YAML or JSON text -> documents that know the line of every field.

Reads what kubectl reads, the way it reads it: dates and 1:30 stay text. Safe with hostile text: no
object is ever made from a tag, nesting and the expansion of aliases are bounded (PyYAML's own
composer follows nesting down to the end of the C stack), and a key given twice is an error.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from runestone_operator.api.problems import Location

MAX_DEPTH: Final = 64
MAX_ALIASED_VALUES: Final = 100_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE_TAG: Final = "tag:yaml.org,2002:"
_STRING_TAG: Final = f"{_CORE_TAG}str"
_TYPED_TAGS: Final = frozenset(f"{_CORE_TAG}{name}" for name in ("null", "bool", "int", "float"))
_COLLECTION_TAGS: Final = frozenset({f"{_CORE_TAG}map", f"{_CORE_TAG}seq"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS: Final = {
    spelled: value
    for value, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for word in words
    for spelled in (word, word.capitalize(), word.upper())
}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})|0x[0-9a-fA-F]{1,16}|0o?[0-7]{1,22}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?")
# JSON escapes a letter beyond U+FFFF as two halves, which YAML does not know.
_SURROGATES: Final = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE
)
_MERGE: Final = "<<"
_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep"

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A value and the line that it is on (for a field: the line of its name)."""

    line: int
    content: "Scalar | dict[str, Node] | list[Node]"
    weight: int = 1  # values in it, aliases expanded
    depth: int = 0  # levels below it, aliases expanded

    def plain(self) -> Any:
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        return self.content

    def line_of(self, location: Location) -> int:
        """The line of a field, or of the innermost thing around it that is there."""
        node = self
        for step in location:
            found = node.child(step)
            if found is None:
                break
            node = found
        return node.line

    def child(self, step: str | int) -> "Node | None":
        if isinstance(self.content, dict):
            return self.content.get(str(step))
        if isinstance(self.content, list) and isinstance(step, int) and step < len(self.content):
            return self.content[step]
        return None


class UnreadableError(Exception):
    """The text is no YAML that is read here; what came before the line may be good."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


def read_documents(text: str) -> Iterator[Node]:
    """Every document that is not empty. Raises UnreadableError."""
    if text.lstrip()[:1] == "{":
        text = _SURROGATES.sub(_one_letter, text)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder()
            elif isinstance(event, yaml.DocumentEndEvent):
                if builder.root is not None and builder.root.content is not None:
                    yield builder.root
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        raise UnreadableError(mark.line + 1 if mark else 1, message) from None
    except yaml.YAMLError:
        raise UnreadableError(1, "not valid YAML: it holds characters that no text has") from None


def _one_letter(found: re.Match[str]) -> str:
    halves = bytes.fromhex(found[2] + found[3])
    return found[1] + halves.decode("utf-16-be")


@dataclass(slots=True)
class _Open:
    """A map or a list that has begun and not ended."""

    node: Node
    anchor: str | None
    key: tuple[str, int] | None = None  # of a map: the name and line that await a value
    merged: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class _Builder:
    """One document, from the parser's events; without recursion, so that depth is a number."""

    root: Node | None = None
    _open: list[_Open] = field(default_factory=list)
    _anchors: dict[str, Node | None] = field(default_factory=dict)  # None: begun and not ended
    _aliased: int = 0

    def take(self, event: yaml.Event) -> None:
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        match event:
            case yaml.AliasEvent():
                self._add(self._alias(event.anchor or "", line))
            case yaml.ScalarEvent():
                if self._is_key():
                    self._name(event.value, line)
                    return
                node = Node(line, _scalar(event, line))
                self._anchor(event.anchor, node)
                self._add(node)
            case yaml.CollectionStartEvent():
                self._begin(event, line)
            case _:
                self._end()

    def _is_key(self) -> bool:
        return (
            bool(self._open)
            and isinstance(self._open[-1].node.content, dict)
            and self._open[-1].key is None
        )

    def _name(self, name: str, line: int) -> None:
        top = self._open[-1]
        assert isinstance(top.node.content, dict)
        if name in top.node.content:
            first = top.node.content[name].line
            raise UnreadableError(line, f'"{name}" is given twice, first on line {first}')
        top.key = (name, line)

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if self._is_key():
            raise UnreadableError(line, "the name of a field must be text")
        if event.tag not in {None, "!", *_COLLECTION_TAGS}:
            raise UnreadableError(line, f"the tag {event.tag} has no meaning here")
        if len(self._open) == MAX_DEPTH:
            raise UnreadableError(line, _TOO_DEEP)
        is_map = isinstance(event, yaml.MappingStartEvent)
        self._anchor(event.anchor, None)
        self._open.append(_Open(Node(line, {} if is_map else []), event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        for source in done.merged:
            _merge(done.node, source)
        self._anchor(done.anchor, done.node)
        self._add(done.node)

    def _anchor(self, name: str | None, node: Node | None) -> None:
        if name is not None:
            self._anchors[name] = node

    def _alias(self, name: str, line: int) -> Node:
        if self._is_key():
            raise UnreadableError(line, "the name of a field must be text")
        if name not in self._anchors:
            raise UnreadableError(line, f"the alias *{name} stands for nothing above it")
        target = self._anchors[name]
        if target is None:
            raise UnreadableError(line, f"the alias *{name} stands inside of what it stands for")
        if len(self._open) + target.depth > MAX_DEPTH:
            raise UnreadableError(line, _TOO_DEEP)
        self._aliased += target.weight
        if self._aliased > MAX_ALIASED_VALUES:
            raise UnreadableError(line, f"aliases expand to more than {MAX_ALIASED_VALUES} values")
        return replace(target, line=line)

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        top.node.weight += node.weight
        top.node.depth = max(top.node.depth, node.depth + 1)
        if isinstance(top.node.content, list):
            top.node.content.append(node)
            return
        assert isinstance(top.node.content, dict)
        assert top.key is not None
        (name, line), top.key = top.key, None
        if name == _MERGE:
            top.merged += _merge_sources(node, line)
        else:
            top.node.content[name] = replace(node, line=line)


def _merge_sources(node: Node, line: int) -> Sequence[Node]:
    sources = node.content if isinstance(node.content, list) else [node]
    if not all(isinstance(source.content, dict) for source in sources):
        raise UnreadableError(line, "<< takes a map, or a list of maps")
    return sources


def _merge(node: Node, source: Node) -> None:
    """What a map says itself stands; of several sources, the first."""
    assert isinstance(node.content, dict)
    assert isinstance(source.content, dict)
    for name, value in source.content.items():
        node.content.setdefault(name, value)


def _scalar(event: yaml.ScalarEvent, line: int) -> Scalar:
    tag = event.tag
    if tag not in {None, "!", _STRING_TAG, *_TYPED_TAGS}:
        raise UnreadableError(line, f"the tag {tag} has no meaning here")
    is_text = tag == _STRING_TAG or (tag not in _TYPED_TAGS and not event.implicit[0])
    return event.value if is_text else _typed(event.value)


def _typed(text: str) -> Scalar:
    if text in _NULLS:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        octal = text[0] == "0" and text[1:].isdigit()
        return int(text, 8 if octal else 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
