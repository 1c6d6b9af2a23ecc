"""Whether OpenAI's strict mode takes a JSON schema as it is.

Both providers enforce schemas, each its own subset. OpenAI's refuses what it does not know, so here
is what it knows (its guide to structured outputs, November 2026; tried by others where it is
silent). A schema that is not so goes out without `strict`, as a description; changing it would
change which answers it allows.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_MAX_DEPTH: Final = 10  # OpenAI's own limits
_MAX_PROPERTIES: Final = 5_000
_MAX_ENUM_VALUES: Final = 1_000

_SAID_OF_ALL: Final = frozenset({"type", "title", "description", "enum", "const"})
_SAID_OF_NUMBERS: Final = frozenset(
    {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"}
)
_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "string": _SAID_OF_ALL | {"pattern", "format"},
    "number": _SAID_OF_ALL | _SAID_OF_NUMBERS,
    "integer": _SAID_OF_ALL | _SAID_OF_NUMBERS,
    "boolean": _SAID_OF_ALL,
    "null": _SAID_OF_ALL,
    "array": _SAID_OF_ALL | {"items", "minItems", "maxItems"},
    "object": _SAID_OF_ALL | {"properties", "required", "additionalProperties"},
}
_VARIANTS: Final = frozenset({"anyOf", "title", "description"})
_AT_THE_ROOT: Final = frozenset({"$schema", "$defs", "definitions"})
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
# Looking around or back, and what else is not plain of a regular expression's
_is_beyond_automata: Final = re.compile(r"\(\?(?!:)|\\[1-9kbB]").search


def is_strict(schema: dict[str, Any]) -> bool:
    definitions = _definitions(schema)
    if schema.get("type") != "object" or definitions is None:
        return False
    definitions["#"] = {name: schema[name] for name in schema if name not in _AT_THE_ROOT}
    properties = enum_values = 0
    for each, depth in _schemas([*definitions.values()]):
        if depth > _MAX_DEPTH or not isinstance(each, dict) or not _fits(each, definitions):
            return False
        properties += len(each.get("properties", ()))
        enum_values += len(each.get("enum", ()))
    return properties <= _MAX_PROPERTIES and enum_values <= _MAX_ENUM_VALUES


def _definitions(root: dict[str, Any]) -> dict[str, Any] | None:
    """By what refers to them. None: they are malformed."""
    found: dict[str, Any] = {}
    for place in ("$defs", "definitions"):
        definitions = root.get(place, {})
        if not isinstance(definitions, dict):
            return None
        found |= {f"#/{place}/{name}": schema for name, schema in definitions.items()}
    return found


def _schemas(roots: list[Any]) -> Iterator[tuple[Any, int]]:
    """These and all that stand in them, with their depth. To go on is to say that the last fits."""
    left = [(root, 0) for root in roots]
    while left:
        schema, depth = left.pop()
        yield schema, depth
        inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
        if "items" in schema:
            inner.append(schema["items"])
        left += ((each, depth + 1) for each in inner)


def _fits(schema: dict[str, Any], definitions: Mapping[str, Any]) -> bool:
    """By itself, not by what stands in it."""
    if "$ref" in schema:
        wanted = schema["$ref"]
        return len(schema) == 1 and isinstance(wanted, str) and wanted in definitions
    if "anyOf" in schema:
        return schema.keys() <= _VARIANTS and _is_filled_list(schema["anyOf"])
    kind = _type_of(schema.get("type"))
    return (
        kind is not None
        and schema.keys() <= _TYPES[kind]
        and ("enum" not in schema or _is_filled_list(schema["enum"]))
        and (kind != "string" or _fits_string(schema))
        and (kind != "array" or "items" in schema)
        and (kind != "object" or _is_closed(schema))
    )


def _type_of(given: Any) -> str | None:
    """The one type, which may be called nullable. None: none, or several."""
    if isinstance(given, list) and len(given) == 2 and "null" in given:
        given = given[0] if given[1] == "null" else given[1]
    return given if isinstance(given, str) and given in _TYPES else None


def _fits_string(schema: dict[str, Any]) -> bool:
    pattern, form = schema.get("pattern", ""), schema.get("format", "date")
    return (
        isinstance(pattern, str)
        and not _is_beyond_automata(pattern)
        and isinstance(form, str)
        and form in _FORMATS
    )


def _is_closed(schema: dict[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and len(required) == len(properties)
        and properties.keys() == {name for name in required if isinstance(name, str)}
    )


def _is_filled_list(given: Any) -> bool:
    return isinstance(given, list) and bool(given)
