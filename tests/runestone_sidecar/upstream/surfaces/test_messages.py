"""Anthropic's surfaces: what is checked here, what routing learns, and how errors are told."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.errors import (
    BadRequest,
    BodyTooLarge,
    Draining,
    GatewayError,
    Internal,
    MethodNotAllowed,
    ModelNotFound,
    NoProvider,
    NotFound,
    ProviderRefused,
    RateLimited,
    Unauthorized,
    UnsupportedMedia,
    UpstreamFailed,
    UpstreamTimeout,
)
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.codec import can_serve, codec_for
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS
from runestone_sidecar.upstream.surfaces.messages import MESSAGES

SURFACES = [MESSAGES, COUNT_TOKENS]
BOTH = pytest.mark.parametrize("surface", SURFACES, ids=[surface.name for surface in SURFACES])
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
BODY: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": HELLO}
NOTHING: frozenset[str] = frozenset()

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "model"),
    "no messages": ({"messages": None}, "messages"),
    "no message": ({"messages": []}, "messages"),
    "messages a text": ({"messages": "Hello"}, "messages"),
    "a message a text": ({"messages": ["Hello"]}, "messages[0]"),
    "no role": ({"messages": [*HELLO, {"content": "x"}]}, "messages[1]"),
    "tools an object": ({"tools": {}}, "tools"),
    "metadata a text": ({"metadata": "x"}, "metadata"),
}


@BOTH
@pytest.mark.parametrize(("fields", "param"), BAD.values(), ids=BAD)
def test_what_the_gateway_reads_is_checked(
    surface: Surface, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        surface.check(BODY | fields)
    assert caught.value.param == param


@pytest.mark.parametrize("limit", [None, "9", 1.5, True, -1, 1 << 31])
def test_messages_need_a_limit(limit: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        MESSAGES.check(BODY | {"max_tokens": limit})
    assert caught.value.param == "max_tokens"


def test_a_count_needs_no_limit_and_no_stream() -> None:
    COUNT_TOKENS.check({"model": "m", "messages": HELLO})
    with pytest.raises(BadRequest) as caught:
        COUNT_TOKENS.check(BODY | {"stream": True})
    assert caught.value.param == "stream"
    with pytest.raises(BadRequest) as caught:
        MESSAGES.check(BODY | {"stream": "yes"})
    assert caught.value.param == "stream"


@BOTH
def test_what_is_the_providers_to_judge_passes(surface: Surface) -> None:
    surface.check(BODY | {"new": 1, "system": 5, "messages": [{"role": "new"}], "max_tokens": 0})


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": ["x", IMAGE]}
NEEDS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({"stream": False, "tools": [], "output_config": {"effort": "low"}}, set()),
    "a stream": ({"stream": True}, {"Streaming"}),
    "tools": ({"tools": [{"name": "f"}]}, {"Tools"}),
    "an image": ({"messages": [{"role": "user", "content": ["x", IMAGE]}]}, {"Vision"}),
    "an image in a result": ({"messages": [{"role": "user", "content": [RESULT]}]}, {"Vision"}),
    "a format": ({"output_config": {"format": {"type": "json_schema"}}}, {"JSONSchema"}),
    "a format of odd type": ({"output_config": 5}, set()),
    "a type that is a list": ({"messages": [{"role": "user", "content": [{"type": []}]}]}, set()),
}


@pytest.mark.parametrize(("fields", "needs"), NEEDS.values(), ids=NEEDS)
def test_what_a_model_must_be_able_to_do(fields: dict[str, Any], needs: set[str]) -> None:
    assert MESSAGES.traits(BODY | fields).needs == needs | {"Chat"}


def test_what_limits_and_sticky_splits_need_to_know() -> None:
    traits = MESSAGES.traits(BODY | {"metadata": {"user_id": "u"}})
    assert (traits.max_output_tokens, traits.user) == (9, "u")
    assert MESSAGES.traits(BODY | {"metadata": {"user_id": 5}}).user is None
    assert MESSAGES.traits(BODY).user is None
    assert COUNT_TOKENS.traits({"model": "m", "messages": HELLO}).max_output_tokens == 0


def test_who_can_be_asked() -> None:
    anthropic, openai = Anthropic(), OpenAI()
    for surface in SURFACES:
        assert surface.forwarded == {b"anthropic-beta", b"anthropic-version"}
        assert codec_for(surface, anthropic, NOTHING) is anthropic.native[surface.name]
        assert can_serve(surface, anthropic, NOTHING)
    assert can_serve(MESSAGES, openai, NOTHING)
    assert not can_serve(COUNT_TOKENS, openai, NOTHING)


ERRORS: dict[str, tuple[GatewayError, str, str]] = {
    "bad request": (
        BadRequest("No.", param="max_tokens"),
        "invalid_request_error",
        "max_tokens: No.",
    ),
    "param in the text": (
        BadRequest("'top_p' is.", param="top_p"),
        "invalid_request_error",
        "'top_p' is.",
    ),
    "unauthorized": (Unauthorized("No."), "authentication_error", "No."),
    "model": (ModelNotFound("The model 'x' is not."), "not_found_error", "The model 'x' is not."),
    "URL": (NotFound("No."), "not_found_error", "No."),
    "method": (MethodNotAllowed("No."), "invalid_request_error", "No."),
    "too large": (BodyTooLarge("No."), "request_too_large", "No."),
    "media": (UnsupportedMedia("No."), "invalid_request_error", "No."),
    "rate": (RateLimited("No."), "rate_limit_error", "No."),
    "internal": (Internal("No."), "api_error", "No."),
    "upstream": (UpstreamFailed("No."), "api_error", "No."),
    "no provider": (NoProvider("No."), "overloaded_error", "No."),
    "draining": (Draining("No."), "overloaded_error", "No."),
    "timeout": (UpstreamTimeout("No."), "timeout_error", "No."),
    "provider's 400": (ProviderRefused("No."), "invalid_request_error", "No."),
    "provider's param": (
        ProviderRefused("thinking: No.", param="reasoning_effort"),
        "invalid_request_error",
        "thinking: No.",
    ),
    "provider's 404": (ProviderRefused("No.", provider_status=404), "not_found_error", "No."),
    "provider's 413": (ProviderRefused("No.", provider_status=413), "request_too_large", "No."),
    "provider's 422": (ProviderRefused("No.", provider_status=422), "invalid_request_error", "No."),
}


@BOTH
@pytest.mark.parametrize(("error", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_told_in_anthropics_words(
    surface: Surface, error: GatewayError, kind: str, message: str
) -> None:
    envelope = {"type": "error", "error": {"type": kind, "message": message}}
    assert surface.error_body(error) == envelope
    frame = surface.error_frame(error, 3)
    assert frame == b"event: error\ndata: " + orjson.dumps(envelope) + b"\n\n"
