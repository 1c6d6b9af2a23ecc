"""Where a provider is and how patient to be with it: plain values, made once for each snapshot.

An Origin is the key of a connection pool, so everything that a connection depends on is in it.
"""

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Self
from urllib.parse import quote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "/%:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each part of a call may take.

    `connect_s` and `total_s` count from the start of the call, a wait for a place in a bounded
    pool included. `first_byte_s` counts from the request being sent to the first byte of the
    *body*: a provider may send its head at once and then think. `idle_s` is any silence after it.
    """

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """`ca_pem` replaces the system's authorities: whoever names one trusts no other."""

    ca_pem: bytes | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Origin:
    """`tls` None means the system's authorities; it says nothing of an http origin."""

    scheme: str
    host: str  # ASCII, lower case, an IPv6 address without brackets
    port: int
    tls: TlsOptions | None = None
    max_connections: int = 200
    max_idle: int = 50
    address: str | None = None  # what is connected to; None: whatever the host's name leads to
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Looked up for every request, and a dataclass would hash all its fields each time.
        parts = (self.scheme, self.host, self.port, self.tls, self.max_connections, self.max_idle)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def from_base_url(
        cls,
        base_url: str,
        *,
        tls: TlsOptions | None = None,
        max_connections: int = 200,
        max_idle: int = 50,
    ) -> Self:
        """ValueError if this is no http(s) URL of a server: a user, a query or a blank in it."""
        scheme, host, port, _ = _split(base_url)
        return cls(scheme, host, port, tls, max_connections, max_idle)

    @property
    def peer(self) -> str:
        """What to connect to."""
        return self.address or self.host

    @property
    def authority(self) -> str:
        """`host:port` as HTTP writes it: brackets round IPv6."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def peer_authority(self) -> str:
        return f"{_bracketed(self.peer)}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """The value of Host: the port is named only where it is not the scheme's own."""
        is_default = self.port == DEFAULT_PORTS[self.scheme]
        return (_bracketed(self.host) if is_default else self.authority).encode()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def base_path(base_url: str) -> bytes:
    """The path of a base URL as a request target begins with it: no slash at its end."""
    return _split(base_url)[3]


def _split(base_url: str) -> tuple[str, str, int, bytes]:
    if any(char <= " " or char == "\x7f" for char in base_url):
        raise ValueError("a base URL has no blanks or control characters")
    url = urlsplit(base_url)  # ValueError on unbalanced brackets
    if url.scheme not in DEFAULT_PORTS:
        raise ValueError("a base URL begins with http:// or https://")
    if url.username is not None or url.password is not None:
        raise ValueError("a base URL has no user or password: credentials have their own place")
    if url.query or url.fragment or not url.hostname:
        raise ValueError("a base URL is scheme, host, port and path, and nothing else")
    port = url.port if url.port is not None else DEFAULT_PORTS[url.scheme]  # ValueError past 65535
    path = quote(url.path.rstrip("/"), safe=_PATH_SAFE).encode()
    return url.scheme, _ascii_host(url.hostname), port, path


def _ascii_host(host: str) -> str:
    if ":" in host:
        return str(IPv6Address(host))  # ValueError
    ascii_host = host if host.isascii() else host.encode("idna").decode()
    if not all(char.isalnum() or char in "-._" for char in ascii_host):
        raise ValueError("the host of a base URL has a character that no host name has")
    return ascii_host.lower()
