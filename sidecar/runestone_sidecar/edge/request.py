"""ASGI request -> Request: bounded, decoded once, checked as far as the gateway itself needs.

What only the provider can judge is left to the provider: same dialect means the same answer.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson

from runestone_sidecar.errors import BadRequest, BodyTooLarge, UnsupportedMedia
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.base import Surface

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SMALL_BODY_BYTES: Final = 1 << 20  # not worth a look at what it grows to
MAX_GROWTH: Final = 8  # decoded, in limits of the text
CLIENT_GONE: Final = "client gone"  # the message of a cancellation for it; others mean a shutdown
REFUSED: Final = "runestone.refused"  # in a scope: the error that its connection ended with
WRITE: Final = "runestone.write"  # in a scope: Cycle.write

_NAMED: Final = "runestone.headers"


class ClientGone(Exception):
    """The client closed its connection before the request was whole."""


def header(scope: Scope, wanted: bytes) -> bytes | None:
    """The first of that name; names are lower-cased by the server."""
    named: dict[bytes, bytes] | None = scope.get(_NAMED)
    if named is None:  # five are asked for in a request: one walk over all costs less
        named = scope[_NAMED] = dict(reversed(scope["headers"]))
    return named.get(wanted)


def header_text(scope: Scope) -> Callable[[str], str | None]:
    """Looks a request header up by its name in any case."""

    def value(name: str) -> str | None:
        found = header(scope, name.lower().encode("latin-1"))
        return None if found is None else found.decode("latin-1")

    return value


async def read_json(
    scope: Scope, receive: Receive, limit_bytes: int
) -> tuple[dict[str, Any], bytes]:
    """The object, decoded and as it came. Raises GatewayError or ClientGone."""
    _check_media(scope)
    data = await _read_body(scope, receive, limit_bytes)
    if not data:
        raise BadRequest("The request has no body; send a JSON object.")
    if len(data) > SMALL_BODY_BYTES:
        _check_growth(data, limit_bytes)
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON (at character {error.pos}).") from error
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body, data


def _check_media(scope: Scope) -> None:
    media = header(scope, b"content-type")
    if media != b"application/json":
        kind, _, parameters = (media or b"").lower().partition(b";")
        charset = parameters.replace(b" ", b"").replace(b'"', b"")
        if kind.strip() != b"application/json" or charset not in {b"", b"charset=utf-8"}:
            raise UnsupportedMedia("Send Content-Type: application/json (UTF-8).")
    if header(scope, b"content-encoding") not in {None, b"identity"}:
        raise UnsupportedMedia("Send the body without Content-Encoding.")


async def _read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    length = header(scope, b"content-length")
    if length is not None and int(length) > limit_bytes:  # digits only: the parser saw to it
        raise _too_large(limit_bytes)
    message = await receive()
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise scope.get(REFUSED) or ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)
        message = await receive()


def _check_growth(data: bytes, limit_bytes: int) -> None:
    """Ten million empty objects take 25 times the memory of their text.

    What strings hold is counted too: a text would have to be half commas to come near the limit.
    """
    grown_bytes = 232 * data.count(b"{") + 64 * data.count(b"[") + 40 * data.count(b",")
    if grown_bytes > MAX_GROWTH * limit_bytes:
        raise BadRequest("The body holds too many values.")


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit_bytes} bytes.")


def parse(
    surface: Surface,
    body: dict[str, Any],
    *,
    request_id: str,
    now_s: float,
    raw: bytes = b"",
    headers: bytes = b"",
) -> Request:
    """Checks what routing reads. Raises BadRequest, which names the param."""
    surface.check(body)
    return Request(
        body=body,
        model=body["model"],
        stream=body.get("stream") is True,
        request_id=request_id,
        created_s=int(now_s),
        raw=raw,
        headers=headers,
    )


def forwarded_headers(scope: Scope, names: frozenset[bytes]) -> bytes:
    """Rendered lines of those headers that a provider of the same API gets."""
    if not names:
        return b""
    return b"".join(
        [b"%b: %b\r\n" % pair for pair in scope["headers"] if pair[0] in names]
    )  # the parser let no control character into a value
