"""NATS's tokens: JWTs that nkeys sign, which Python's JWT libraries do not know."""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from runestone_operator.nats.nkeys import KeyPair

_NUMBER_BYTES: Final = 20
_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}

Claims = Mapping[str, Any]


def encode(issuer: KeyPair, claims: Claims, *, issued_at_s: int | None = None) -> str:
    """Without a time of issue, the same claims give the same token; with one, never twice the same:
    a server does nothing about a token that it has seen."""
    body = {**claims, "iss": issuer.public}
    if issued_at_s is None:
        number = hashlib.sha256(_json(body)).digest()
    else:
        number = secrets.token_bytes(_NUMBER_BYTES)
        body["iat"] = issued_at_s
    body["jti"] = base64.b32encode(number).decode().rstrip("=")
    signed = f"{_encode(_json(_HEADER))}.{_encode(_json(body))}"
    return f"{signed}.{_encode(issuer.sign(signed.encode()))}"


def decode(token: str) -> dict[str, Any]:
    """The claims, believed as they stand; nothing where they cannot be read."""
    try:
        _, body, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
