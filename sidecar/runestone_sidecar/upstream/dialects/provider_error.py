"""Reduces whatever a provider answers instead of a reply to an error that may be shown.

Total over any bytes, bounded, and free of credentials: providers quote the key that they refuse.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import ProviderError

MAX_MESSAGE_CHARS: Final = 2_000
INVALID_REQUEST: Final = "invalid_request_error"
_MAX_FIELD_CHARS: Final = 100
_MAX_BODY_BYTES: Final = 1024 * 1024  # an error is a few hundred bytes; the rest is not one
_MAX_DETAILS_BYTES: Final = 4096  # a code and a few names; what is larger is not told
_MAX_DETAILS_DEPTH: Final = 8

# `code` of a refusal for what was asked or said, with whatever status and type it comes
CONTENT_CODES: Final = frozenset({"content_filter", "content_policy_violation"})
TOO_LARGE_CODE: Final = "request_too_large"
_TOO_LARGE: Final = "Request too large for "  # OpenAI's, of a 429 that no waiting mends

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_SECRETS: Final = (
    (re.compile(r"\b(sk|pk|rk|gsk|xai|hf|pplx|nvapi)[-_][\w\-*.]{6,}"), r"\1-***"),
    (re.compile(r"\b(AIza|AKIA|eyJ)[\w\-*.]{10,}"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w\-*.~+/=]{6,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b(x-api-key|api[-_ ]?key|authorization)(['\"]?\s*[:=]\s*['\"]?)[^\s'\",;]+"
        ),
        r"\1\2***",
    ),
)

_names_secret: Final = re.compile(r"(?i)api[-_ ]?key|authorization").search

# Anthropic's `error.type` -> OpenAI's `type` and `code`
_ANTHROPIC_TYPES: Final[dict[str, tuple[str, str | None]]] = {
    "invalid_request_error": ("invalid_request_error", None),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "not_found_error": ("invalid_request_error", "not_found"),
    "conflict_error": ("invalid_request_error", "conflict"),
    "authentication_error": ("authentication_error", "invalid_api_key"),
    "permission_error": ("permission_error", "permission_denied"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded_error": ("server_error", "overloaded"),
    "timeout_error": ("server_error", "timeout"),
    "api_error": ("server_error", None),
}
# The first step of Anthropic's path of a wrong field -> the field that it was translated from
ANTHROPIC_PATHS: Final = {
    "model": "model",
    "max_tokens": "max_tokens",
    "messages": "messages",
    "system": "messages",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "stop_sequences": "stop",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "metadata": "user",
    "thinking": "reasoning_effort",
    "output_config": "response_format",
    "service_tier": "service_tier",
}
leading_path: Final = re.compile(r"([a-z_]+)(?:\.[\w.\-]+)?(?=: )").match


def read_error(status: int, body: bytes) -> ProviderError:
    return error_of(_document(body), status=status)


def details_in(body: bytes) -> dict[str, Any] | None:
    """What Anthropic's errors tell a client's code beside their text, as fit to show as that."""
    document = _document(body)
    if not isinstance(document, dict) or document.get("type") != "error":
        return None
    error = document.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    if not isinstance(details, dict):
        return None
    try:
        size = len(orjson.dumps(details))
    except orjson.JSONEncodeError:  # nested too deeply
        return None
    return _fit(details, 1) if size <= _MAX_DETAILS_BYTES else None


def error_of(document: Any, *, status: int) -> ProviderError:
    """From a decoded error: OpenAI's, Anthropic's, or one of the shapes that imitators send."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return _flat_error(document, error, status)
    message = fit_to_show(error.get("message")) or _default_message(status)
    if document.get("type") == "error":
        return _anthropic_error(message, error.get("type"), status)
    code = "content_filter" if _is_flagged(error) else _short(error.get("code"))
    if status == 429 and code == "rate_limit_exceeded" and message.startswith(_TOO_LARGE):
        code = TOO_LARGE_CODE
    kind = INVALID_REQUEST if code in CONTENT_CODES else None  # Azure says none
    return ProviderError(
        message=message,
        type=_short(error.get("type")) or kind or _default_type(status),
        code=code,
        param=_short(error.get("param")),
    )


def judges_request(error: ProviderError) -> bool:
    """Another provider is not to be asked the same."""
    return error.type == INVALID_REQUEST or error.code in CONTENT_CODES


def fit_to_show(text: Any) -> str:
    """One bounded line without control characters and without anything like a credential."""
    if not isinstance(text, str):
        return ""
    line = " ".join(_UNPRINTABLE.sub("", text[: 2 * MAX_MESSAGE_CHARS]).split())
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line[:MAX_MESSAGE_CHARS]


def _document(body: bytes) -> Any:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _fit(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return fit_to_show(value)
    if not isinstance(value, dict | list):
        return value
    if depth > _MAX_DETAILS_DEPTH:
        return None
    if isinstance(value, list):
        return [_fit(each, depth + 1) for each in value]
    return {
        fit_to_show(name): "***" if _names_secret(name) else _fit(each, depth + 1)
        for name, each in value.items()
    }


def _is_flagged(error: Mapping[str, Any]) -> bool:
    """OpenRouter says so beside a 403, which is otherwise about a key."""
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _flat_error(document: Any, error: Any, status: int) -> ProviderError:
    """`{"error": "text"}`, `{"message": "text", …}` (vLLM), `{"detail": "text"}` (FastAPI)."""
    fields = document if isinstance(document, dict) else {}
    message = (
        fit_to_show(error)
        or fit_to_show(fields.get("message"))
        or fit_to_show(fields.get("detail"))
    )
    kind = fields.get("type")
    return ProviderError(
        message=message or _default_message(status),
        type=_short(kind if kind != "error" else None) or _default_type(status),
        code=_short(fields.get("code")),
        param=_short(fields.get("param")),
    )


def _anthropic_error(message: str, kind: Any, status: int) -> ProviderError:
    known = _ANTHROPIC_TYPES.get(kind) if isinstance(kind, str) else None
    type_, code = known or (_default_type(status), _short(kind))
    param = None
    if type_ == INVALID_REQUEST:
        if path := leading_path(message):
            param = ANTHROPIC_PATHS.get(path[1])
        if message.startswith("prompt is too long"):
            code = "context_length_exceeded"  # what OpenAI's clients look for to cut the prompt
        elif "content filtering policy" in message:
            code = "content_filter"
        elif kind == "not_found_error" and param == "model":
            code = "model_not_found"
    return ProviderError(message=message, type=type_, code=code, param=param)


def _short(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return fit_to_show(value)[:_MAX_FIELD_CHARS] or None


def _default_message(status: int) -> str:
    return f"The provider answered {status} without saying why."


def _default_type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 429:
            return "rate_limit_error"
        case _:
            return "invalid_request_error" if 400 <= status < 500 else "server_error"
