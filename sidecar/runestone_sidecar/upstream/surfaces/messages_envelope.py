"""The errors of Anthropic's APIs: the envelope, and the event inside a stream."""

from typing import Any, Final

import orjson

from runestone_sidecar.errors import GatewayError, ProviderRefused

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def envelope(error: GatewayError) -> dict[str, Any]:
    status = error.provider_status if isinstance(error, ProviderRefused) else error.status
    default = "invalid_request_error" if status < 500 else "api_error"
    detail: dict[str, Any] = {"type": _TYPES.get(status, default), "message": _message(error)}
    if error.details is not None:
        detail["details"] = error.details
    return {"type": "error", "error": detail}


def error_event(error: GatewayError) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(envelope(error)) + b"\n\n"


def _message(error: GatewayError) -> str:
    """This envelope has no place for the param but the text; a provider's own text names it."""
    param = None if isinstance(error, ProviderRefused) else error.param
    if param is None or param in error.message:
        return error.message
    return f"{param}: {error.message}"
