"""Thoughts that nobody signed, in a conversation that moves to Anthropic in the middle."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request
from runestone_sidecar.upstream.surfaces.messages_reply import read_message

CODECS = {name: Anthropic().native[name] for name in ("messages", "count_tokens")}
TARGET = ModelTarget("theirs", None)

Message = dict[str, Any]

UNSIGNED: Message = {"type": "thinking", "thinking": "Hm.", "signature": ""}
SIGNED: Message = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
REDACTED: Message = {"type": "redacted_thinking", "data": "d"}
TEXT: Message = {"type": "text", "text": "Yes."}
CALL: Message = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
BUDGET: Message = {"type": "enabled", "budget_tokens": 2_000}


def user(content: Any = "Hello") -> Message:
    return {"role": "user", "content": content}


def model(*content: Any) -> Message:
    return {"role": "assistant", "content": list(content)}


RESULT = user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])
SYSTEM: Message = {"role": "system", "content": "Be brief."}
NOTHING = model({"type": "text", "text": "(no answer)"})


def raw_of(*messages: Message, **fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "max_tokens": 9_000, "messages": messages, **fields})


def rendered(raw: bytes, api: str = "messages") -> bytes:
    return CODECS[api].render(Request(orjson.loads(raw), "m", False, "r", 1, raw), TARGET).body


def sent(*messages: Message, **fields: Any) -> Any:
    return orjson.loads(rendered(raw_of(*messages, **fields)))


@pytest.mark.parametrize("api", CODECS)
def test_what_a_vendor_thought_is_not_sent_on(api: str) -> None:
    completion = {
        "id": "c",
        "choices": [
            {
                "message": {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."},
                "finish_reason": "stop",
            }
        ],
    }
    reply = orjson.loads(read_message(Request({}, "m", False, "r", 1), completion))
    assert reply["content"][0] == UNSIGNED, "or this tests nothing"
    said = raw_of(user(), {"role": "assistant", "content": reply["content"]}, user("And?"))
    body = orjson.loads(rendered(said, api))
    assert body == {
        "model": "theirs",
        "max_tokens": 9_000,
        "messages": [user(), model(TEXT), user("And?")],
    }


SPACED = b'{"thinking":"Hm.", "type": "thinking",\n "signature" : "" }'


def test_its_spelling_does_not_matter() -> None:
    raw = raw_of(user(), model(SIGNED, TEXT, UNSIGNED)).replace(orjson.dumps(UNSIGNED), SPACED)
    assert SPACED in raw
    assert orjson.loads(rendered(raw))["messages"] == [user(), model(SIGNED, TEXT)]


UNTOUCHED = {
    "signed": raw_of(user(), model(SIGNED, REDACTED, TEXT), thinking=BUDGET),
    "a client's own field": raw_of(user(), model({**CALL, "input": {"signature": ""}})),
    "said by a user": raw_of(user([UNSIGNED])),
    "told in a text": raw_of(user('{"type":"thinking","signature":""}')),
    "content in no list": raw_of(user(), {"role": "assistant", "content": {"signature": ""}}),
    "blocks of no kind": raw_of(user(), model("thinking", None, {"signature": ""})),
    "nothing said": raw_of(user(), model(), user([UNSIGNED])),
}


@pytest.mark.parametrize("raw", UNTOUCHED.values(), ids=UNTOUCHED)
def test_all_else_stays_byte_for_byte(raw: bytes) -> None:
    spaced = raw.replace(b'"max_tokens":9000', b'"max_tokens" : 9e3')
    assert rendered(spaced) == spaced.replace(b'"m"', b'"theirs"')


# id -> (the messages, those that are sent)
EMPTIED: dict[str, tuple[list[Message], list[Message]]] = {
    "between a user's": ([user(), model(UNSIGNED), user("And?")], [user(), user("And?")]),
    "last": ([user(), model(UNSIGNED)], [user()]),
    "before the model's": ([user(), model(UNSIGNED), model(TEXT)], [user(), model(TEXT)]),
    "several thoughts": ([user(), model(UNSIGNED, UNSIGNED), user()], [user(), user()]),
    "first": ([model(UNSIGNED), user()], [NOTHING, user()]),
    "alone": ([model(UNSIGNED)], [NOTHING]),
    "after a system message": (
        [user(), SYSTEM, model(UNSIGNED), user()],
        [user(), SYSTEM, NOTHING, user()],
    ),
}


@pytest.mark.parametrize(("messages", "left"), EMPTIED.values(), ids=EMPTIED)
def test_a_message_that_said_nothing_else(messages: list[Message], left: list[Message]) -> None:
    assert sent(*messages)["messages"] == left


# id -> (the last messages, whether the model may still think)
LOOPS: dict[str, tuple[list[Message], bool]] = {
    "a call that lost its thought": ([model(UNSIGNED, CALL), RESULT], False),
    "one with text": ([model(UNSIGNED, TEXT, CALL), RESULT], False),
    "one of several thoughts": ([model(UNSIGNED, SIGNED, CALL), RESULT], True),
    "one redacted": ([model(REDACTED, UNSIGNED, CALL), RESULT], True),
    "an earlier call": ([model(UNSIGNED, CALL), RESULT, model(SIGNED, CALL), RESULT], True),
    "no call": ([model(UNSIGNED, TEXT), user("And?")], True),
    "no call any more": (
        [model(UNSIGNED, CALL), RESULT, {"role": "assistant", "content": "Yes."}, user("And?")],
        True,
    ),
    "nothing of the model's": ([model(UNSIGNED), user("And?")], True),
}
FORGET = {"type": "clear_thinking_20251015", "keep": "all"}
CLEAR = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(("messages", "thinks"), LOOPS.values(), ids=LOOPS)
def test_a_budget_needs_the_thought_of_the_last_call(messages: list[Message], thinks: bool) -> None:
    body = sent(
        user(), *messages, thinking=BUDGET, context_management={"edits": [FORGET, CLEAR], "x": 1}
    )
    assert body.get("thinking") == (BUDGET if thinks else None)
    edits = [FORGET, CLEAR] if thinks else [CLEAR]
    assert body["context_management"] == {"edits": edits, "x": 1}


@pytest.mark.parametrize("management", [None, [], {"edits": None}, {"edits": [None, {}]}])
def test_a_budget_goes_whatever_else_is_asked(management: Any) -> None:
    fields = {"thinking": BUDGET, "context_management": management}
    body = sent(user(), model(UNSIGNED, CALL), RESULT, **fields)
    assert "thinking" not in body
    assert body["context_management"] == management


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "disabled"}, "on"])
def test_only_a_budget_needs_it(thinking: Any) -> None:
    body = sent(user(), model(UNSIGNED, CALL), RESULT, thinking=thinking)
    assert body["thinking"] == thinking
