"""Signatures as Standard Webhooks 1.0 has them: v1, HMAC-SHA256 over id, time and body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)


class BadSecret(Exception):
    """The text holds no secrets in the standard's form."""


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """One, or several with blanks between: the receiver may know either. Raises BadSecret."""
    secrets = tuple(map(_secret, text.split()))
    if not secrets:
        raise BadSecret
    return secrets


def _secret(word: str) -> bytes:
    if not word.startswith(PREFIX):
        raise BadSecret
    bare = word.removeprefix(PREFIX).rstrip("=")
    try:
        secret = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSecret from error
    if len(secret) not in SECRET_BYTES:
        raise BadSecret
    return secret


def signature(secrets: Sequence[bytes], webhook_id: str, at_s: int, body: bytes) -> str:
    """The header's value: a signature with each."""
    signed = f"{webhook_id}.{at_s}.".encode() + body
    macs = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
