"""Schemas of structured outputs: what fits, what moves into words, and what cannot be said."""

from enum import StrEnum
from typing import Any, Literal

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from runestone_sidecar.upstream.dialects.anthropic_schema import fitted_schema


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str
    colour: Colour


class Person(BaseModel):
    name: str
    age: int | None
    home: Place
    former: list[Place]
    kind: Literal["a", "b"]
    pet: Place | Literal["none"] = Field(description="What it has")


def normal(schema: Any) -> Any:
    """Without the type beside an enum or const, which the SDK leaves out."""
    if isinstance(schema, list):
        return [normal(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    drop = {"type"} if schema.keys() & {"enum", "const"} else set()
    return {key: normal(value) for key, value in schema.items() if key not in drop}


@pytest.mark.parametrize("model", [Place, Person], ids=["place", "person"])
def test_a_schema_fits_as_the_sdk_fits_it(model: type[BaseModel]) -> None:
    assert normal(fitted_schema(model.model_json_schema())) == normal(
        anthropic.transform_schema(model)
    )


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


STRING: dict[str, Any] = {"type": "string"}
LEAF = object_of(x=STRING)
# id -> (a property's schema, the fitted one)
FITS: dict[str, tuple[Any, Any]] = {
    "nothing to do": (STRING, STRING),
    "nullable": ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
    "constraint": (
        {"type": "integer", "minimum": 1, "description": "N"},
        {"type": "integer", "description": 'N\n\n{"minimum":1}'},
    ),
    "default": (STRING | {"default": "x"}, STRING | {"description": '{"default":"x"}'}),
    "known format": (STRING | {"format": "date"}, STRING | {"format": "date"}),
    "strange format": (
        STRING | {"format": "cron"},
        STRING | {"description": '{"format":"cron"}'},
    ),
    "minItems 1": (
        {"type": "array", "items": STRING, "minItems": 1},
        {"type": "array", "items": STRING, "minItems": 1},
    ),
    "minItems 2": (
        {"type": "array", "items": STRING, "minItems": 2},
        {"type": "array", "items": STRING, "description": '{"minItems":2}'},
    ),
    "one of": ({"oneOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
    "const": ({"const": 5}, {"const": 5}),
    "enum": ({"type": "string", "enum": ["a", None]}, {"type": "string", "enum": ["a", None]}),
    "open object": ({"type": "object", "properties": {"x": STRING}}, LEAF),
    "more keys allowed": (LEAF | {"additionalProperties": True}, LEAF),
    "object without a type": ({"properties": {"x": STRING}, "type": "object"}, LEAF),
    "no keys at all": (
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False},
    ),
}


@pytest.mark.parametrize(("schema", "fitted"), FITS.values(), ids=FITS)
def test_what_fits(schema: Any, fitted: Any) -> None:
    assert fitted_schema(object_of(p=schema)) == object_of(p=fitted)


REFERENCE = {"$ref": "#/$defs/a"}
NO_FIT: dict[str, Any] = {
    "anything": object_of(p={}),
    "anything, described": object_of(p={"description": "x"}),
    "true": object_of(p=True),
    "free keys": {"type": "object"},
    "free keys of a type": {"type": "object", "additionalProperties": STRING},
    "free keys beside others": LEAF | {"additionalProperties": STRING},
    "keys by pattern": LEAF | {"patternProperties": {"^x": STRING}},
    "object in an enum": object_of(p={"enum": [{}]}),
    "enum not an array": object_of(p={"enum": "a"}),
    "properties a list": {"type": "object", "properties": []},
    "any of no array": object_of(p={"anyOf": {}}),
    "recursion": object_of(p=REFERENCE) | {"$defs": {"a": object_of(p=REFERENCE)}},
    "recursion in a ring": object_of(p=REFERENCE)
    | {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"anyOf": [REFERENCE]}}},
    "recursion to the root": object_of(p={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
    "reference outside": object_of(p={"$ref": "https://example.com/schema"}),
    "reference to nothing": object_of(p=REFERENCE),
    "reference not a string": object_of(p={"$ref": 5}),
    "definitions a list": LEAF | {"$defs": []},
}


@pytest.mark.parametrize("schema", NO_FIT.values(), ids=NO_FIT)
def test_what_has_no_fit(schema: Any) -> None:
    assert fitted_schema(schema) is None


TO_A: dict[str, Any] = {"allOf": [REFERENCE]}
NAMED = {"title": "Home", "description": "Where", "default": None}
DEFINED = {"$defs": {"a": LEAF}}
SINGLES: dict[str, tuple[Any, Any]] = {
    "a reference": (TO_A, REFERENCE),
    "a described one, as of pydantic 1": (NAMED | TO_A, REFERENCE),
    "within itself": ({"description": "D", "allOf": [{"title": "T", **TO_A}]}, REFERENCE),
    "described": ({"description": "D", "allOf": [STRING]}, STRING | {"description": "D"}),
    "described twice": (
        {"description": "D", "allOf": [STRING | {"description": "E", "$comment": "C"}]},
        STRING | {"description": "D"},
    ),
    "said twice": ({"type": "string", "allOf": [STRING]}, STRING),
    "of other keys": ({"type": "object", "allOf": [{"properties": {"x": STRING}}]}, LEAF),
    "of the same keys": (
        LEAF | {"allOf": [object_of(y=STRING)]},
        LEAF | {"allOf": [object_of(y=STRING)]},
    ),
    "of two": ({"allOf": [STRING, {"enum": ["a"]}]}, {"allOf": [STRING, {"enum": ["a"]}]}),
}


@pytest.mark.parametrize(("schema", "fitted"), SINGLES.values(), ids=SINGLES)
def test_a_single_all_of_is_its_schema(schema: Any, fitted: Any) -> None:
    whole = object_of(p=schema) | DEFINED
    assert fitted_schema(whole) == object_of(p=fitted) | DEFINED


def test_a_single_all_of_at_the_root_is_its_schema() -> None:
    assert fitted_schema(TO_A | DEFINED) == REFERENCE | DEFINED


NO_ALL_OF: dict[str, Any] = {
    "several with a reference": {"allOf": [REFERENCE, {"type": "object", "properties": {}}]},
    "a reference within": {"allOf": [STRING, object_of(x=REFERENCE)]},
    "a reference and more": TO_A | LEAF,
    "a reference within one": LEAF | {"allOf": [object_of(y=REFERENCE)]},
}


@pytest.mark.parametrize("schema", NO_ALL_OF.values(), ids=NO_ALL_OF)
def test_all_of_with_a_reference_has_no_fit(schema: Any) -> None:
    assert fitted_schema(object_of(p=schema) | DEFINED) is None


def test_depth_is_bounded() -> None:
    schema: Any = STRING
    for _ in range(500):
        schema = object_of(p=schema)
    assert fitted_schema(schema) is None


def test_long_chains_of_definitions_are_bounded() -> None:
    definitions = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}]} for i in range(2_000)}
    definitions["d2000"] = STRING
    schema = object_of(p={"$ref": "#/$defs/d0"}) | {"$defs": definitions}
    assert fitted_schema(schema) is None


SCHEMAS = st.recursive(
    st.sampled_from([STRING, {"type": "integer", "minimum": 0}, {"enum": ["a", 1]}, {}, True, 5]),
    lambda inner: (
        st.dictionaries(st.sampled_from("pq"), inner).map(lambda p: object_of(**p))
        | inner.map(lambda items: {"type": "array", "items": items, "maxItems": 3})
        | st.lists(inner).map(lambda variants: {"oneOf": variants})
        | st.lists(inner).map(lambda variants: {"allOf": variants, "title": "T"})
    ),
    max_leaves=6,
)


@given(SCHEMAS)
def test_what_fits_once_fits_again(schema: Any) -> None:
    fitted = fitted_schema(schema)
    if fitted is not None:
        assert fitted_schema(fitted) == fitted
