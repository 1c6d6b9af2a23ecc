"""A JSON schema of OpenAI's structured outputs, fitted to what Anthropic's can enforce.

A constraint outside that subset (minimum, pattern…) moves into the description, as Anthropic's own
SDKs do it: the model still reads it. Where fitting would change which shape an answer has (keys of
the model's choice, recursion, anything at all), there is no fitting schema.
"""

from collections.abc import Set
from typing import Any, Final

import orjson

Schema = dict[str, Any]

_MAX_DEPTH: Final = 64
_IGNORED: Final = frozenset({"$schema", "$id", "$comment"})
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)
_PLAIN: Final = ("type", "title", "required", "const", "enum")
_DEFINITIONS: Final = ("$defs", "definitions")
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)


class _NoFitError(Exception):
    pass


def fitted_schema(schema: Schema) -> Schema | None:
    """None: the subset cannot say it."""
    try:
        fitted = _fitted(schema, depth=0)
        _check_references(fitted)
    except _NoFitError:
        return None
    return fitted


def _fitted(schema: Any, *, depth: int) -> Schema:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        raise _NoFitError
    rest = _without_single_all_of(schema)
    fitted: Schema = {}
    for key in _DEFINITIONS:
        if key in rest:
            fitted[key] = _fitted_values(rest.pop(key), depth=depth)
    if "$ref" in rest:
        return fitted | {"$ref": rest["$ref"]}
    for key in _PLAIN:
        if key in rest:
            fitted[key] = rest.pop(key)
    _fit_combinations(rest, fitted, depth=depth)
    _fit_object(rest, fitted, depth=depth)
    _fit_values(rest, fitted, depth=depth)
    if not fitted.keys() & {"type", "const", "enum", "anyOf", "allOf"}:
        raise _NoFitError  # any value at all
    description = rest.pop("description", None)
    texts = [description] if isinstance(description, str) else []
    if rest:
        texts.append(orjson.dumps(rest).decode())
    if texts:
        fitted["description"] = "\n\n".join(texts)
    return fitted


def _without_single_all_of(schema: Schema) -> Schema:
    """An `allOf` of one schema is that schema: older pydantic writes a described reference so."""
    rest = _without(_IGNORED, schema)
    while True:
        match rest.get("allOf"):
            case [dict() as single]:
                own, single = _without({"allOf"}, rest), _without(_IGNORED, single)
            case _:
                return rest
        if "$ref" in single and own.keys() - _ANNOTATIONS - set(_DEFINITIONS):
            raise _NoFitError  # nothing that counts may stand beside a reference
        if any(own[key] != single[key] for key in own.keys() & single.keys() - _ANNOTATIONS):
            return rest  # both count
        rest = single | own


def _without(keys: Set[str], schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}


def _fitted_values(schemas: Any, *, depth: int) -> Schema:
    if not isinstance(schemas, dict):
        raise _NoFitError
    return {name: _fitted(schema, depth=depth + 1) for name, schema in schemas.items()}


def _fit_combinations(rest: Schema, fitted: Schema, *, depth: int) -> None:
    for key, as_key in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if key in rest:
            variants = rest.pop(key)
            if not isinstance(variants, list):
                raise _NoFitError
            fitted[as_key] = [_fitted(variant, depth=depth + 1) for variant in variants]
    if _references(fitted.get("allOf")):
        raise _NoFitError  # outside the subset


def _fit_object(rest: Schema, fitted: Schema, *, depth: int) -> None:
    if "properties" not in rest and not _is_of(fitted, "object"):
        return
    more = rest.pop("additionalProperties", None)
    if not rest.get("properties") and more is not False:
        raise _NoFitError  # its keys are the model's to choose
    if (isinstance(more, dict) and more) or "patternProperties" in rest:
        raise _NoFitError
    fitted["properties"] = _fitted_values(rest.pop("properties", {}), depth=depth)
    fitted["additionalProperties"] = False


def _fit_values(rest: Schema, fitted: Schema, *, depth: int) -> None:
    enum = fitted.get("enum", [fitted.get("const")])
    if not isinstance(enum, list) or any(isinstance(value, dict | list) for value in enum):
        raise _NoFitError
    if "items" in rest:
        fitted["items"] = _fitted(rest.pop("items"), depth=depth + 1)
    if rest.get("minItems") in (0, 1):
        fitted["minItems"] = rest.pop("minItems")
    if isinstance(rest.get("format"), str) and rest["format"] in _FORMATS:
        fitted["format"] = rest.pop("format")


def _is_of(fitted: Schema, kind: str) -> bool:
    kinds = fitted.get("type")
    return kinds == kind or (isinstance(kinds, list) and kind in kinds)


def _check_references(fitted: Schema) -> None:
    """References must be to definitions of this schema, and may not come back to themselves."""
    definitions = {
        f"#/{key}/{name}": _references(definition)
        for key in _DEFINITIONS
        for name, definition in fitted.get(key, {}).items()
    }
    done: set[str] = set()

    def visit(name: str, path: frozenset[str]) -> None:
        if name in path or name not in definitions or len(path) > _MAX_DEPTH:
            raise _NoFitError
        if name not in done:
            for reference in definitions[name]:
                visit(reference, path | {name})
            done.add(name)

    for reference in _references(fitted):
        visit(reference, frozenset())


def _references(fitted: Any) -> set[str]:
    if isinstance(fitted, list):
        return set().union(*map(_references, fitted))
    if not isinstance(fitted, dict):
        return set()
    if "$ref" in fitted:
        reference = fitted["$ref"]
        if not isinstance(reference, str):
            raise _NoFitError
        return {reference} | _references({k: v for k, v in fitted.items() if k != "$ref"})
    return set().union(*map(_references, fitted.values()))
