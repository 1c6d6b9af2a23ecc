"""From a pydantic model to a structural schema, as a CustomResourceDefinition wants it.

Structural means: no $ref, no anyOf, no additionalProperties beside properties; an optional field
is simply not required. Bounds, defaults, descriptions and CEL rules are kept.
"""

import re
from typing import Any

from runestone_operator.api.model import VALIDATIONS, ApiModel

Schema = dict[str, Any]


def structural_schema(model: type[ApiModel]) -> Schema:
    whole = model.model_json_schema(by_alias=True)
    return _structural(whole, whole.get("$defs", {}))


def _structural(node: Schema, definitions: Schema) -> Schema:
    node = _flattened(node, definitions)
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    _inline_keys(schema, node.get("propertyNames"))
    _keep_useful_default(schema)
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "properties" in schema:
        schema["properties"] = {
            name: _structural(child, definitions) for name, child in schema["properties"].items()
        }
    if isinstance(children := node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(children, definitions)
    if "items" in schema:
        schema["items"] = _structural(schema["items"], definitions)
    return schema


_DROPPED = ("$defs", "title", "propertyNames", "additionalProperties")


def _flattened(node: Schema, definitions: Schema) -> Schema:
    """Put what a reference or an optional type points at in its place; what is beside it wins."""
    beside = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return _flattened(definitions[name], definitions) | beside
    if "anyOf" in node:
        (only,) = [option for option in node["anyOf"] if option != {"type": "null"}]
        return _flattened(only, definitions) | beside
    return node


def _inline_keys(schema: Schema, keys: Schema | None) -> None:
    """Structural schemas have no propertyNames: rules for a map's keys become rules of the map."""
    if keys is None:
        return
    rules = [f"key.size() <= {keys['maxLength']}"] if "maxLength" in keys else []
    messages = [f"keys may not be more than {keys['maxLength']} characters" for _ in rules]
    for validation in keys.get(VALIDATIONS, ()):
        rules.append(re.sub(r"\bself\b", "key", validation["rule"]))
        messages.append(validation["message"])
    schema[VALIDATIONS] = [
        *schema.get(VALIDATIONS, ()),
        *(
            {"rule": f"self.all(key, {rule})", "message": message}
            for rule, message in zip(rules, messages, strict=True)
        ),
    ]


def _keep_useful_default(schema: Schema) -> None:
    """An empty list, or null, is as good as absent, also inside the default of an object."""
    default = schema.get("default")
    if isinstance(default, dict):
        schema["default"] = {k: v for k, v in default.items() if v not in _AS_GOOD_AS_ABSENT}
    elif "default" in schema and default in _AS_GOOD_AS_ABSENT:
        del schema["default"]


_AS_GOOD_AS_ABSENT: tuple[object, ...] = (None, [], {})
