"""The pass-through: what changes (the model), what does not (all else), and what the tap sees."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    ModelTarget,
    Request,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.dialects.openai import OpenAI

GOLDEN = sorted((Path(__file__).parent / "golden/exchanges").glob("*.yaml"))
TARGET = ModelTarget("the-providers-name", None)


def request_of(body: Any) -> Request:
    return Request(body, "m", bool(body.get("stream")), "r", 1)


@pytest.mark.parametrize("golden", GOLDEN, indirect=True, ids=[path.stem for path in GOLDEN])
def test_an_exchange_passes_unchanged(golden: Any) -> None:
    sent = golden.given["request"]
    request = request_of(orjson.loads(sent))
    rendered = OpenAI().native["chat"].render(request, TARGET)
    expected = json.loads(sent) | {"model": "the-providers-name"}
    assert rendered.path == b"/chat/completions"
    assert json.dumps(json.loads(rendered.body)) == json.dumps(expected), "also in its order"
    assert request.body["model"] == "gpt-5-nano", "the request is shared by all attempts"
    reply = golden.given["reply"].encode()
    if request.stream:
        stream = OpenAI().native["chat"].stream(request)
        assert stream.feed(reply) is reply
        assert stream.finish() == b""
        usage = stream.usage
    else:
        read = OpenAI().native["chat"].read(request, reply)
        assert read.body is reply
        usage = read.usage
    golden.check(
        {
            "usage": usage
            and {
                "input": usage.input_tokens,
                "cached": usage.cached_input_tokens,
                "output": usage.output_tokens,
                "reasoning": usage.reasoning_tokens,
            }
        }
    )


def test_nesting_beyond_the_encoder_is_refused() -> None:
    nested: Any = {}
    for _ in range(400):
        nested = {"x": nested}
    with pytest.raises(Untranslatable):
        OpenAI().native["chat"].render(request_of({"model": "m", "metadata": nested}), TARGET)


def test_the_credential_is_a_bearer_token() -> None:
    assert OpenAI().auth_headers("sk-1") == ((b"authorization", b"Bearer sk-1"),)
    assert OpenAI().auth_headers(None) == ()


CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
BAD: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<html>secret</html>",
    "cut JSON": orjson.dumps({"choices": [CHOICE]})[:-3],
    "not UTF-8": b'{"choices":["\xff"]}',
    "null": b"null",
    "an array": b"[1]",
    "an error": b'{"error":{"message":"secret"}}',
    "choices null": b'{"choices":null}',
    "no choice": b'{"choices":[]}',
    "a stream": b'data: {"choices":[]}\n\n',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_fault_c20_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        OpenAI().native["chat"].read(request_of({}), body)
    assert "secret" not in str(caught.value)


def test_half_of_a_surrogate_pair_passes_with_its_reply() -> None:
    """As Python's own encoder writes what a model was cut in."""
    choice = json.dumps(CHOICE | {"message": {"role": "assistant", "content": "\ud83d"}})
    usage = '"usage":{"prompt_tokens":5,"completion_tokens":7}'
    body = f'{{"choices":[{choice}],{usage}}}'.encode()
    read = OpenAI().native["chat"].read(request_of({}), body)
    assert (read.body, read.usage) == (body, Usage(5, 7))
    stream = OpenAI().native["chat"].stream(request_of({"stream": True}))
    event = b"data: " + body + b"\n\n"
    assert stream.feed(event) is event
    assert stream.usage == Usage(5, 7)


USAGES: dict[str, tuple[Any, Usage | None]] = {
    "missing": (None, None),
    "a list": ([], None),
    "empty": ({}, Usage(0, 0)),
    "plain": ({"prompt_tokens": 5, "completion_tokens": 7}, Usage(5, 7)),
    "details null": (
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None},
        Usage(5, 7),
    ),
    "details": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 6},
        },
        Usage(5, 7, 3, 6),
    ),
    "nonsense": ({"prompt_tokens": "5", "completion_tokens": -7}, Usage(0, 0)),
}


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES)
def test_usage_of_a_reply(usage: Any, expected: Usage | None) -> None:
    body = orjson.dumps({"choices": [CHOICE], "usage": usage})
    assert OpenAI().native["chat"].read(request_of({}), body).usage == expected
