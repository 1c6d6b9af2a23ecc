"""What NATS is given to keep: sealed with the namespace's key, so that its store tells nothing.

AES-256-GCM, with what a blob is and whose as associated data: none can stand in for another.
"""

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class BadKey(Exception):
    """The credentials' entry is no key."""


class Unreadable(Exception):
    """Sealed with another key, as something else, or damaged."""


def parse_key(text: str) -> bytes:
    """Raises BadKey."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadKey from error
    if len(key) != KEY_BYTES:
        raise BadKey
    return key


class Sealer:
    def __init__(self, key: bytes) -> None:
        # Megabytes that a sidecar without a key need not pay.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._invalid = InvalidTag
        self._aead = AESGCM(_derive(key, b"seal"))
        self._mac = _derive(key, b"mac")

    def seal(self, kind: str, job_id: str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, data, _bound_to(kind, job_id))

    def open(self, kind: str, job_id: str, blob: bytes) -> bytes:
        """Raises Unreadable."""
        nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        if blob[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise Unreadable
        try:
            return self._aead.decrypt(nonce, sealed, _bound_to(kind, job_id))
        except self._invalid as error:
            raise Unreadable from error

    def mark(self, *parts: bytes) -> str:
        """Hexadecimal, the same for the same parts; without the key nobody can guess it."""
        mac = hmac.new(self._mac, digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.hexdigest()


def _derive(key: bytes, use: bytes) -> bytes:
    return hmac.digest(key, b"runestone overflow " + use, hashlib.sha256)


def _bound_to(kind: str, job_id: str) -> bytes:
    return f"{kind} {job_id}".encode()
