"""The errors of OpenAI's APIs: the envelope, and the frame inside an event stream."""

from typing import Any

import orjson

from runestone_sidecar.errors import GatewayError, ProviderRefused


def envelope(error: GatewayError) -> dict[str, Any]:
    kind = error.provider_type if isinstance(error, ProviderRefused) else error.type
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_frame(error: GatewayError) -> bytes:
    return b"data: " + orjson.dumps(envelope(error)) + b"\n\n"
