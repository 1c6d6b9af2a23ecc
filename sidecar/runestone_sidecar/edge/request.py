"""ASGI request -> Request: its headers, and its body checked as far as the gateway itself needs.

What only the provider can judge is left to the provider: same dialect means the same answer.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.base import Surface

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENT_GONE: Final = "client gone"  # the message of a cancellation for it; others mean a shutdown
REFUSED: Final = "runestone.refused"  # in a scope: the error that its connection ended with
CYCLE: Final = "runestone.cycle"  # in a scope: the server's end of this exchange, until it is over
PROBED_BY: Final = "runestone.probed_by"  # in a response's start: sends what is no content


_NAMED: Final = "runestone.headers"


@dataclass(slots=True)
class JsonBody:
    value: dict[str, Any]
    raw: bytes = b""  # as it came, where it did
    is_heavy: bool = False  # a walk over it would hold up the event loop


class ClientGone(Exception):
    """The client closed its connection before the request was whole."""


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """The first of each name; names are lower-cased by the server."""
    named: dict[bytes, bytes] | None = scope.get(_NAMED)
    if named is None:  # five are asked for in a request: one walk over all costs less
        named = scope[_NAMED] = dict(reversed(scope["headers"]))
    return named


def header(scope: Scope, wanted: bytes) -> bytes | None:
    return headers_of(scope).get(wanted)


def header_text(scope: Scope, name: str) -> str | None:
    """By its name in any case."""
    found = header(scope, name.lower().encode("latin-1"))
    return None if found is None else found.decode("latin-1")


def speaks_anthropic(scope: Scope) -> bool:
    """Some URLs are of OpenAI's APIs and of Anthropic's: those who speak these name the version."""
    return header(scope, b"anthropic-version") is not None


def parse(
    surface: Surface,
    body: JsonBody,
    request_id: str,
    now_s: float,
    headers: bytes = b"",
) -> Request:
    """Checks what routing reads. Raises BadRequest, which names the param."""
    given = body.value
    surface.check(given)
    return Request(
        given,
        given["model"],
        given.get("stream") is True,
        request_id,
        int(now_s),
        body.raw,
        headers,
        body.is_heavy,
    )


def forwarded_headers(scope: Scope, names: frozenset[bytes]) -> bytes:
    """Rendered lines of those headers that a provider of the same API gets."""
    return b"".join(
        [b"%b: %b\r\n" % pair for pair in scope["headers"] if pair[0] in names]
    )  # the parser let no control character into a value
