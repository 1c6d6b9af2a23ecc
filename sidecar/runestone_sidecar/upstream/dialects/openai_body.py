"""What passes through OpenAI's APIs unchanged: the client's bytes but for the model, and usage."""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable, Usage

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
    if raw.count(b'"model"') != 1 or b"\\u00" in raw:
        return None
    found = _model(raw, raw.index(b'"model"'))
    if found is None:
        return None
    start, end = found.span(1)
    return b"%b%b%b" % (raw[:start], orjson.dumps(upstream), raw[end:])


def read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_input_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and value > 0 else 0
