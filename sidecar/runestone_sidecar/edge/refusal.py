"""What a connection is told where no endpoint can speak: a whole response, and the end.

In the envelope of all other errors, so that a client needs no second way to read it.
"""

from typing import Final

import orjson

from runestone_sidecar.errors import BadRequest, GatewayError, Overloaded, RequestTimeout
from runestone_sidecar.upstream.surfaces.envelope import envelope

_PHRASES: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}
_REASONS: Final = {
    400: "malformed",
    408: "late",
    414: "too_large",
    431: "too_large",
    503: "full",
}


def render_refusal(error: GatewayError) -> bytes:
    body = orjson.dumps(envelope(error))
    retry = b"retry-after: %d\r\n" % error.retry_after_s if error.retry_after_s else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n%bconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b"
        % (error.status, _PHRASES[error.status], retry, len(body), body)
    )


def reason_of(error: GatewayError) -> str:
    """One of REFUSALS."""
    return _REASONS[error.status]


NOT_HTTP: Final = BadRequest("The request is not valid HTTP.")
LATE: Final = RequestTimeout("The request did not come in time.")
FULL: Final = Overloaded("The gateway has too many connections; send the request again.")
