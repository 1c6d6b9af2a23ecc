"""What the stand-ins for vendors share: refusing, checking media and schemas, cutting in pieces."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from runestone_testing.model_mind import DanglingError, think

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runestone_testing.model_mind import Ask, Thought

Json: TypeAlias = dict[str, Any]

# The first bytes of what these media types name.
_MAGIC = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "application/pdf": b"%PDF-",
}


@dataclass
class Refusal(Exception):
    """A 4xx, as the vendor words it."""

    message: str
    param: str | None = None
    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None


def demand(holds: object, message: str, param: str | None = None) -> None:
    if not holds:
        raise Refusal(message, param)


def thought_of(ask: Ask) -> Thought:
    try:
        return think(ask)
    except DanglingError as error:
        raise Refusal(f"A schema is invalid: {error} leads nowhere.") from None


def demand_media(media_type: str, data: str, param: str) -> None:
    """Base64 of what it says that it is."""
    try:
        decoded = base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Refusal("The data is not valid base64.", param) from None
    magic = _MAGIC.get(media_type)
    demand(magic is not None, f"The media type {media_type} is not supported.", param)
    demand(decoded.startswith(magic or b""), f"The data is no {media_type}.", param)


def demand_data_url(url: str, param: str) -> None:
    found = re.fullmatch(r"data:([\w/+.-]+);base64,(.*)", url, re.DOTALL)
    if found is None:
        raise Refusal("Expected a base64-encoded data URL.", param)
    demand_media(found[1], found[2], param)


def demand_closed(schema: Any, param: str, *, all_required: bool, refused: Iterable[str]) -> None:
    """Structured outputs take objects without free keys, and not every keyword."""
    for each in _schemas(schema):
        if each.get("type") == "object" or "properties" in each:
            closed = each.get("additionalProperties") is False
            demand(closed, "'additionalProperties' is required to be false.", param)
            if all_required:
                named = set(each.get("required", [])) == set(each.get("properties", {}))
                demand(named, "'required' is required to hold every key in properties.", param)
        found = sorted(set(each) & set(refused))
        demand(not found, f"The keywords {found} are not supported.", param)


def _schemas(schema: Any) -> Iterator[Json]:
    if not isinstance(schema, dict):
        return
    yield schema
    for name in ("properties", "$defs", "definitions"):
        for each in (schema.get(name) or {}).values():
            yield from _schemas(each)
    for name in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(name) or ():
            yield from _schemas(each)
    yield from _schemas(schema.get("items"))


def slices(text: str, size: int = 7) -> Iterator[str]:
    """How arguments come in a stream: without regard for words."""
    for at in range(0, len(text), size):
        yield text[at : at + size]


def fingerprint_of(body: Json) -> str:
    """For ids: the same request has the same."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
