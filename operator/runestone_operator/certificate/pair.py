"""A serving certificate with an authority of its own, made for it alone.

The authority's key is thrown away once it has signed: what it could sign more nobody needs, and so
nobody can steal it. Renewing is making a new one of both.
"""

import contextlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW: Final = timedelta(minutes=10)  # an API server's clock may be behind
RENEW_AT: Final = 2 / 3  # of its life
_NO_USE: Final = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True, slots=True, repr=False)  # it holds a private key
class Pair:
    """As PEM."""

    ca: bytes
    cert: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Validity:
    hosts: frozenset[str]
    since: datetime
    until: datetime

    def is_over(self, now: datetime) -> bool:
        return now >= self.until

    def is_due(self, now: datetime) -> bool:
        """Whether the next one should be made."""
        return now >= self.since + (self.until - self.since) * RENEW_AT


def make_pair(hosts: Iterable[str], *, now: datetime, life_s: float) -> Pair:
    since, until = now - SKEW, now + timedelta(seconds=life_s)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    number = x509.random_serial_number()
    ca_name = _name(f"runestone-webhook-ca-{number:x}"[:64])  # two may be trusted at a time
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), since, until)
        .serial_number(number)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    cert = (
        _builder(_name("runestone-webhook"), ca_name, key.public_key(), since, until)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return Pair(_pem(ca), _pem(cert), _key_pem(key))


def read_validity(pair: Pair) -> Validity | None:
    """None where the three do not belong together, or are none."""
    try:
        ca, cert = (x509.load_pem_x509_certificate(pem) for pem in (pair.ca, pair.cert))
        key = serialization.load_pem_private_key(pair.key, password=None)
        cert.verify_directly_issued_by(ca)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    if key.public_key() != cert.public_key():
        return None
    return Validity(
        hosts=frozenset(str(name.value) for name in names),
        since=max(ca.not_valid_before_utc, cert.not_valid_before_utc) + SKEW,
        until=min(ca.not_valid_after_utc, cert.not_valid_after_utc),
    )


def expires_at(ca: bytes) -> datetime | None:
    """None for what is no certificate."""
    with contextlib.suppress(ValueError):
        return x509.load_pem_x509_certificate(ca).not_valid_after_utc
    return None


def now_utc() -> datetime:
    return datetime.now(UTC)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.not_valid_before(since).not_valid_after(until)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **_NO_USE,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
