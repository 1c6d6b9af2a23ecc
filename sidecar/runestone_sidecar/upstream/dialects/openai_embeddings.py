"""OpenAI's embeddings, natively: the vectors pass unread.

A batch is megabytes of numbers: usage is cut out of the reply's first or last kilobyte, where
every known server puts it, and only a reply without it there is decoded.
"""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    ModelTarget,
    Rendered,
    Reply,
    Request,
    StreamReader,
    Usage,
)
from runestone_sidecar.upstream.dialects.openai_body import read_usage
from runestone_sidecar.upstream.dialects.splice import body_with_model

DECODED_BYTES: Final = 16 * 1024  # a reply up to this is decoded whole: one short vector
MARGIN_BYTES: Final = 1024  # of a larger one, what is looked at on either side of the vectors

_PATH: Final = b"/embeddings"
# No string of such a reply holds braces or quotes: they are the server's own words and base64.
_usage: Final = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})').search
_vectors: Final = re.compile(rb'"data"\s*:\s*\[\s*\{').search


class Embeddings:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        return Rendered(path=_PATH, body=body_with_model(request, target))

    def read(self, request: Request, body: bytes) -> Reply:
        if len(body) > DECODED_BYTES and (usage := _usage_beside(body)) is not None:
            return Reply(body=body, usage=usage)
        return Reply(body=body, usage=_decoded_usage(body))

    def stream(self, request: Request) -> StreamReader:
        raise BadReply("embeddings are not streamed")  # nor asked for so: the surface refuses it


def _usage_beside(body: bytes) -> Usage | None:
    """None where it has to be looked for: the reply then gets no benefit of the doubt."""
    start, end = body[:MARGIN_BYTES], body[-MARGIN_BYTES:].rstrip()
    if not start.lstrip().startswith(b"{") or not end.endswith(b"}") or not _vectors(start):
        return None
    found = _usage(end) or _usage(start)
    if found is None:
        return None
    try:
        return read_usage(orjson.loads(found[1]))
    except orjson.JSONDecodeError:
        return None


def _decoded_usage(body: bytes) -> Usage | None:
    try:
        reply: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadReply("the reply is not JSON") from None
    if not isinstance(reply, dict) or not isinstance(reply.get("data"), list):
        raise BadReply("the reply has no data")
    return read_usage(reply.get("usage"))
