"""An error that a provider reports inside a stream, told in the words of another API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import ModelTarget, ProviderError, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.codec import codec_for
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.envelope import envelope as openais
from runestone_sidecar.upstream.surfaces.messages import MESSAGES
from runestone_sidecar.upstream.surfaces.messages_envelope import envelope as anthropics
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.translated_refusal import error_within

if TYPE_CHECKING:
    from runestone_sidecar.errors import GatewayError
    from runestone_sidecar.upstream.surfaces.base import Surface

INVALID = "invalid_request_error"
TALK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
ITEMS = {"model": "m", "input": "Hello"}
PROMPT = {"model": "m", "prompt": "Once"}

WITHIN: dict[str, tuple[ProviderError, str, str | None, str]] = {
    "rate": (
        ProviderError("Slow down.", "rate_limit_error", "rate_limit_exceeded"),
        "rate_limit_error",
        "rate_limit_exceeded",
        "rate_limit_error",
    ),
    "rate-of-tokens": (
        ProviderError("Slow down.", "tokens", "rate_limit_exceeded"),
        "tokens",
        "rate_limit_exceeded",
        "rate_limit_error",
    ),
    "overloaded": (
        ProviderError("Overloaded.", "server_error", "overloaded"),
        "server_error",
        "overloaded",
        "overloaded_error",
    ),
    "overloaded-as-a-type": (
        ProviderError("Overloaded.", "overloaded_error"),
        "overloaded_error",
        "upstream_error",
        "overloaded_error",
    ),
    "request": (ProviderError("No.", INVALID), INVALID, None, INVALID),
    "too-long": (
        ProviderError("No.", INVALID, "context_length_exceeded"),
        INVALID,
        "context_length_exceeded",
        INVALID,
    ),
    "filtered": (
        ProviderError("No.", "server_error", "content_filter"),
        "server_error",
        "content_filter",
        INVALID,
    ),
    "timeout": (
        ProviderError("Late.", "server_error", "timeout"),
        "server_error",
        "timeout",
        "timeout_error",
    ),
    "server": (ProviderError("Oh.", "server_error"), "server_error", "upstream_error", "api_error"),
    "status-as-code": (ProviderError("No.", "x", "503"), "x", "503", "overloaded_error"),
    "code-of-its-own": (
        ProviderError("No.", "server_error", "x9"),
        "server_error",
        "x9",
        "api_error",
    ),
    "key": (
        ProviderError("Bad key.", "authentication_error", "invalid_api_key"),
        "api_error",
        "upstream_error",
        "api_error",
    ),
    "credit": (
        ProviderError("Dry.", "insufficient_quota", "insufficient_quota"),
        "api_error",
        "upstream_error",
        "api_error",
    ),
}


@pytest.mark.parametrize(("told", "kind", "code", "anthropics_kind"), WITHIN.values(), ids=WITHIN)
def test_an_error_within_a_stream_keeps_its_kind(
    told: ProviderError, kind: str, code: str | None, anthropics_kind: str
) -> None:
    error: GatewayError = error_within(told)
    said = openais(error)["error"]
    assert (said["type"], said["code"]) == (kind, code)
    assert anthropics(error)["error"]["type"] == anthropics_kind
    is_ours = kind == "api_error"
    assert (said["message"] == told.message) is not is_ours


ANTHROPIC_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":'
    b'{"input_tokens":3,"output_tokens":1}}}\n\n'
)
OPENAI_START = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},'
    b'"finish_reason":null}]}\n\n'
)


def openai_error(**fields: Any) -> bytes:
    return OPENAI_START + b"data: " + orjson.dumps({"error": fields}) + b"\n\n"


def anthropic_error(**fields: Any) -> bytes:
    told = orjson.dumps({"type": "error", "error": fields})
    return ANTHROPIC_START + b"event: error\ndata: " + told + b"\n\n"


LIMIT = {
    "message": "Bad 'max_completion_tokens'.",
    "type": INVALID,
    "param": "max_completion_tokens",
}
STREAMS: dict[str, tuple[Surface, OpenAI | Anthropic, dict[str, Any], bytes, dict[str, Any]]] = {
    "messages-openai-param": (
        MESSAGES,
        OpenAI(),
        TALK,
        openai_error(**LIMIT),
        {"type": INVALID, "message": "Bad 'max_tokens'."},
    ),
    "messages-openai-rate": (
        MESSAGES,
        OpenAI(),
        TALK,
        openai_error(message="Slow.", type="tokens", code="rate_limit_exceeded"),
        {"type": "rate_limit_error", "message": "Slow."},
    ),
    "responses-openai-param": (
        RESPONSES,
        OpenAI(),
        ITEMS,
        openai_error(**LIMIT),
        {
            "type": INVALID,
            "message": "Bad 'max_output_tokens'.",
            "param": "max_output_tokens",
            "code": None,
        },
    ),
    "responses-anthropic-overloaded": (
        RESPONSES,
        Anthropic(),
        ITEMS,
        anthropic_error(type="overloaded_error", message="Full."),
        {"type": "server_error", "message": "Full.", "param": None, "code": "overloaded"},
    ),
    "completions-openai-param": (
        COMPLETIONS,
        OpenAI(),
        PROMPT,
        openai_error(**LIMIT),
        {"type": INVALID, "message": "Bad 'max_tokens'.", "param": "max_tokens", "code": None},
    ),
    "completions-anthropic-rate": (
        COMPLETIONS,
        Anthropic(),
        PROMPT,
        anthropic_error(type="rate_limit_error", message="Slow."),
        {
            "type": "rate_limit_error",
            "message": "Slow.",
            "param": None,
            "code": "rate_limit_exceeded",
        },
    ),
    "completions-anthropic-key": (
        COMPLETIONS,
        Anthropic(),
        PROMPT,
        anthropic_error(type="authentication_error", message="invalid x-api-key"),
        {
            "type": "api_error",
            "message": "The provider failed within its answer.",
            "param": None,
            "code": "upstream_error",
        },
    ),
}


@pytest.mark.parametrize(
    ("surface", "dialect", "body", "sent", "error"), STREAMS.values(), ids=STREAMS
)
def test_a_translated_stream_says_what_went_wrong(
    surface: Surface,
    dialect: OpenAI | Anthropic,
    body: dict[str, Any],
    sent: bytes,
    error: dict[str, Any],
) -> None:
    request = Request(body | {"stream": True}, "m", True, "req_1", 1)
    codec = codec_for(surface, dialect, frozenset({"Chat"}))
    codec.render(request, ModelTarget("upstream-name", 4096))
    reader = codec.stream(request)
    said = b"".join(reader.feed(event + b"\n\n") for event in sent.split(b"\n\n")[:-1])
    assert reader.error is not None
    *_, last = said.removesuffix(b"\n\n").split(b"\n\n")
    assert orjson.loads(last.partition(b"data: ")[2])["error"] == error
