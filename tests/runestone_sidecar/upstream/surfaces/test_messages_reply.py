"""Whole chat completions as messages: what each part becomes, and what is no reply."""

from typing import Any

import orjson
import pytest
from anthropic.types import Message

from runestone_sidecar.upstream.dialects.base import BadReply, Miswritten, Request
from runestone_sidecar.upstream.surfaces.messages import Messages

REQUEST = Request({"model": "m", "stop_sequences": ["END"]}, "asked", False, "req-1", 1)


def read(completion: Any) -> Any:
    body = Messages.translator.read_chat(REQUEST, completion)
    Message.model_validate_json(body, strict=True)
    return orjson.loads(body)


def completion(finish: Any = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return {"id": "chatcmpl-1", "choices": [choice]}


def call(arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function} | fields


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def thought(said: str, signature: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": said, "signature": signature}


def use(given: Any = None, identifier: str = "call_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "f", "input": given or {}}


SIGNED = [thought("a", "s"), {"type": "redacted_thinking", "data": "d"}, thought("b", "t")]

# id -> (the chat's message, the blocks)
CONTENT: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "text": ({"content": "Hello"}, [text("Hello")]),
    "nothing": ({"content": None}, []),
    "an empty text": ({"content": ""}, []),
    "text that shows nothing": ({"content": " \n", "tool_calls": [call()]}, [use()]),
    "spaces around a text": ({"content": "\n Hello "}, [text("\n Hello ")]),
    "reasoning": (
        {"content": "Hi", "reasoning_content": "Hm"},
        [thought("Hm"), text("Hi")],
    ),
    "reasoning by its other name": (
        {"content": "Hi", "reasoning": "Hm", "reasoning_details": []},
        [thought("Hm"), text("Hi")],
    ),
    "reasoning by both": ({"reasoning": "Hm", "reasoning_content": "Hm"}, [thought("Hm")]),
    "signed thinking": (
        {"content": "Hi", "reasoning_content": "ab", "thinking_blocks": SIGNED},
        [*SIGNED, text("Hi")],
    ),
    "content in parts": (
        {
            "content": [
                {"type": "thinking", "thinking": [text("H"), text("m")]},
                text("H"),
                text("i"),
                {"type": "new"},
            ]
        },
        [thought("Hm"), text("Hi")],
    ),
    "calls": (
        {"content": "Hi", "tool_calls": [call('{"a":1}'), call(id="call_2")]},
        [text("Hi"), use({"a": 1}), use(identifier="call_2")],
    ),
    "calls null": ({"content": "Hi", "tool_calls": None}, [text("Hi")]),
    "a call without arguments": ({"tool_calls": [call("")]}, [use()]),
    "a call with arguments null": ({"tool_calls": [call(" null")]}, [use()]),
    "a call with no arguments at all": ({"tool_calls": [call(None)]}, [use()]),
    "a call without id": (
        {"tool_calls": [call(id=None), call(id="")]},
        [use(identifier="toolu_req-1_0"), use(identifier="toolu_req-1_1")],
    ),
    "a refusal": ({"content": None, "refusal": "I won't."}, [text("I won't.")]),
    "a refusal after a text": ({"content": "Hi", "refusal": "I won't."}, [text("Hi")]),
}


@pytest.mark.parametrize(("message", "blocks"), CONTENT.values(), ids=CONTENT)
def test_content(message: dict[str, Any], blocks: list[Any]) -> None:
    said = read(completion(**message))
    assert said["content"] == blocks
    assert (said["type"], said["role"], said["model"]) == ("message", "assistant", "asked")
    if "refusal" in message:
        assert said["stop_reason"] == "refusal"
        assert said["stop_details"] == {
            "type": "refusal",
            "category": None,
            "explanation": "I won't.",
        }
    else:
        assert said["stop_details"] is None


def test_numbers_of_arguments_are_kept_as_they_were_written() -> None:
    arguments = '{"n": 123456789012345678901234567890, "x": 1.10}'
    body = Messages.translator.read_chat(REQUEST, completion(tool_calls=[call(arguments)]))
    assert arguments.encode() in body


def test_half_of_a_surrogate_pair_in_arguments_is_carried() -> None:
    said = read(completion(tool_calls=[call(r'{"x":"\ud83d","y":"\ud83d\ude00","z":"\\ud83d"}')]))
    assert said["content"] == [use({"x": "\ufffd", "y": "😀", "z": r"\ud83d"})]


@pytest.mark.parametrize("given", [{"x": [1, {"y": "z"}]}, {}], ids=str)
def test_arguments_that_are_an_object_already(given: dict[str, Any]) -> None:
    assert read(completion(tool_calls=[call(given)]))["content"] == [use(given)]


CALLS = [call()]
# id -> (finish reason, other fields of the message, of the choice, stop_reason, stop_sequence)
STOPS: dict[str, tuple[str, Any, Any, str, str | None]] = {
    "stop": ("stop", {}, {}, "end_turn", None),
    "length": ("length", {}, {}, "max_tokens", None),
    "Mistral's length": ("model_length", {}, {}, "max_tokens", None),
    "length with calls": ("length", {"tool_calls": CALLS}, {}, "max_tokens", None),
    "tool calls": ("tool_calls", {"tool_calls": CALLS}, {}, "tool_use", None),
    "stop with calls": ("stop", {"tool_calls": CALLS}, {}, "tool_use", None),
    "tool calls without calls": ("tool_calls", {}, {}, "end_turn", None),
    "content filter": ("content_filter", {}, {}, "refusal", None),
    "a vendor's own word": ("eos", {}, {}, "end_turn", None),
    "a sequence at vLLM": ("stop", {}, {"stop_reason": "END"}, "stop_sequence", "END"),
    "a sequence at SGLang": ("stop", {}, {"matched_stop": "END"}, "stop_sequence", "END"),
    "a token at vLLM": ("stop", {}, {"stop_reason": 128009}, "end_turn", None),
    "a sequence not asked for": ("stop", {}, {"stop_reason": "</s>"}, "end_turn", None),
    "a sequence after calls": (
        "tool_calls",
        {"tool_calls": CALLS},
        {"stop_reason": "END"},
        "tool_use",
        None,
    ),
}


@pytest.mark.parametrize(
    ("finish", "message", "choice", "reason", "sequence"), STOPS.values(), ids=STOPS
)
def test_stop_reason(
    finish: str, message: Any, choice: Any, reason: str, sequence: str | None
) -> None:
    given = completion(finish, content="Hi", **message)
    given["choices"][0] |= choice
    said = read(given)
    assert (said["stop_reason"], said["stop_sequence"]) == (reason, sequence)


def test_the_call_that_a_cut_fell_into_is_left_out() -> None:
    calls = [call('{"a":1}'), call('{"a":', id="call_2")]
    said = read(completion("length", tool_calls=calls))
    assert said["content"] == [use({"a": 1})]
    assert said["stop_reason"] == "max_tokens"


IDS = {
    "OpenAI's": ("chatcmpl-1", "msg_1"),
    "Anthropic's": ("msg_1", "msg_1"),
    "another": ("gen-1", "msg_gen-1"),
    "none": (None, "msg_req-1"),
    "empty": ("", "msg_req-1"),
}


@pytest.mark.parametrize(("given", "expected"), IDS.values(), ids=IDS)
def test_id(given: Any, expected: str) -> None:
    assert read(completion(content="Hi") | {"id": given})["id"] == expected


USAGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "none": (None, {"input_tokens": 0, "output_tokens": 0}),
    "plain": (
        {"prompt_tokens": 5, "completion_tokens": 7},
        {"input_tokens": 5, "output_tokens": 7},
    ),
    "cached": (
        {
            "prompt_tokens": 50,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        {
            "input_tokens": 12,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 8,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    ),
    "details null": (
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None},
        {"input_tokens": 5, "output_tokens": 7},
    ),
    "nonsense": (
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
        {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 9},
    ),
}


@pytest.mark.parametrize(("told", "usage"), USAGES.values(), ids=USAGES)
def test_usage(told: Any, usage: dict[str, Any]) -> None:
    none = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    assert read(completion(content="Hi") | {"usage": told})["usage"] == none | usage


BAD: dict[str, Any] = {
    "no choices": {},
    "choices null": {"choices": None},
    "no choice": {"choices": []},
    "a choice null": {"choices": [None]},
    "no message": {"choices": [{"finish_reason": "stop"}]},
    "content a number": completion(content=5),
    "no finish reason": completion(None, content="Hi"),
    "an empty finish reason": completion("", content="Hi"),
    "a finish reason a number": completion(5, content="Hi"),
    "a failure": completion("error", content="Hi"),
    "DeepSeek's failure": completion("insufficient_system_resource", content="Hi"),
    "calls a text": completion(tool_calls="f"),
    "a call a text": completion(tool_calls=["f"]),
    "a call without function": completion(tool_calls=[{"id": "x"}]),
    "a call without name": completion(tool_calls=[call(function={"arguments": "{}"})]),
    "a call with an empty name": completion(tool_calls=[call(function={"name": ""})]),
    "arguments a list": completion(tool_calls=[call("[1]")]),
    "arguments cut": completion(tool_calls=[call('{"secret":')]),
    "arguments a list and no text": completion(tool_calls=[call([1])]),
    "arguments too deep": completion(
        tool_calls=[call(orjson.loads(b'{"x":' * 999 + b"1" + b"}" * 999))]
    ),
    "arguments a number": completion(tool_calls=[call(0)]),
    "arguments a word": completion(tool_calls=[call("secret")]),
}


WRITTEN = {name for name in BAD if name.startswith("arguments")} | {"a call with an empty name"}


@pytest.mark.parametrize("name", BAD)
def test_fault_c20_what_is_no_reply(name: str) -> None:
    with pytest.raises(BadReply) as caught:
        Messages.translator.read_chat(REQUEST, BAD[name])
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, Miswritten) is (name in WRITTEN), "else the vendor's failure"
