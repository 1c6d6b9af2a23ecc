"""What is wrong with a document, in words: where, and what it should be. Never what it was."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class FieldError:
    """`location` is for finding the line in a file, `path` for a person."""

    location: Location
    message: str

    @property
    def path(self) -> str:
        return path_of(self.location)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def path_of(location: Location) -> str:
    """As the API server writes it: spec.providers[0].headers[x-team]."""
    path = ""
    for step in location:
        if isinstance(step, str) and step.isidentifier():
            path += f".{step}" if path else step
        else:
            path += f"[{step}]"
    return path


def field_errors(
    invalid: ValidationError, model: type[BaseModel], at: Location
) -> tuple[FieldError, ...]:
    errors = invalid.errors(include_url=False, include_input=False)
    return tuple(
        _field_error(error, model, at) for error in errors if not _only_echoes(error, errors)
    )


def _only_echoes(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Pydantic counts the valid items alone, so a list of one bad item is also "too short"."""
    depth = len(error["loc"])
    return error["type"] == "too_short" and any(
        len(other["loc"]) > depth and other["loc"][:depth] == error["loc"] for other in errors
    )


def _field_error(error: ErrorDetails, model: type[BaseModel], at: Location) -> FieldError:
    location = tuple(step for step in error["loc"] if step != "[key]")
    if error["type"] == "extra_forbidden":
        return FieldError((*at, *location), _unknown_field(location, model))
    if error["type"] == "duplicate":
        location = (*location, error["ctx"]["index"])
    say = _WORDS.get(error["type"], _constant("is not valid"))
    return FieldError((*at, *location), say(error.get("ctx", {})))


def _unknown_field(location: Location, model: type[BaseModel]) -> str:
    names = _fields_at(location[:-1], model.model_json_schema(by_alias=True))
    known = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(str(location[-1])), known, n=1)
    return f"unknown field (did you mean {known[close[0]]}?)" if close else "unknown field"


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _fields_at(location: Location, schema: dict[str, Any]) -> list[str]:
    node = schema
    for step in location:
        node = _resolved(node, schema)
        node = node.get("items", {}) if isinstance(step, int) else node["properties"][step]
    return list(_resolved(node, schema).get("properties", {}))


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in node:
        node = next(option for option in node["anyOf"] if option.get("type") != "null")
    if "$ref" in node:
        return _resolved(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    return node


def _own_words(context: dict[str, Any]) -> str:
    return str(context["message"])


def _constant(message: str) -> Callable[[dict[str, Any]], str]:
    return lambda _: message


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "rule": _own_words,
    "text_too_long": lambda ctx: f"may not be more than {ctx['limit']} characters",
    "duplicate": lambda ctx: f'duplicate value "{ctx["key"]}"',
    "missing": _constant("is required"),
    "enum": lambda ctx: f"must be one of {_choices(ctx['expected'])}",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "too_long": lambda ctx: f"may hold at most {ctx['max_length']} entries",
    "too_short": lambda ctx: f"needs at least {ctx['min_length']} entry",
    "string_type": _constant("must be a string (a number or a yes/no needs quotes)"),
    "int_type": _constant("must be a whole number, without quotes"),
    "bool_type": _constant("must be true or false, without quotes"),
    "tuple_type": _constant("must be a list"),
    "dict_type": _constant("must be a map"),
    "model_type": _constant("must be a map of fields"),
}


def _choices(expected: str) -> str:
    """Pydantic quotes the choices and puts an "or" before the last."""
    return expected.replace("'", "").replace(" or ", ", ")
