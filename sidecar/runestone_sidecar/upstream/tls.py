"""SSL contexts for connections to providers, one for each distinct set of options.

Reading the system's authorities takes some 40 ms, so a context is made once, off the event loop.
"""

import asyncio
import ssl

from runestone_sidecar.upstream.origin import TlsOptions

DEFAULT = TlsOptions()
MAX_CONTEXTS = 64  # each holds its authorities; distinct options in use at once are a handful


class BadAuthorities(ValueError):
    """The bytes given as certificate authorities are not PEM certificates."""


class Contexts:
    """Made on first use, kept by content: options that are equal share a context."""

    def __init__(self) -> None:
        self._contexts: dict[TlsOptions, ssl.SSLContext] = {}

    async def context_for(self, options: TlsOptions | None) -> ssl.SSLContext:
        options = options or DEFAULT
        context = self._contexts.get(options)
        if context is None:
            context = await asyncio.to_thread(build_context, options)
            if len(self._contexts) >= MAX_CONTEXTS:
                del self._contexts[
                    next(iter(self._contexts))
                ]  # authorities rotate: drop the oldest
            self._contexts[options] = context
        return context


def build_context(options: TlsOptions) -> ssl.SSLContext:
    """TLS 1.2 or newer; certificate and host name are verified unless the options say otherwise.

    Also how to find out beforehand whether authorities can be read: BadAuthorities if not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.ca_pem is None:
        context.load_default_certs()
    else:
        _load(context, options.ca_pem)
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:  # an empty text is a ValueError
        raise BadAuthorities("no PEM certificates could be read") from error
