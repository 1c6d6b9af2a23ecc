"""Errors of providers: every known shape, and any bytes at all."""

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import Dialect, ProviderError
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.dialects.provider_error import MAX_MESSAGE_CHARS, details_in

DIALECTS: list[Dialect] = [OpenAI(), Anthropic()]


def anthropic(type_: str, message: str, **more: Any) -> bytes:
    error = {"type": type_, "message": message, **more}
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_1"})


INVALID = "invalid_request_error"
# id -> (status, body, the error)
ERRORS: dict[str, tuple[int, bytes, ProviderError]] = {
    "OpenAI": (
        400,
        b'{"error": {"code": "empty_array", "message": "Invalid \'messages\'.",'
        b' "param": "messages", "type": "invalid_request_error"}}',
        ProviderError("Invalid 'messages'.", INVALID, "empty_array", "messages"),
    ),
    "OpenAI nulls": (
        404,
        b'{"error": {"message": "No such model", "type": null, "param": null, "code": null}}',
        ProviderError("No such model", INVALID),
    ),
    "number as code": (
        400,
        b'{"error": {"message": "m", "type": "BadRequestError", "param": null, "code": 400}}',
        ProviderError("m", "BadRequestError", "400"),
    ),
    "error as text": (500, b'{"error": "boom"}', ProviderError("boom", "server_error")),
    "flat": (
        400,
        b'{"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}',
        ProviderError("too long", "BadRequestError", "400"),
    ),
    "detail": (422, b'{"detail": "wrong"}', ProviderError("wrong", INVALID)),
    "Anthropic": (
        400,
        anthropic(INVALID, "messages: at least one message is required"),
        ProviderError("messages: at least one message is required", INVALID, None, "messages"),
    ),
    "Anthropic deep path": (
        400,
        anthropic(INVALID, "tools.0.custom.input_schema: schema is invalid"),
        ProviderError("tools.0.custom.input_schema: schema is invalid", INVALID, None, "tools"),
    ),
    "Anthropic renamed path": (
        400,
        anthropic(INVALID, "stop_sequences.0: too long"),
        ProviderError("stop_sequences.0: too long", INVALID, None, "stop"),
    ),
    "Anthropic model": (
        404,
        anthropic("not_found_error", "model: claude-0"),
        ProviderError("model: claude-0", INVALID, "model_not_found", "model"),
    ),
    "Anthropic too long": (
        400,
        anthropic(INVALID, "prompt is too long: 250000 tokens > 200000 maximum"),
        ProviderError(
            "prompt is too long: 250000 tokens > 200000 maximum", INVALID, "context_length_exceeded"
        ),
    ),
    "Anthropic overloaded": (
        529,
        anthropic("overloaded_error", "Overloaded"),
        ProviderError("Overloaded", "server_error", "overloaded"),
    ),
    "Anthropic rate": (
        429,
        anthropic("rate_limit_error", "Slow down"),
        ProviderError("Slow down", "rate_limit_error", "rate_limit_exceeded"),
    ),
    "Anthropic unknown type": (
        418,
        anthropic("teapot_error", "short"),
        ProviderError("short", INVALID, "teapot_error"),
    ),
    "a page": (
        502,
        b"<html><h1>Bad gateway at 10.0.0.7</h1></html>",
        ProviderError("The provider answered 502 without saying why.", "server_error"),
    ),
    "nothing": (
        404,
        b"",
        ProviderError("The provider answered 404 without saying why.", INVALID),
    ),
    "not UTF-8": (
        401,
        b'{"error": {"message": "\xff\xfe"}}',
        ProviderError("The provider answered 401 without saying why.", "authentication_error"),
    ),
    "huge": (
        400,
        b'{"error": {"message": "' + b"x" * 2_000_000 + b'"}}',
        ProviderError("The provider answered 400 without saying why.", INVALID),
    ),
    "control characters": (
        400,
        orjson.dumps({"error": {"message": "a\r\nb\x00\x1b[31m\u202ec\ttwo  three\x7f"}}),
        ProviderError("a b[31mc two three", INVALID),
    ),
}  # fmt: skip


def details_of(details: Any) -> Any:
    return details_in(anthropic(INVALID, "m", details=details))


@pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic"])
@pytest.mark.parametrize(("status", "body", "error"), ERRORS.values(), ids=ERRORS)
def test_fault_c21_an_error_is_read(
    dialect: Dialect, status: int, body: bytes, error: ProviderError
) -> None:
    assert dialect.read_error(status, body) == error


SECRETS = {
    "openai": (
        "Incorrect API key provided: {}. Find it at https://example.com",
        "sk-proj-abc_DEF-123456",
    ),
    "masked by the provider": (
        "Incorrect API key provided: {}.",
        "sk-proj-********************wxyz",
    ),
    "anthropic": ("invalid x-api-key {}", "sk-ant-api03-abcdefghijkl"),
    "bearer": ("got Authorization: Bearer {}", "abcdefgh12345678"),
    "header": ("x-api-key: {}", "abcdefgh12345678"),
    "query": ("GET /v1?api_key={}&x=1 failed", "abcdefgh12345678"),
    "google": ("API key not valid: {}", "AIzaSyA1234567890abcdefghij"),
    "groq": ("key {} is disabled", "gsk_abcdefghijklmnop"),
    "jwt": ("token {} expired", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_123"),
    "across a control character": ("key {} bad", "sk-proj\x00-abcdef123456"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS)
def test_credentials_are_masked(text: str, secret: str) -> None:
    text = text.format(secret)
    error = OpenAI().read_error(
        401, orjson.dumps({"error": dict.fromkeys(("message", "type", "code", "param"), text)})
    )
    plain = secret.replace("\x00", "")
    tail = plain[-6:]
    for shown in (error.message, error.type, error.code, error.param):
        assert shown is not None
        assert plain not in shown
        assert tail not in shown


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS)
def test_credentials_are_masked_in_details(text: str, secret: str) -> None:
    text = text.format(secret)
    told = details_of({"error_code": "x", "inner": [{text: text}], "api_key": secret, "n": 7})
    assert told is not None
    assert (told["error_code"], told["api_key"], told["n"]) == ("x", "***", 7)
    assert secret.replace("\x00", "")[-6:] not in repr(told)


@pytest.mark.parametrize(
    ("details", "told"),
    [
        pytest.param("text", None, id="no-object"),
        pytest.param({"a": "x" * 5000}, None, id="too-long"),
        pytest.param({"a": "x" * 3000}, {"a": "x" * MAX_MESSAGE_CHARS}, id="a-long-text"),
        pytest.param({"a\n": "b\x1b[31m\r\nc"}, {"a": "b[31m c"}, id="control-characters"),
        pytest.param({"a": None, "b": [1.5, True]}, {"a": None, "b": [1.5, True]}, id="values"),
    ],
)
def test_details_are_plain_and_bounded(details: Any, told: Any) -> None:
    assert details_of(details) == told


@pytest.mark.parametrize("depth", [7, 8, 200, 300, 900])
def test_details_are_told_down_to_some_depth(depth: int) -> None:
    body = b'{"type":"error","error":{"message":"m","details":{"a":' + b"[" * depth + b"]" * depth
    told = repr(details_in(body + b"}}}"))
    assert ("None" in told) is (depth > 7)
    assert told.count("[") <= 7


def test_words_are_not_taken_for_credentials() -> None:
    text = "The task-oriented risk-model sk-learn has a basic plan; bearer of news, api keys fine"
    assert OpenAI().read_error(400, orjson.dumps({"error": {"message": text}})).message == text


FIELDS = st.sampled_from(["error", "message", "type", "code", "param", "detail", "details"])
DOCUMENTS = st.recursive(
    st.none() | st.text(alphabet=st.characters(codec="utf-8")) | st.integers(-9, 9) | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
    max_leaves=8,
)


@given(st.integers(100, 999), st.binary(max_size=300) | DOCUMENTS.map(orjson.dumps))
@example(400, b"[" * 100_000)
@example(400, orjson.dumps({"error": {"message": "x" * 100_000}}))
def test_any_bytes_give_an_error_fit_to_show(status: int, body: bytes) -> None:
    for dialect in DIALECTS:
        details_in(body)
        error = dialect.read_error(status, body)
        assert error.message
        assert error.type
        assert len(error.message) <= MAX_MESSAGE_CHARS
        for text in (error.message, error.type, error.code, error.param):
            assert text is None or not any(char < " " or "\x7f" <= char < "\xa0" for char in text)
