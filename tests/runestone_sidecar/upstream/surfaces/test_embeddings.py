"""Embeddings pass unread; what the gateway wants of them, usage, is taken from the edges."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from runestone_sidecar.errors import BadRequest
from runestone_sidecar.upstream.dialects import openai_embeddings
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.openai_embeddings import DECODED_BYTES, MARGIN_BYTES
from runestone_sidecar.upstream.surfaces.base import Traits
from runestone_sidecar.upstream.surfaces.embeddings import EMBEDDINGS

CODEC = OpenAI.native["embeddings"]
FLOATS = [0.123456789 + index for index in range(1536)]
BASE64 = base64.b64encode(bytes(4 * 1536)).decode()
TOLD = {"prompt_tokens": 8, "total_tokens": 8}


def asked(**fields: Any) -> Request:
    body = {"model": "m", "input": "hello"} | fields
    return Request(body, "m", False, "r", 1, orjson.dumps(body))


def reply(vector: Any, count: int = 1, usage: Any = TOLD) -> dict[str, Any]:
    data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(count)]
    return {"object": "list", "data": data, "model": "served", "usage": usage}


def reordered(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: document[name] for name in names}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"model": 3}, "model", id="model-number"),
        pytest.param({"input": None}, "input", id="no-input"),
        pytest.param({"input": ""}, "input", id="empty-text"),
        pytest.param({"input": []}, "input", id="empty-array"),
        pytest.param({"input": {"text": "x"}}, "input", id="object"),
        pytest.param({"dimensions": 0}, "dimensions", id="no-dimensions"),
        pytest.param({"encoding_format": 1}, "encoding_format", id="format-number"),
        pytest.param({"stream": True}, "stream", id="stream"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        EMBEDDINGS.check(asked(**fields).body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        pytest.param("hello", 1, id="text"),
        pytest.param(["hello", "world"], 2, id="texts"),
        pytest.param([1, 2, 3], 1, id="tokens"),
        pytest.param([[1, 2], [3]], 2, id="token-arrays"),
        pytest.param([{"text": "x"}], 1, id="vendors-own"),
    ],
)
def test_inputs_need_not_share_a_context_window(given: Any, windows: int) -> None:
    body = asked(input=given, dimensions=256, encoding_format="base64", user="u").body
    EMBEDDINGS.check(body)
    assert EMBEDDINGS.traits(body) == Traits(frozenset({"Embeddings"}), 0, "u", windows)


def test_body_is_the_clients_own_but_for_the_model() -> None:
    raw = b'{ "input":[[1,2]],"model" : "m", "dimensions":256}'
    request = Request(orjson.loads(raw), "m", False, "r", 1, raw)
    rendered = CODEC.render(request, ModelTarget("upstream-name", None))
    assert rendered.path == b"/embeddings"
    assert rendered.body == raw.replace(b'"m"', b'"upstream-name"')


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(reply(FLOATS[:4]), id="small"),
        pytest.param(reply(FLOATS, 40), id="floats"),
        pytest.param(reply(BASE64, 40), id="base64"),
        pytest.param(
            reordered(reply(FLOATS, 40), "usage", "object", "model", "data"), id="usage-first"
        ),
        pytest.param(
            reply(FLOATS, 40, {**TOLD, "prompt_tokens_details": {"cached_tokens": 0}}),
            id="with-details",
        ),
    ],
)
@pytest.mark.parametrize("pretty", [False, True], ids=["dense", "indented"])
def test_reply_is_the_providers_own(document: dict[str, Any], pretty: bool) -> None:
    body = orjson.dumps(document, option=orjson.OPT_INDENT_2 if pretty else 0) + b"\n"
    read = CODEC.read(asked(), body)
    assert read.body is body
    assert read.usage == Usage(8, 0)


def test_large_reply_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def loads(data: bytes) -> Any:
        decoded.append(len(data))
        return orjson.loads(data)

    class Counting:
        JSONDecodeError = orjson.JSONDecodeError

    counting = Counting()
    counting.loads = loads  # type: ignore[attr-defined]
    monkeypatch.setattr(openai_embeddings, "orjson", counting)
    body = orjson.dumps(reply(FLOATS, 40))
    assert len(body) > 800_000
    assert CODEC.read(asked(), body).usage == Usage(8, 0)
    assert sum(decoded) < MARGIN_BYTES


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        pytest.param(reply(FLOATS, 4, None), None, id="no-usage"),
        pytest.param(
            {"model": "x" * MARGIN_BYTES, "object": "l", "usage": TOLD, "data": [FLOATS] * 4},
            Usage(8, 0),
            id="usage-elsewhere",
        ),
    ],
)
def test_reply_with_usage_in_no_margin_is_decoded(
    document: dict[str, Any], usage: Usage | None
) -> None:
    body = orjson.dumps(document)
    assert len(body) > DECODED_BYTES
    assert CODEC.read(asked(), body).usage == usage


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>", id="page"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'{"error":"x"}', id="no-data"),
        pytest.param(b"<html>" + bytes(DECODED_BYTES), id="large-page"),
        pytest.param(orjson.dumps(reply(FLOATS, 4))[:-300], id="large-cut"),
        pytest.param(
            orjson.dumps({"x": "y" * DECODED_BYTES, "usage": TOLD}), id="large-without-vectors"
        ),
    ],
)
def test_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(BadReply):
        CODEC.read(asked(), body)


def test_nothing_is_streamed() -> None:
    with pytest.raises(BadReply):
        CODEC.stream(asked())
