"""A `.creds` file as `nsc` writes it: a user's JWT, and the seed of the key that signs for it.

Read with each connection, for it may have been rotated.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Final

_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END")
_SEED: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END")
_SEED_OF_USER: Final = b"\x95\x00"  # "SU"
_KEY_BYTES: Final = slice(2, 34)  # then a checksum of two


class BadCredentials(ValueError):
    pass


class Credentials:
    """Each method raises BadCredentials, or OSError where there is no such file."""

    def __init__(self, path: Path, *, required: bool = True) -> None:
        self._path = path
        self._required = required

    @property
    def are_there(self) -> bool:
        """Those that are required have to be."""
        return self._required or self._path.exists()

    def jwt(self) -> bytes:
        return self._find(_JWT).encode()

    def sign(self, nonce: str) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,  # 3 MB, for those who need it
        )

        key = Ed25519PrivateKey.from_private_bytes(_decode(self._find(_SEED)))
        return base64.b64encode(key.sign(nonce.encode()))

    def _find(self, pattern: re.Pattern[str]) -> str:
        found = pattern.search(self._path.read_text(encoding="ascii", errors="replace"))
        if found is None:
            raise BadCredentials
        return found[1]


def _decode(seed: str) -> bytes:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raise BadCredentials from None
    checked, checksum = raw[:-2], raw[-2:]
    is_whole = binascii.crc_hqx(checked, 0) == int.from_bytes(checksum, "little")
    if not is_whole or raw[:2] != _SEED_OF_USER:
        raise BadCredentials
    return raw[_KEY_BYTES]
