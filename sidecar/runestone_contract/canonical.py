"""One JSON encoding for everything that is hashed or compared: equal values give equal bytes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN; a line break never occurs in it."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal: the identity of a bundle, a shard or a client key."""
    return hashlib.sha256(data).hexdigest()


def credentials_digest(hashes: Mapping[str, str]) -> str:
    """Identity of a credentials directory, from `digest` of each entry's value without the white
    space around it: whoever knows the hashes can tell it, and need not know the values."""
    return digest(canonical(dict(hashes)))[:16]
