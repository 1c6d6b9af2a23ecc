"""What the replicas share: the pair in use, the one to come, and the authority of the last.

A rotation goes in two steps, so that at no instant a replica serves what the API server does not
trust: the next pair is stored, its authority is told, and only then it is taken into use. Replicas
that have not noticed yet serve the last one, whose authority stays trusted until it expires.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from runestone_contract.names import MANAGED_BY, MANAGED_BY_LABEL
from runestone_operator.certificate.pair import Pair, Validity, expires_at, read_validity

_CURRENT: Final = ("ca.crt", "tls.crt", "tls.key")
_NEXT: Final = ("next-ca.crt", "next-tls.crt", "next-tls.key")
_PREVIOUS: Final = "previous-ca.crt"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Stored:
    current: Pair
    upcoming: Pair | None = None
    previous_ca: bytes = b""
    version: str = ""  # the Secret's resourceVersion

    def bundle(self, now: datetime) -> bytes:
        """The authorities that the API server is to trust."""
        authorities = [self.current.ca, self.upcoming.ca if self.upcoming else b""]
        authorities.append(self.previous_ca)
        return b"".join(dict.fromkeys(ca for ca in authorities if _is_alive(ca, now)))

    @property
    def validity(self) -> Validity | None:
        return read_validity(self.current)

    def announcing(self, pair: Pair) -> "Stored":
        return replace(self, upcoming=pair)

    def promoted(self) -> "Stored":
        assert self.upcoming is not None
        return replace(self, current=self.upcoming, upcoming=None, previous_ca=self.current.ca)

    def manifest(self, namespace: str, name: str) -> Manifest:
        """Of the Secret as it should be; a null takes an entry away."""
        values = [*_entries(_CURRENT, self.current), *_entries(_NEXT, self.upcoming)]
        data = dict([*values, (_PREVIOUS, _encoded(self.previous_ca) or None)])
        return {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "labels": {MANAGED_BY_LABEL: MANAGED_BY},
                **({"resourceVersion": self.version} if self.version else {}),
            },
            "type": "Opaque",
            "data": data,
        }


def parse_stored(secret: Mapping[str, Any]) -> Stored:
    """Whatever is in it: a pair that is none has no validity."""
    data = secret.get("data") or {}
    upcoming = _pair(data, _NEXT)
    return Stored(
        current=_pair(data, _CURRENT),
        upcoming=upcoming if read_validity(upcoming) else None,
        previous_ca=_decoded(data.get(_PREVIOUS)),
        version=str(secret["metadata"]["resourceVersion"]),
    )


def _is_alive(ca: bytes, now: datetime) -> bool:
    until = expires_at(ca)
    return until is not None and now < until


def _entries(names: tuple[str, ...], pair: Pair | None) -> list[tuple[str, str | None]]:
    values = (pair.ca, pair.cert, pair.key) if pair else (None,) * 3
    return [(name, _encoded(value)) for name, value in zip(names, values, strict=True)]


def _pair(data: Mapping[str, str], names: tuple[str, ...]) -> Pair:
    return Pair(*(_decoded(data.get(name)) for name in names))


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "")
    except binascii.Error:
        return b""
