"""JSON of a provider's whose whole numbers may be of any length: orjson makes a rounded float of
one beyond 64 bits, and cannot write one.
"""

import json
import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import BadReply

# The least digits of such a number. That they begin with a single class makes it twice as fast.
_many_digits: Final = re.compile(rb"[0-9][0-9]{18}").search


def exactly_decoded(data: bytes) -> Any:
    """Raises orjson.JSONDecodeError."""
    value = orjson.loads(data)
    if not _many_digits(data):
        return value
    try:
        return json.loads(data)
    except RecursionError:  # orjson goes as deep, but nobody can write it again
        return value


def encoded(value: Any) -> bytes:
    """Raises BadReply."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except RecursionError:
        raise BadReply("the reply is nested too deeply") from None
