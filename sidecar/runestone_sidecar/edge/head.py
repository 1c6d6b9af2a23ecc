"""What a request's head must be before anything acts on it; stricter than the parser.

Two programs that read a head differently are how requests are smuggled: what is not plain is
refused, not repaired.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.edge.bounds import Bounds
from runestone_sidecar.errors import BadRequest, GatewayError, HeadTooLarge, UrlTooLong

Headers = Sequence[tuple[bytes, bytes]]

METHODS: Final = frozenset(
    {b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"}
)
SLASH: Final = ord("/")
# A name or an IPv4 address, or an IPv6 address in brackets; and a port.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


@dataclass(frozen=True, slots=True)
class Head:
    method: bytes
    url: bytes
    version: str
    headers: Headers


class Refused(Exception):
    """Raised inside the parser's callbacks, which ends its reading."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(str(error))
        self.error = error


def is_valid_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def check_head(head: Head, bounds: Bounds) -> GatewayError | None:
    """What is wrong with a head; the protocol asks only where something may be."""
    return _check_size(head, bounds) or _check_line(head) or _check_fields(head)


def check_part(url: bytes, head_bytes: int, bounds: Bounds) -> GatewayError | None:
    """The same of a head that is not whole yet."""
    if len(url) > bounds.url_bytes:
        return UrlTooLong("The URL is too long.")
    if head_bytes > bounds.head_bytes:
        return HeadTooLarge("The headers are too large.")
    return None


def _check_size(head: Head, bounds: Bounds) -> GatewayError | None:
    if len(head.headers) > bounds.header_fields:
        return HeadTooLarge("There are too many headers.")
    size = sum(len(name) + len(value) + 4 for name, value in head.headers)
    return check_part(head.url, len(head.url) + size, bounds)


def _check_line(head: Head) -> GatewayError | None:
    if head.version not in {"1.1", "1.0"}:
        return BadRequest("Send HTTP/1.1.")
    if head.method not in METHODS:
        return BadRequest("There is no such method.")
    if not head.url.startswith(b"/") or b"#" in head.url:  # a proxy's form, CONNECT's, OPTIONS *
        return BadRequest("The request's target must be a path.")
    return None


def _check_fields(head: Head) -> GatewayError | None:
    hosts = [value for name, value in head.headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and head.version == "1.1"):
        return BadRequest("Send one Host header.")
    if not all(is_valid_host(host) for host in hosts):
        return BadRequest("The Host header is not valid.")
    codings = [value for name, value in head.headers if name == b"transfer-encoding"]
    if codings and (head.version != "1.1" or codings[0].lower() != b"chunked"):
        return BadRequest("The only transfer coding is chunked, and in HTTP/1.1.")
    return None
