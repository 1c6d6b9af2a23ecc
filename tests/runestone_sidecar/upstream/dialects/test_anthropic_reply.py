"""Whole replies of the Messages API: golden transcripts, and what is no reply."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.anthropic_messages import conversation
from runestone_sidecar.upstream.dialects.anthropic_reply import FINISH_REASONS
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request, Usage

GOLDEN = sorted((Path(__file__).parent / "golden/replies").glob("*.yaml"))
REQUEST = Request({"model": "m"}, "m", False, "r", 1)
USAGE = {"input_tokens": 1, "output_tokens": 1}
WHOLE = {"id": "msg_1", "content": [], "stop_reason": "end_turn", "usage": USAGE}


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=[path.stem for path in GOLDEN])
def test_golden_reply(golden: Any) -> None:
    reply = Anthropic().chat.read(golden.request, orjson.dumps(golden.given["provider"]))
    golden.check({"client": orjson.loads(reply.body)})
    completion = ChatCompletion.model_validate_json(reply.body, strict=True)
    if completion.usage is None:
        assert reply.usage is None
        return
    prompt, output = (
        completion.usage.prompt_tokens_details,
        completion.usage.completion_tokens_details,
    )
    assert prompt is not None
    assert output is not None
    assert reply.usage == Usage(
        completion.usage.prompt_tokens,
        completion.usage.completion_tokens,
        prompt.cached_tokens or 0,
        output.reasoning_tokens or 0,
    )


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"), FINISH_REASONS.items(), ids=FINISH_REASONS
)
def test_a_finish_reason_for_every_stop_reason(stop_reason: str, finish_reason: str) -> None:
    calls = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    body = orjson.dumps(WHOLE | {"content": calls, "stop_reason": stop_reason})
    choice = orjson.loads(Anthropic().chat.read(REQUEST, body).body)["choices"][0]
    assert choice["finish_reason"] == finish_reason


def test_the_credential_is_a_key_and_the_version_is_told() -> None:
    assert Anthropic().auth_headers("sk-ant-1") == ((b"x-api-key", b"sk-ant-1"),)
    assert Anthropic().auth_headers(None) == ()
    asked = {**REQUEST.body, "messages": [{"role": "user", "content": "x"}]}
    rendered = Anthropic().chat.render(replace(REQUEST, body=asked), ModelTarget("claude", 100))
    assert rendered.headers == b"anthropic-version: 2023-06-01\r\n"


@pytest.mark.parametrize("api", ["messages", "count_tokens"])
def test_a_client_of_the_same_api_says_its_own_version(api: str) -> None:
    codec, target = Anthropic().native[api], ModelTarget("claude", 100)
    own = b"anthropic-beta: b\r\nanthropic-version: 2026-10-21\r\n"
    assert codec.render(replace(REQUEST, headers=own), target).headers == own
    told = codec.render(replace(REQUEST, headers=b"anthropic-beta: b\r\n"), target).headers
    assert told == b"anthropic-beta: b\r\nanthropic-version: 2023-06-01\r\n"


BAD: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<html>502 secret</html>",
    "cut JSON": orjson.dumps(WHOLE)[:-5],
    "not UTF-8": b'{"content":"\xff"}',
    "null": b"null",
    "an array": b"[]",
    "an error": b'{"type":"error","error":{"type":"api_error","message":"secret"}}',
    "no content": orjson.dumps({"stop_reason": "end_turn"}),
    "content a string": orjson.dumps(WHOLE | {"content": "secret"}),
    "no stop reason": orjson.dumps(WHOLE | {"stop_reason": None}),
    "text a number": orjson.dumps(WHOLE | {"content": [{"type": "text", "text": 5}]}),
    "call without input": orjson.dumps(
        WHOLE | {"content": [{"type": "tool_use", "id": "t", "name": "secret"}]}
    ),
    "a stream": b"event: message_start\ndata: {}\n\n",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_fault_c20_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        Anthropic().chat.read(REQUEST, body)
    assert "secret" not in str(caught.value)


NUMBERS = {
    "of 64 bits": "[18446744073709551615,-9223372036854775808]",
    "beyond": '[123456789012345678901234567890,-9223372036854775809,{"x":18446744073709551616}]',
    "beside others": r'[123456789012345678901234567890,1.5,1e+300,"\u00e9\ud83d\ude00"]',
    "in a string": '["123456789012345678901234567890"]',
}


def calling(name: str, given: bytes) -> bytes:
    body = orjson.dumps(WHOLE | {"content": [{"type": "tool_use", "id": "t", "name": name}]})
    return body.replace(b'"name":', b'"input":' + given + b',"name":')


def arguments_of(reply: bytes) -> Any:
    message = orjson.loads(reply)["choices"][0]["message"]
    calls = message.get("tool_calls")
    return json.loads(calls[0]["function"]["arguments"] if calls else message["content"])


@pytest.mark.parametrize("name", ["f", "runestone_answer"])
@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
def test_whole_numbers_are_not_rounded(numbers: str, name: str) -> None:
    reply = Anthropic().chat.read(REQUEST, calling(name, b'{"n":%b}' % numbers.encode()))
    assert arguments_of(reply.body) == {"n": json.loads(numbers)}


def nested(levels: int) -> bytes:
    return b'{"x":' * levels + b"12345678901234567890" + b"}" * levels


def test_nesting_is_carried_as_far_as_it_goes() -> None:
    reply = Anthropic().chat.read(REQUEST, calling("f", nested(400)))
    assert arguments_of(reply.body) == json.loads(nested(400))


@pytest.mark.parametrize(
    "given", [b'{"x":%b}' % (b"1" * 5_000), nested(1_000)], ids=["many digits", "many levels"]
)
def test_fault_c20_an_input_beyond_reason(given: bytes) -> None:
    with pytest.raises(BadReply):
        Anthropic().chat.read(REQUEST, calling("f", given))


HALVES = [(rb"\ud83d", "\ufffd"), (rb"\uDE00x", "\ufffdx"), (rb"\ud83d\ude00", "😀")]


@pytest.mark.parametrize("number", ["1", "123456789012345678901234567890"])
@pytest.mark.parametrize(("half", "said"), HALVES, ids=["high", "low", "whole"])
def test_a_half_of_a_surrogate_pair_is_no_failure(half: bytes, said: str, number: str) -> None:
    content = [
        {"type": "thinking", "thinking": "HALF"},
        {"type": "text", "text": "HALF"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"HALF": "HALF", "n": "N"}},
    ]
    body = orjson.dumps(WHOLE | {"content": content})
    body = body.replace(b"HALF", half).replace(b'"N"', number.encode())
    reply = Anthropic().chat.read(REQUEST, body)
    message = orjson.loads(reply.body)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (said, said)
    assert arguments_of(reply.body) == {said: said, "n": int(number)}
    assert Anthropic().native["messages"].read(REQUEST, body).body is body


def test_an_unsigned_thought_is_not_sent_back() -> None:
    body = WHOLE | {"content": [{"type": "thinking", "thinking": "Hm."}]}
    reply = orjson.loads(Anthropic().chat.read(REQUEST, orjson.dumps(body)).body)
    message = reply["choices"][0]["message"]
    _, turns = conversation([{"role": "user", "content": "x"}, message | {"content": "y"}])
    assert turns[1] == {"role": "assistant", "content": [{"type": "text", "text": "y"}]}
