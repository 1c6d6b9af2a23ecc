"""The TLS context that the webhook serves with; a new certificate takes effect with the next
handshake. Key material is handed to OpenSSL by way of memory: the root may be read-only."""

import asyncio
import os
import ssl
from pathlib import Path


class Serving:
    def __init__(self) -> None:
        self.context = _context()
        self.loaded = asyncio.Event()
        self.chain = b""

    def load(self, cert: bytes, key: bytes) -> bool:
        """Whether it is new. Raises ssl.SSLError; what was served before goes on."""
        chain = cert.rstrip() + b"\n" + key
        if chain == self.chain:
            return False
        _load(_context(), chain)  # a context that refuses a chain is left with half of it
        _load(self.context, chain)
        self.chain = chain
        self.loaded.set()
        return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, chain: bytes) -> None:
    handle = os.memfd_create("webhook-certificate")
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(chain)
        context.load_cert_chain(Path(f"/proc/self/fd/{handle}"))
    finally:
        os.close(handle)
