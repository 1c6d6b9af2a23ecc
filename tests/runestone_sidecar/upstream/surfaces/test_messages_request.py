"""Messages requests as chats: golden transcripts, refusals, and totality over any JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

from runestone_sidecar.errors import BadRequest
from runestone_sidecar.upstream.dialects.base import Request, Untranslatable
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.messages_fields import BLOCKS, FIELDS
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
