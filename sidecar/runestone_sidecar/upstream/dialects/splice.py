"""A request that passes unchanged: the client's own bytes but for the name of the model."""

import re
from typing import Final

import orjson

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable

_model: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("[^"\\]*")').match


def body_with_model(request: Request, target: ModelTarget) -> bytes:
    """The client's body with the provider's name of the model. Raises Untranslatable."""
    if (spliced := splice_model(request.raw, target.upstream)) is not None:
        return spliced
    try:
        return orjson.dumps({**request.body, "model": target.upstream})
    except orjson.JSONEncodeError:
        # What was decoded can be encoded, unless it is nested deeper than the encoder goes.
        raise Untranslatable("The request is nested too deeply.") from None


def splice_model(raw: bytes, upstream: str) -> bytes | None:
    """The client's own bytes with another model in them: numbers, spaces and order as they were.

    None where the model's key may stand there twice, or be spelled in a way that only a parser
    sees: then the decoded object is what was authorized, and it alone may go out.
    """
    if raw.count(b'"model"') != 1 or (b"\\" in raw and b"\\u00" in raw):  # one byte is found sooner
        return None
    found = _model(raw, raw.index(b'"model"'))
    if found is None:
        return None
    start, end = found.span(1)
    return b"%b%b%b" % (raw[:start], orjson.dumps(upstream), raw[end:])
