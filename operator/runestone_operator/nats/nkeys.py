"""NATS's keys, Ed25519 in the text form that it calls nkeys: made by chance or from one another."""

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from runestone_operator.errors import BadSeedError

SEED_BYTES: Final = 32
_SEED: Final = 18 << 3  # the prefix that becomes an S
_CHECKSUM_BYTES: Final = 2
_LABEL: Final = b"runestone nats v1 "


class Role(IntEnum):
    """The prefix of a public key: it becomes the key's first letter."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


@dataclass(frozen=True, slots=True)
class KeyPair:
    role: Role
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, role: Role) -> Self:
        return cls(role, secrets.token_bytes(SEED_BYTES))

    @classmethod
    def parse(cls, role: Role, seed: str) -> Self:
        """Raises BadSeedError, which does not quote it."""
        head = _seed_head(role)
        try:
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except (binascii.Error, ValueError):
            raise BadSeedError(role.name.lower()) from None
        checked = raw[:-_CHECKSUM_BYTES]
        if (
            not checked.startswith(head)
            or len(checked) != len(head) + SEED_BYTES
            or raw != checked + _checksum(checked)
        ):
            raise BadSeedError(role.name.lower())
        return cls(role, checked[len(head) :])

    @property
    def seed(self) -> str:
        return _encode(_seed_head(self.role) + self.secret)

    @property
    def public(self) -> str:
        key = Ed25519PrivateKey.from_private_bytes(self.secret)
        return _encode(bytes([self.role]) + key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(data)

    def derive(self, role: Role, *context: str) -> "KeyPair":
        """The same for the same context, and nothing tells it from chance but our secret."""
        parts = (role.name, *context)
        info = _LABEL + b"".join(f"{len(part)}:{part}".encode() for part in parts)
        kdf = HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=None, info=info)
        return KeyPair(role, kdf.derive(self.secret))


def _seed_head(role: Role) -> bytes:
    return bytes([_SEED | (role >> 5), (role & 31) << 3])


def _encode(checked: bytes) -> str:
    return base64.b32encode(checked + _checksum(checked)).decode("ascii").rstrip("=")


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(_CHECKSUM_BYTES, "little")
