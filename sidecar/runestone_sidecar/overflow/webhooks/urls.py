"""The URLs that clients want webhooks at: read strictly, and held against what their key allows.

What two readers could take for two places is refused: odd spellings of addresses, users, fragments,
backslashes, paths that climb. So what was allowed is what is connected to and asked for.
"""

import functools
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import unquote

from runestone_sidecar.upstream.origin import DEFAULT_PORTS, Origin

MAX_LENGTH: Final = 2048
ANY: Final = "*"

Address = IPv4Address | IPv6Address

# Not quantified twice anywhere: a client's text takes linear time.
_SHAPE: Final = re.compile(
    r"(https?)://(\[[0-9a-f:.]{2,45}\]|[a-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[^?#]*)?(\?[^#]*)?",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UNIT: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%(?!7[Ff])[2-9A-Fa-f][0-9A-Fa-f])"
_PATH: Final = re.compile(f"{_UNIT}*")
_QUERY: Final = re.compile(rf"(?:{_UNIT}|\?)*")
_SUBDOMAINS: Final = "*."
_UNFOLDINGS: Final = 3  # of a path that is encoded again and again


class BadUrl(ValueError):
    """The reason is fit for the client."""


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    scheme: str
    host: str  # lower case, an IPv6 address without brackets
    port: int
    path: str
    query: str  # with its question mark, or empty

    @property
    def address(self) -> Address | None:
        """Where the host is one."""
        return _address(self.host)

    @property
    def target(self) -> bytes:
        return f"{self.path}{self.query}".encode("ascii")

    def origin(self, address: Address) -> Origin:
        """To be reached at that address and no other."""
        return Origin(self.scheme, self.host, self.port, address=str(address))

    @property
    def shown(self) -> str:
        """For logs: a path may hold a token."""
        return f"{self.scheme}://{self.origin(IPv4Address(0)).host_header.decode()}"


def parse_url(text: str) -> WebhookUrl:
    """Raises BadUrl."""
    if len(text) > MAX_LENGTH:
        raise BadUrl(f"it is longer than {MAX_LENGTH} characters")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise BadUrl("it is not an http or https URL of host, port, path and query alone")
    scheme, host, port, path, query = shape.groups()
    path, query = path or "/", query or ""
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query.removeprefix("?")):
        raise BadUrl("it has control characters, or others that a URL must spell as %XX")
    if _climbs(path):
        raise BadUrl("its path has segments of dots, or a backslash")
    return WebhookUrl(scheme.lower(), _host(host), _port(port, scheme.lower()), path, query)


def _host(text: str) -> str:
    host = text.lower()
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError as error:
            raise BadUrl("its host is no IPv6 address") from error
    labels = host.split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("its host is no name")
    if not labels[-1][0].isalpha() and _address(host) is None:  # 2130706433, 0x7f.1, 127.1, 010.1
        raise BadUrl("its host is neither a name nor an address in the usual form")
    return host


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not 0 < int(text) < 65536:
        raise BadUrl("it has no such port")
    return int(text)


def _address(host: str) -> Address | None:
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)  # no octal, nothing left out
    except ValueError:
        return None


def _climbs(path: str) -> bool:
    """For any reader: one that decodes once more, takes `\\` for `/`, or drops `;parameters`."""
    for _ in range(_UNFOLDINGS):
        segments = (segment.partition(";")[0] for segment in path.split("/"))
        if "\\" in path or any(segment in {".", ".."} for segment in segments):
            return True
        path, before = unquote(path), path
        if path == before:
            return False
    return True


# -- what a key allows --


@dataclass(frozen=True, slots=True)
class _Pattern:
    scheme: str
    host: str  # with `below_host`: any name below it, and not itself
    below_host: bool
    port: int
    path: str

    def allows(self, url: WebhookUrl) -> bool:
        if (self.scheme, self.port) != (url.scheme, url.port):
            return False
        fits = url.host.endswith(f".{self.host}") if self.below_host else url.host == self.host
        reaches_query = not url.query or self.path.endswith(ANY)
        return fits and reaches_query and _fits(self.path, url.path)


def allows(patterns: tuple[str, ...], url: WebhookUrl) -> bool:
    """As the field overflow.webhooks.allowedURLs of an ApiKey says."""
    return any(pattern.allows(url) for pattern in _patterns(patterns))


@functools.lru_cache(maxsize=1024)
def _patterns(texts: tuple[str, ...]) -> tuple[_Pattern, ...]:
    """Those that cannot be read allow nothing."""
    return tuple(filter(None, map(_pattern, texts)))


def _pattern(text: str) -> _Pattern | None:
    scheme, mark, rest = text.partition("://")
    below_host = rest.startswith(_SUBDOMAINS)
    shape = _SHAPE.fullmatch(f"{scheme}{mark}{rest.removeprefix(_SUBDOMAINS)}")
    if shape is None:
        return None
    scheme = shape[1].lower()
    try:
        return _Pattern(
            scheme, _host(shape[2]), below_host, _port(shape[3], scheme), shape[4] or "/"
        )
    except BadUrl:
        return None


def _fits(glob: str, text: str) -> bool:
    """Each star takes as little as it can: no second look back, however the text is made."""
    first, *rest = glob.split(ANY)
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(rest[-1]) and at + len(rest[-1]) <= len(text)
