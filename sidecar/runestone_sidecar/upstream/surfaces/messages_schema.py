"""Whether OpenAI's strict mode takes a JSON schema as it is.

Both providers enforce schemas, each its own subset: OpenAI wants every object closed and every
property required. A schema that is not so goes out without `strict`, as a description; changing it
would change which answers it allows.
"""

from typing import Any, Final

_MAX_DEPTH: Final = 10  # OpenAI's own limit of nesting
_NOT_TAKEN: Final = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
    }
)


def is_strict(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "object" and "anyOf" not in schema and _fits(schema, 0)


def _fits(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or not _NOT_TAKEN.isdisjoint(schema):
        return False
    if _may_be_object(schema) and not _is_closed(schema):
        return False
    inner = [
        *_values(schema.get("properties")),
        *_values(schema.get("$defs")),
        *_values(schema.get("definitions")),
    ]
    if "items" in schema:
        inner.append(schema["items"])
    if isinstance(variants := schema.get("anyOf"), list):
        inner += variants
    return all(_fits(each, depth + 1) for each in inner)


def _may_be_object(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds == "object" or (isinstance(kinds, list) and "object" in kinds)


def _is_closed(schema: dict[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and properties.keys() <= {name for name in required if isinstance(name, str)}
    )


def _values(schemas: Any) -> list[Any]:
    return list(schemas.values()) if isinstance(schemas, dict) else []
