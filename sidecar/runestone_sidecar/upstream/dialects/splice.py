"""A request that passes unchanged: the client's own bytes but for the name of the model, and for
the usage of a stream that we ask for ourselves.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable

_MODEL: Final = b'"model"'
_model: Final = re.compile(_MODEL + rb'[ \t\r\n]*:[ \t\r\n]*("[^"\\]*")').match
_OPTIONS: Final = b'"stream_options"'
# Possessive: to be able to go back, a character more would cost a hundred bytes of memory each.
_options: Final = re.compile(
    _OPTIONS + rb'[ \t\r\n]*+:[ \t\r\n]*+(null|\{(?:[^{}"]++|"[^"\\]*+")*+\})'
).match
# A letter of the name, or of `stream_options`, written by its number.
_SPELT_MODEL: Final = b"\\u006"
_SPELT_OPTIONS: Final = (_SPELT_MODEL, b"\\u005", b"\\u007")
_ASKING: Final = {"include_usage": True}


def body_with_model(request: Request, target: ModelTarget, *, asking: bool = False) -> bytes:
    """The client's body with the provider's name of the model. Raises Untranslatable.

    `asking`: its `stream_options` ask for usage as well.
    """
    spliced = splice_model(request.raw, request.body["model"], target.upstream)
    if spliced is not None and asking:
        spliced = splice_asking(spliced, request.body)
    if spliced is not None:
        return spliced
    fields = {**request.body, "model": target.upstream}
    if asking:
        fields["stream_options"] = (request.body.get("stream_options") or {}) | _ASKING
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:
        # What was decoded can be encoded, unless it is nested deeper than the encoder goes.
        raise Untranslatable("The request is nested too deeply.") from None


def splice_model(raw: bytes, model: str, upstream: str) -> bytes | None:
    """The client's own bytes with another model in them: numbers, spaces and order as they were.

    None where the model's key may stand there twice, or be spelled in a way that only a parser
    sees: then the decoded object is what was authorized, and it alone may go out.
    """
    at = raw.find(_MODEL)
    if at < 0 or at != raw.rfind(_MODEL) or (b"\\" in raw and _SPELT_MODEL in raw):
        return None  # (one byte is found sooner than five)
    if model == upstream:
        return raw
    found = _model(raw, at)
    if found is None:
        return None
    name = orjson.dumps(upstream)
    start, end = found.span(1)
    view = memoryview(raw)  # slices of its own would be copies, of tens of megabytes
    return b"".join((view[:start], name, view[end:]))


def splice_asking(raw: bytes, body: Mapping[str, Any]) -> bytes | None:
    """These bytes of a chat that asks for the usage of its stream.

    None where its own options may stand there twice, hidden or not, or are more than a few plain
    values.
    """
    if b"\\" in raw and any(spelt in raw for spelt in _SPELT_OPTIONS):
        return None
    if "stream_options" not in body:
        # Last, for providers that take the last of two names which differ in their case.
        return b'%b,"stream_options":{"include_usage":true}}' % raw[: raw.rindex(b"}")]
    found = _options(raw, raw.index(_OPTIONS)) if raw.count(_OPTIONS) == 1 else None
    if found is None:
        return None
    start, end = found.span(1)
    options = (body["stream_options"] or {}) | _ASKING
    return b"%b%b%b" % (raw[:start], orjson.dumps(options), raw[end:])
