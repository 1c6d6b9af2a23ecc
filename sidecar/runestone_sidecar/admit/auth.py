"""Presented key -> Principal, by SHA-256: keys are never compared as text, nor kept."""

import re
from collections.abc import Sequence
from typing import Final

from runestone_contract.canonical import digest
from runestone_contract.names import NO_KEY
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.errors import BadRequest, GatewayError, Unauthorized, UnknownKey

MAX_KEY_BYTES: Final = 512
SHOWN_BYTES: Final = 8  # of a key, where it is to be recognised
_NO_KEY: Final = NO_KEY.encode()

_UNKNOWN = "Incorrect API key provided."
_MISSING = (
    "You didn't provide an API key. Send it in an Authorization header as a Bearer token: "
    "Authorization: Bearer YOUR_KEY"
)

_looks_like_a_key: Final = re.compile(rb"sk-[A-Za-z0-9_-]{20,}").fullmatch

Headers = Sequence[tuple[bytes, bytes]]


def authenticate(
    snapshot: Snapshot, headers: Headers, service_account: str | None, now_s: float
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
        raise Unauthorized("This API key was rotated out; use the new one.", who=principal.id)
    return usable(principal, now_s)


def usable(principal: Principal, now_s: float) -> Principal:
    """Raises Unauthorized where it is disabled or has expired."""
    if not principal.enabled:
        raise Unauthorized("This API key is disabled.", who=principal.id)
    if principal.expires_at_s is not None and now_s >= principal.expires_at_s:
        raise Unauthorized("This API key has expired.", who=principal.id)
    return principal


def shown_key(headers: Headers) -> str | None:
    """The beginning of the presented key; None for what does not look like one: it may be a
    password, and this much of it."""
    try:
        key = presented_key(headers)
    except GatewayError:
        return None
    if key is None or not _looks_like_a_key(key):
        return None
    return key[:SHOWN_BYTES].decode() + "…"


def presented_key(headers: Headers) -> bytes | None:
    """The key of `Authorization: Bearer`, or of `x-api-key` as Anthropic's SDKs send it.

    What the injector has SDKs send that know no key is none.
    """
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
        return None if alternative == _NO_KEY else alternative
    scheme, _, key = found.partition(b" ")
    if scheme.lower() != b"bearer" or not (key := key.strip()):
        raise Unauthorized(_MISSING)
    return None if key == _NO_KEY else key
