"""Legacy completions, natively: bytes pass unchanged."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI

CODEC = OpenAI.native["completions"]
TARGET = ModelTarget("upstream-name", 4096)


def asked(**fields: Any) -> Request:
    body = {"model": "m", "prompt": "Once upon"} | fields
    return Request(body, "m", body.get("stream") is True, "req_1", 1700000000, orjson.dumps(body))


def test_native_body_is_the_clients_own_but_for_the_model() -> None:
    raw = b'{ "prompt":[1,2],"model" : "m", "x_vendor":1.50}'
    request = Request(orjson.loads(raw), "m", False, "r", 1, raw)
    rendered = CODEC.render(request, TARGET)
    assert rendered.body == raw.replace(b'"m"', b'"upstream-name"')


def test_native_reply_is_the_providers_own() -> None:
    body = b'{"choices":[{"text":"x","index":0}] ,"usage":{"prompt_tokens":3}}'
    reply = CODEC.read(asked(), body)
    assert (reply.body, reply.usage) == (body, Usage(3, 0))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices":[]}'], ids=repr)
def test_native_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(BadReply):
        CODEC.read(asked(), body)


@pytest.mark.parametrize(
    ("fields", "whole"),
    [
        pytest.param({}, True, id="one"),
        pytest.param({"prompt": [5, 6]}, True, id="tokens"),
        pytest.param({"prompt": ["a", "b"]}, False, id="prompts"),
        pytest.param({"prompt": [[1], [2]]}, False, id="token-arrays"),
        pytest.param({"n": 2}, False, id="choices"),
    ],
)
def test_native_stream_is_whole_when_every_choice_is(fields: dict[str, Any], whole: bool) -> None:
    """Many vendors send no [DONE]: the finish of each choice has to do."""
    reader = CODEC.stream(asked(stream=True, **fields))
    second = b'data: {"choices":[{"text":"b","index":1,"finish_reason":null}]}\n\n'
    first = b'data: {"choices":[{"text":"a","index":0,"finish_reason":"stop"}]}\n\n'
    sent = first if whole else second + first
    assert reader.feed(sent) == sent
    if whole:
        assert reader.finish() == b""
    else:
        with pytest.raises(BadReply):
            reader.finish()
