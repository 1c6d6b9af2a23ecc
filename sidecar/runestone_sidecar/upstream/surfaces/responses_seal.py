"""How a Claude model's chain of thought travels through the Responses format.

A reasoning item has one opaque field, `encrypted_content`, that clients keep and send back. Into it
goes one of the chat's `thinking_blocks`: a mark of ours, then the block as JSON in base64. The text
stands in the item's summary too, but a signature holds for its very letters, and clients may have
shortened what they show. Nothing here is secret: the provider's signature is, and was when it came.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.openai_responses import SEAL

_MARK: Final = f"{SEAL}1."


def sealed(block: Mapping[str, Any]) -> str | None:
    """Of a thinking block; None for one without what makes it worth being sent back."""
    kept = _kept(block)
    return None if kept is None else _MARK + base64.b64encode(orjson.dumps(kept)).decode()


def unsealed(content: Any) -> Mapping[str, Any] | None:
    """The block; None for what another sealed. Raises Untranslatable for one that was changed."""
    if not isinstance(content, str) or not content.startswith(_MARK):
        return None
    try:
        block = orjson.loads(base64.b64decode(content[len(_MARK) :], validate=True))
    except (binascii.Error, ValueError):
        block = None
    kept = _kept(block) if isinstance(block, dict) else None
    if kept is None:
        raise Untranslatable("This is not as it was given out.", param="encrypted_content")
    return kept


def _kept(block: Mapping[str, Any]) -> dict[str, str] | None:
    match block:
        case {"type": "thinking", "thinking": str() as text, "signature": str() as signature} if (
            signature
        ):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case {"type": "redacted_thinking", "data": str() as data}:
            return {"type": "redacted_thinking", "data": data}
        case _:
            return None
