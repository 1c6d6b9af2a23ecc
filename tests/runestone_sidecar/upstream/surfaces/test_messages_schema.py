"""Which JSON schemas of Messages requests go to OpenAI's strict mode: those that it takes."""

import datetime
import decimal
from typing import Any, Literal

import anthropic
import orjson
import pydantic
import pytest

from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.messages_schema import is_strict

BASE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hello"}],
}
STRICT = {"type": "object", "properties": {}, "additionalProperties": False}
CLOSED = STRICT | {"properties": {"a": {"type": "string"}}, "required": ["a"]}


def one(**schema: Any) -> dict[str, Any]:
    """An object of one such property."""
    return CLOSED | {"properties": {"a": schema}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = one(**schema)
    return schema


def many(properties: int) -> dict[str, Any]:
    names = [f"p{number}" for number in range(properties)]
    return STRICT | {"properties": dict.fromkeys(names, {"type": "null"}), "required": names}


DEFINED = {"$defs": {"x": CLOSED}}
REFERRING = one(**{"$ref": "#/$defs/x"}) | DEFINED
# id -> (schema, whether OpenAI's strict mode takes it)
SCHEMAS: dict[str, tuple[dict[str, Any], bool]] = {
    "empty": (STRICT, True),
    "closed": (CLOSED, True),
    "open": ({"type": "object", "properties": {}}, False),
    "optional": (CLOSED | {"required": []}, False),
    "no object": ({"type": "array", "items": {"type": "string"}}, False),
    "variants at the root": (CLOSED | {"anyOf": [STRICT]}, False),
    "variants inside": (
        CLOSED | {"properties": {"a": {"anyOf": [STRICT, {"type": "null"}]}}},
        True,
    ),
    "an open variant": (CLOSED | {"properties": {"a": {"anyOf": [{"type": "object"}]}}}, False),
    "an open element": (
        CLOSED | {"properties": {"a": {"type": "array", "items": {"type": ["object", "null"]}}}},
        False,
    ),
    "an open definition": (CLOSED | {"$defs": {"x": {"type": "object"}}}, False),
    "all of": (CLOSED | {"properties": {"a": {"allOf": [STRICT]}}}, False),
    "keys of the model's choice": (CLOSED | {"patternProperties": {}}, False),
    "properties a list": (STRICT | {"properties": []}, False),
    "a property true": (CLOSED | {"properties": {"a": True}}, False),
    "a name for it": (CLOSED | {"title": "A", "description": "B", "$schema": "http://x"}, True),
    "a pattern": (one(type="string", pattern="^[a-z]+(?:-[0-9]+)?$"), True),
    "a pattern that looks ahead": (one(type="string", pattern="^(?!0)[0-9]+$"), False),
    "a pattern that refers back": (one(type="string", pattern=r"^(.)\1$"), False),
    "a pattern of a number": (one(type="string", pattern=5), False),
    "a format": (one(type="string", format="date-time"), True),
    "a format that is not known": (one(type="string", format="uri"), False),
    "a format of a list": (one(type="string", format=["date"]), False),
    "a format of a number": (one(type="integer", format="date"), False),
    "a length": (one(type="string", minLength=1), False),
    "bounds": (one(type="number", minimum=0, exclusiveMaximum=1, multipleOf=0.1), True),
    "bounds of a text": (one(type="string", minimum=0), False),
    "a count": (one(type="array", items={"type": "integer"}, minItems=1, maxItems=3), True),
    "each once": (one(type="array", items={"type": "integer"}, uniqueItems=True), False),
    "a tuple": (one(type="array", prefixItems=[{"type": "integer"}]), False),
    "elements of any kind": (one(type="array"), False),
    "an enum": (one(type="string", enum=["x", "y"]), True),
    "an enum without a type": (one(enum=["x", 5]), False),
    "an enum of nothing": (one(type="string", enum=[]), False),
    "a constant": (one(type="string", const="x"), True),
    "null or a text": (one(type=["string", "null"]), True),
    "a text or a number": (one(type=["string", "number"]), False),
    "a type that is not known": (one(type="date"), False),
    "no type": (one(title="A"), False),
    "a default": (one(type="string", default="x"), False),
    "variants with a name": (one(anyOf=[{"type": "null"}], title="A", description="B"), True),
    "variants with a default": (one(anyOf=[{"type": "null"}], default=None), False),
    "variants of nothing": (one(anyOf=[]), False),
    "one of": (one(oneOf=[{"type": "null"}]), False),
    "not": (one(type="string", **{"not": {"const": "x"}}), False),
    "a condition": (CLOSED | {"if": CLOSED}, False),
    "a reference": (REFERRING, True),
    "a reference to itself": (one(anyOf=[{"$ref": "#"}, {"type": "null"}]), True),
    "a definition that refers to itself": (
        REFERRING | {"$defs": {"x": one(type="array", items={"$ref": "#/$defs/x"})}},
        True,
    ),
    "a reference with a word": (one(**{"$ref": "#/$defs/x"}, description="A") | DEFINED, False),
    "a reference to nothing": (one(**{"$ref": "#/$defs/y"}) | DEFINED, False),
    "a reference to elsewhere": (one(**{"$ref": "https://example.com/x"}), False),
    "a reference of a number": (one(**{"$ref": 5}), False),
    "the root a reference": ({"$ref": "#/$defs/x"} | DEFINED, False),
    "definitions a list": (REFERRING | {"$defs": ["x"]}, False),
    "a definition inside": (one(**CLOSED, **{"$defs": {}}), False),
    "a property called default": (
        STRICT | {"properties": {"default": {"type": "string"}}, "required": ["default"]},
        True,
    ),
    "required of what is not there": (CLOSED | {"required": ["a", "b"]}, False),
    "required of a number": (CLOSED | {"required": ["a", 5]}, False),
    "free values": (CLOSED | {"additionalProperties": {"type": "string"}}, False),
    "as deep as may be": (nested(10), True),
    "too deep": (nested(11), False),
    "as many as may be": (many(5_000), True),
    "too many": (many(5_001), False),
    "too many words": (one(type="integer", enum=[*range(1_001)]), False),
}


@pytest.mark.parametrize(("schema", "strict"), SCHEMAS.values(), ids=SCHEMAS)
def test_strict_is_asked_where_it_is_taken(schema: dict[str, Any], strict: bool) -> None:
    output = {"format": {"type": "json_schema", "schema": schema}}
    tool = {"name": "f", "strict": True, "input_schema": schema}
    body = BASE | {"output_config": output, "tools": [tool]}
    said = Messages.translator.to_chat(
        Request(body, "m", stream=False, request_id="r", created_s=1)
    )
    chat = orjson.loads(orjson.dumps(said.body))
    assert chat["response_format"]["json_schema"].get("strict", False) is strict
    assert chat["tools"][0]["function"].get("strict", False) is strict
    assert chat["response_format"]["json_schema"]["schema"] == schema


class Part(pydantic.BaseModel):
    name: str = pydantic.Field(description="As on the label", min_length=1)
    parts: list["Part"]


class Order(pydantic.BaseModel):
    """What a program would ask for."""

    part: Part = pydantic.Field(description="The whole")
    price: decimal.Decimal
    amounts: set[float]
    at: datetime.datetime
    note: str | None


class Link(pydantic.BaseModel):
    url: pydantic.HttpUrl
    n: int


class Kind(pydantic.BaseModel):
    kind: Literal["new", "old"]


class Optional(pydantic.BaseModel):
    n: int | None = None


MODELS = {
    Order: True,
    Link: False,
    Kind: False,  # that SDK leaves out the type of an enum, and OpenAI refuses one without
    Optional: False,
    Part: False,  # the root is a reference
}


@pytest.mark.parametrize(
    ("model", "strict"), MODELS.items(), ids=[each.__name__ for each in MODELS]
)
def test_a_schema_by_anthropics_sdk(model: type[pydantic.BaseModel], strict: bool) -> None:
    assert is_strict(anthropic.transform_schema(model)) is strict


def test_schema_of_many_properties_takes_no_time() -> None:
    """100,000 of them, each looked for among as many, held up every other client for minutes."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    names = [f"property-{number}" for number in range(1000)]
    schema = {
        "type": "object",
        "properties": {Name(name): {"type": "string"} for name in names},
        "required": [Name(name) for name in reversed(names)],
        "additionalProperties": False,
    }
    compared = 0
    assert is_strict(schema)
    assert compared <= 2 * len(names)
