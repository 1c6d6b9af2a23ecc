"""Certificates for scripted TLS servers: good, expired, for another name, signed by nobody."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import trustme


class Authority:
    """A certificate authority that only those trust who are given its `pem`."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem: bytes = self._ca.cert_pem.bytes()

    def server_context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """What a server of these names (localhost, unless told) listens with."""
        now = datetime.now(UTC)
        cert = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=now - timedelta(days=30),
            not_after=now + timedelta(days=-1 if expired else 30),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert.configure_cert(context)
        return context

    def self_signed_context(self) -> ssl.SSLContext:
        """A server that shows the authority's own certificate as if it were its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.configure_trust(context)
        chain = trustme.Blob(self._ca.private_key_pem.bytes() + self._ca.cert_pem.bytes())
        with chain.tempfile() as path:
            context.load_cert_chain(path)
        return context
