"""JSON of a provider's that is taken as it comes: a half of a surrogate pair, which orjson refuses,
is U+FFFD; a whole number beyond 64 bits, of which it makes a rounded float, stays what it is.
"""

import json
import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import BadReply

# The least digits of such a number. That they begin with a single class makes it twice as fast.
_many_digits: Final = re.compile(rb"[0-9][0-9]{18}").search
# Every escape, so that a backslash which is one itself begins none; a half stands in the group.
_escapes: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def decoded(data: bytes) -> Any:
    """Raises orjson.JSONDecodeError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(with_whole_pairs(data))


def exactly_decoded(data: bytes) -> Any:
    """With whole numbers of any length. Raises orjson.JSONDecodeError."""
    value = decoded(data)
    if not _many_digits(data):
        return value
    try:
        return json.loads(with_whole_pairs(data))
    except RecursionError:  # orjson goes as deep, but nobody can write it again
        return value


def with_whole_pairs(data: bytes) -> bytes:
    """The same bytes, where no half stands alone."""
    return _escapes.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


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
