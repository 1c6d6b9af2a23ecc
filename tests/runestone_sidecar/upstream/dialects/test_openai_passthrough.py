"""What is handed on is read for usage alone, from its end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.openai_passthrough import TAIL_BYTES, Tail, usage_in

CODEC = OpenAI.native["passthrough"]
TARGET = ModelTarget("upstream-name", None)


def asked(raw: bytes) -> Request:
    body = json.loads(raw)
    return Request(body, body.get("model", ""), False, "r", 1, raw)


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        pytest.param(
            b'{"model": "m", "a":1.0}', b'{"model": "upstream-name", "a":1.0}', id="model"
        ),
        pytest.param(b'{ "input":1e2}', b'{ "input":1e2}', id="no-model"),
        pytest.param(b'{"model":null }', b'{"model":null }', id="null"),
        pytest.param(
            b'{"model":"x","model":"m"}', b'{"model":"upstream-name"}', id="A7-two-models"
        ),
    ],
)
def test_body(raw: bytes, sent: bytes) -> None:
    assert CODEC.render(asked(raw), TARGET).body == sent


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        pytest.param({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2), id="of-images"),
        pytest.param({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0), id="of-prompts"),
        pytest.param(
            {"input_tokens": 1, "input_tokens_details": {"text_tokens": 1}, "output_tokens": 2},
            Usage(1, 2),
            id="with-details",
        ),
        pytest.param({"type": "duration", "seconds": 9}, None, id="of-seconds"),
        pytest.param({"input_tokens": -1, "output_tokens": True}, None, id="nonsense"),
        pytest.param(None, None, id="null"),
    ],
)
def test_usage(told: Any, usage: Usage | None) -> None:
    body = json.dumps({"text": "x", "usage": told}).encode()
    read = CODEC.read(asked(b"{}"), body)
    assert (read.body, read.usage) == (body, usage)


def test_text_that_looks_like_usage_is_text() -> None:
    said = 'x", "usage": {"input_tokens": 999}, "y": "'
    assert usage_in(json.dumps({"text": said}).encode()) is None


@pytest.mark.parametrize("step", [1, 100, TAIL_BYTES, 10**6], ids=lambda step: f"by-{step}")
def test_stream_is_handed_on_and_its_end_is_kept(step: int) -> None:
    first = b'data: {"usage":{"input_tokens":1,"output_tokens":1}}\n\n'
    last = b'data: {"b64":"x","usage":{"input_tokens":5,"output_tokens":6}}\n\n'
    sent = first + b": " + b"x" * 3 * TAIL_BYTES + b"\n\n" + last
    tail = Tail()
    assert b"".join(tail.feed(sent[at : at + step]) for at in range(0, len(sent), step)) == sent
    assert tail.usage == Usage(5, 6)
    assert tail.at_boundary
    assert len(tail._tail) <= TAIL_BYTES
    tail.feed(b"data: {")
    assert not tail.at_boundary
    assert tail.finish() == b""
