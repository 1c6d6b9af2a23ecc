"""Presented key -> Principal, by SHA-256: keys are never compared as text, nor kept."""

from collections.abc import Sequence
from typing import Final

from runestone_contract.canonical import digest
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.errors import BadRequest, Unauthorized, UnknownKey

MAX_KEY_BYTES: Final = 512

_UNKNOWN = "Incorrect API key provided."
_MISSING = (
    "You didn't provide an API key. Send it in an Authorization header as a Bearer token: "
    "Authorization: Bearer YOUR_KEY"
)

Headers = Sequence[tuple[bytes, bytes]]


def authenticate(
    snapshot: Snapshot, headers: Headers, *, service_account: str | None, now_s: float
) -> Principal:
    """Raises Unauthorized, or BadRequest where two authorizations were sent."""
    key = presented_key(headers)
    if key is None:
        principal = snapshot.service_accounts.get(service_account) if service_account else None
        if principal is None:
            raise Unauthorized(_MISSING)
        return usable(principal, now_s)
    if len(key) > MAX_KEY_BYTES:
        raise UnknownKey(_UNKNOWN)
    sha256 = digest(key)
    principal = snapshot.keys.get(sha256)
    if principal is None:
        raise UnknownKey(_UNKNOWN)
    not_after_s = principal.hashes[sha256]
    if not_after_s is not None and now_s >= not_after_s:
        raise Unauthorized("This API key was rotated out; use the new one.")
    return usable(principal, now_s)


def usable(principal: Principal, now_s: float) -> Principal:
    """Raises Unauthorized where it is disabled or has expired."""
    if not principal.enabled:
        raise Unauthorized("This API key is disabled.")
    if principal.expires_at_s is not None and now_s >= principal.expires_at_s:
        raise Unauthorized("This API key has expired.")
    return principal


def presented_key(headers: Headers) -> bytes | None:
    """The key of `Authorization: Bearer`, or of `x-api-key` as Anthropic's SDKs send it."""
    found: bytes | None = None
    alternative: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise BadRequest("Send one Authorization header, not several.")
            found = value
        elif name == b"x-api-key":
            alternative = value
    if found is None:
        return alternative
    scheme, _, key = found.partition(b" ")
    if scheme.lower() != b"bearer" or not (key := key.strip()):
        raise Unauthorized(_MISSING)
    return key
