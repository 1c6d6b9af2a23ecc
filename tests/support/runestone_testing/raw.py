"""Requests as bytes, a line at a time, for tests that spoil one of the lines."""

from __future__ import annotations

import json

from runestone_testing import bundles
from runestone_testing.stand import planted

KEY = f"Authorization: Bearer {bundles.CLIENT_KEY}\r\n".encode()
BODY = json.dumps(planted()).encode()
SIZED = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)  # in chunks
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


def keyed(head: bytes, body: bytes = b"") -> bytes:
    """The head is without its blank line."""
    return head + KEY + b"\r\n" + body


def chat(*lines: bytes, body: bytes = b"", start: bytes = POST) -> bytes:
    """A chat request with these headers."""
    return keyed(start + b"".join(line + b"\r\n" for line in lines), body)
