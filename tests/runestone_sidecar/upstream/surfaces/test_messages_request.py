"""Messages requests as chats: golden transcripts, refusals, and totality over any JSON."""

import datetime
import decimal
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import anthropic
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

from runestone_sidecar.errors import BadRequest
from runestone_sidecar.upstream.dialects.base import Request, Untranslatable
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.messages_fields import BLOCKS, FIELDS
from runestone_sidecar.upstream.surfaces.messages_schema import is_strict
from runestone_testing.golden import Golden

GOLDEN = [
    Golden(path)
    for path in sorted((Path(__file__).parent / "golden/messages_requests").glob("*.yaml"))
]
SDK_PARAMS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParams)
EXTENSIONS = {"thinking_blocks", "reasoning_content"}
BASE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hello"}],
}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def to_chat(body: Any) -> Any:
    Messages().check(body)
    request = Request(body, "m", bool(body.get("stream")), "r", 1, b"raw", b"headers")
    before = orjson.dumps(body)
    chat = Messages.translator.to_chat(request)
    assert orjson.dumps(body) == before, "the request is shared by all attempts"
    assert (chat.raw, chat.headers) == (b"", b""), "these are not the client's own words"
    assert (chat.model, chat.stream, chat.request_id, chat.created_s) == (
        "m",
        request.stream,
        "r",
        1,
    )
    return json.loads(orjson.dumps(chat.body))


def drained(value: Any) -> Any:
    """Pydantic checks what is typed as an iterable only when it is read."""
    if isinstance(value, dict):
        return {key: drained(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [drained(item) for item in value]
    return value


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden.path.stem for golden in GOLDEN])
def test_golden_request(golden: Golden) -> None:
    chat = to_chat(golden.given["client"])
    golden.check({"chat": chat})
    for message in chat["messages"]:
        for name in EXTENSIONS & set(message):
            del message[name]
    assert drained(SDK_PARAMS.validate_python(chat)) == chat, "a field that the SDK does not know"


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def assistant(*blocks: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": list(blocks)}
    return {"messages": [said, {"role": "user", "content": "Go on"}]}


def document(**fields: Any) -> dict[str, Any]:
    return {"type": "document", **fields}


AT = "messages[0].content[0]"
# id -> (fields of the request, the param that is named)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a field of nobody's": ({"new_field": 1}, "new_field"),
    "a role of nobody's": ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    "a reply to be continued": (
        {"messages": [*BASE["messages"], {"role": "assistant", "content": "{"}]},
        "messages[1].role",
    ),
    "content a number": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "nothing to be seen": (user({"type": "text", "text": " "}), "messages"),
    "a block that is a string": (user("x"), AT),
    "a block of nobody's": (user({"type": "new"}), f"{AT}.type"),
    "a block without type": (user({}), f"{AT}.type"),
    "a type that is a list": (user({"type": []}), f"{AT}.type"),
    "text a number": (user({"type": "text", "text": 5}), f"{AT}.text"),
    "thinking of a user": (user({"type": "thinking", "thinking": "x"}), f"{AT}.type"),
    "a call of a user": (user({"type": "tool_use"}), f"{AT}.type"),
    "an image of the model": (assistant({"type": "image"}), f"{AT}.type"),
    "a result of the model": (assistant({"type": "tool_result"}), f"{AT}.type"),
    "a call without id": (
        assistant({"type": "tool_use", "name": "f", "input": {}}),
        f"{AT}.id",
    ),
    "a call's input a string": (
        assistant({"type": "tool_use", "id": "i", "name": "f", "input": "{}"}),
        f"{AT}.input",
    ),
    "an image without source": (user({"type": "image"}), f"{AT}.source"),
    "an uploaded image": (
        user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        f"{AT}.source.type",
    ),
    "a document by URL": (
        user(document(source={"type": "url", "url": "https://example.com/a.pdf"})),
        f"{AT}.source.type",
    ),
    "an uploaded document": (
        user(document(source={"type": "file", "file_id": "f"})),
        f"{AT}.source.type",
    ),
    "a document of another kind": (
        user(document(source={"type": "base64", "media_type": "text/html", "data": ""})),
        f"{AT}.source.media_type",
    ),
    "citations": (
        user(document(citations={"enabled": True}, source={"type": "text", "data": "x"})),
        f"{AT}.citations",
    ),
    "a document in a document": (
        user(document(source={"type": "content", "content": [document()]})),
        f"{AT}.source.content[0].type",
    ),
    "a tool result without call": (user({"type": "tool_result"}), f"{AT}.tool_use_id"),
    "a reference in a result": (
        user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference"}]}),
        f"{AT}.content[0].type",
    ),
    "a system prompt with an image": ({"system": [{"type": "image"}]}, "system[0].type"),
    "a system prompt a number": ({"system": 5}, "system"),
    "a server's tool": ({"tools": [{"type": "web_search_20250305"}]}, "tools[0].type"),
    "a tool of Anthropic's definition": ({"tools": [{"type": "bash_20250124"}]}, "tools[0].type"),
    "a tool that is a string": ({"tools": ["f"]}, "tools[0]"),
    "a tool without name": ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    "a tool without schema": ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    "a tool for code only": (
        {"tools": [TOOL | {"allowed_callers": ["code_execution_20250825"]}]},
        "tools[0].allowed_callers",
    ),
    "a choice of nobody's": ({"tools": [TOOL], "tool_choice": {"type": "new"}}, "tool_choice.type"),
    "a choice that is a string": ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice.type"),
    "a choice that is a list": ({"tool_choice": {"type": []}}, "tool_choice.type"),
    "a choice among none": ({"tool_choice": {"type": "any"}}, "tool_choice"),
    "a choice of another": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
        "tool_choice.name",
    ),
    "a cache to be filled": ({"max_tokens": 0}, "max_tokens"),
    "a temperature of words": ({"temperature": "hot"}, "temperature"),
    "stops that are a string": ({"stop_sequences": "END"}, "stop_sequences"),
    "a user that is a number": ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    "a tier of nobody's": ({"service_tier": "new"}, "service_tier"),
    "thinking that is true": ({"thinking": True}, "thinking"),
    "thinking of nobody's": ({"thinking": {"type": "new"}}, "thinking.type"),
    "a budget of words": (
        {"thinking": {"type": "enabled", "budget_tokens": "x"}},
        "thinking.budget_tokens",
    ),
    "an effort of nobody's": ({"output_config": {"effort": "new"}}, "output_config.effort"),
    "a format of nobody's": (
        {"output_config": {"format": {"type": "text"}}},
        "output_config.format",
    ),
    "a format without schema": ({"output_format": {"type": "json_schema"}}, "output_format"),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_chat(BASE | fields)
    assert caught.value.param == param


EFFORTS = {1_024: "low", 4_096: "low", 4_097: "medium", 12_288: "medium", 12_289: "high"}


@pytest.mark.parametrize(("budget", "effort"), EFFORTS.items(), ids=[str(n) for n in EFFORTS])
def test_a_budget_is_an_effort(budget: int, effort: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    assert to_chat(BASE | {"thinking": thinking})["reasoning_effort"] == effort
    wins = {"thinking": thinking, "output_config": {"effort": "max"}}
    assert to_chat(BASE | wins)["reasoning_effort"] == "high"


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
    chat = to_chat(BASE | {"output_config": output, "tools": [tool]})
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


@pytest.mark.parametrize("user_id", ["user_1-A", "x" * 64], ids=["short", "longest"])
def test_a_users_name_is_carried(user_id: str) -> None:
    assert to_chat(BASE | {"metadata": {"user_id": user_id}})["user"] == user_id


@pytest.mark.parametrize("user_id", ["x" * 65, "a@example.com", ""], ids=["long", "mail", "none"])
def test_a_users_name_that_vendors_refuse_is_carried_as_its_hash(user_id: str) -> None:
    said = to_chat(BASE | {"metadata": {"user_id": user_id}})["user"]
    assert len(said) == 64
    assert said != to_chat(BASE | {"metadata": {"user_id": user_id + "!"}})["user"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "base64",
        "url",
        "content",
        "json_schema",
        "any",
        "tool",
        "enabled",
        "adaptive",
        "object",
        "custom",
        "f",
        "x",
    ]
)
KEYS = st.sampled_from(
    [
        "type",
        "text",
        "source",
        "content",
        "id",
        "name",
        "input",
        "tool_use_id",
        "thinking",
        "title",
        "signature",
        "data",
        "media_type",
        "url",
        "schema",
        "format",
        "effort",
        "input_schema",
    ]
)
LIKELY = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": LIKELY}
)


@given(
    st.lists(MESSAGE, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from([*FIELDS, "x"]), LIKELY, max_size=4),
)
def test_any_json_is_a_chat_or_refused(messages: Any, fields: dict[str, Any]) -> None:
    try:
        to_chat(fields | BASE | {"messages": messages})
    except (Untranslatable, BadRequest) as refusal:
        assert refusal.message


def test_every_block_of_the_table_is_met() -> None:
    told = {kind for kind, field in BLOCKS.items() if field.fate.value == "refused"}
    for kind in told:
        with pytest.raises(Untranslatable) as caught:
            to_chat(BASE | assistant({"type": kind}))
        assert caught.value.message == BLOCKS[kind].reason
