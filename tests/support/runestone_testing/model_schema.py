"""Whether JSON fits a type of a vendor's SDK: its request TypedDicts are its schema, unknown fields
refused at every depth. What it must not know: any vendor.
"""

from __future__ import annotations

import collections.abc
import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from typing_extensions import is_typeddict

_TAGS = ("type", "role", "mode")


@dataclass(frozen=True, slots=True)
class Fault:
    path: str  # "messages[0].content[1].text"
    message: str

    @property
    def depth(self) -> int:
        return self.path.count(".") + self.path.count("[")


def fault_of(value: object, hint: Any, path: str = "") -> Fault | None:
    """The first that does not fit; of a union, in the member that it comes closest to."""
    hint = _plain(hint)
    if hint is Any or hint is object:
        return None
    if is_typeddict(hint):
        return _object_fault(value, hint, path)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union_fault(value, get_args(hint), path)
    if origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in get_args(hint))
        return None if fits else Fault(path, f"Input should be one of {get_args(hint)}")
    if origin is not None and issubclass(origin, collections.abc.Mapping):
        return _mapping_fault(value, get_args(hint)[1], path)
    if origin is not None:  # list, Iterable, Sequence, and OpenAI's SequenceNotStr
        return _list_fault(value, get_args(hint)[0], path)
    return _scalar_fault(value, hint, path)


def _plain(hint: Any) -> Any:
    while get_origin(hint) in (Annotated, Required, NotRequired):
        hint = get_args(hint)[0]
    return hint


def _scalar_fault(value: object, kind: Any, path: str) -> Fault | None:
    if kind is types.NoneType:
        fits = value is None
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = kind in (str, bool) and isinstance(value, kind)
    return None if fits else Fault(path, f"Input should be a valid {kind.__name__}")


def _list_fault(value: object, item: Any, path: str) -> Fault | None:
    if not isinstance(value, list):
        return Fault(path, "Input should be a valid array")
    faults = (fault_of(each, item, f"{path}[{at}]") for at, each in enumerate(value))
    return next((fault for fault in faults if fault), None)


def _mapping_fault(value: object, item: Any, path: str) -> Fault | None:
    if not isinstance(value, dict):
        return Fault(path, "Input should be an object")
    faults = (fault_of(each, item, f"{path}.{name}") for name, each in value.items())
    return next((fault for fault in faults if fault), None)


def _object_fault(value: object, shape: Any, path: str) -> Fault | None:
    if not isinstance(value, dict):
        return Fault(path, "Input should be an object")
    fields, required = _fields(shape)
    prefix = f"{path}." if path else ""
    for name in required:
        if name not in value:
            return Fault(prefix + name, "Field required")
    is_open = getattr(shape, "__pydantic_config__", {}).get("extra") == "allow"
    for name, each in value.items():
        if name in fields:
            if fault := fault_of(each, fields[name], prefix + name):
                return fault
        elif not is_open:
            return Fault(prefix + name, "Extra inputs are not permitted")
    return None


def _union_fault(value: object, members: tuple[Any, ...], path: str) -> Fault | None:
    faults = []
    for member in members:
        fault = fault_of(value, member, path)
        if fault is None:
            return None
        faults.append((_has_its_tag(value, member), fault.depth, fault))
    return max(faults, key=lambda each: each[:2])[2]


def _has_its_tag(value: object, member: Any) -> bool:
    """Whether the object says that it is this member of a union."""
    if not isinstance(value, dict) or not is_typeddict(member):
        return False
    fields, _ = _fields(member)
    tags = [name for name in _TAGS if name in fields and name in value]
    return bool(tags) and all(fault_of(value[name], fields[name]) is None for name in tags)


@cache
def _fields(shape: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Its fields, and which are required: annotations that are strings hide that from typing."""
    hints = typing_extensions.get_type_hints(shape, include_extras=True)
    origins: dict[str, Any] = {name: get_origin(hint) for name, hint in hints.items()}
    marked = {name for name, origin in origins.items() if origin is Required}
    free = {name for name, origin in origins.items() if origin is NotRequired}
    return hints, frozenset((set(shape.__required_keys__) | marked) - free)
