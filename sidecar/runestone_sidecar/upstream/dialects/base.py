"""What the data path asks of a provider's wire format, and the few shapes that cross that line.

Pure: no I/O, no clock, no configuration. Time and ids come in with the request. What is made for
each request is not frozen, nor made by keywords, here and along the whole data path: either costs
three times as much. It is not changed all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol


class AsksUsage(Enum):
    """Who asks that a stream tell its usage (`stream_options.include_usage` of OpenAI's)."""

    CLIENT = "the client, if anyone; a translation in its stead"
    GATEWAY = "we do, and the client is not told what it did not ask for"
    NOBODY = "nobody: this provider refuses to be asked, be it by a translation"


@dataclass(slots=True)
class Request:
    """A request in some API's format as the client sent it, parsed once.

    `body` is the decoded JSON object; it is shared by all attempts and must not be changed.
    """

    body: Mapping[str, Any]
    model: str  # the canonical name: what the client asked for, aliases resolved
    stream: bool
    request_id: str
    created_s: int  # Unix seconds, for replies that are ours to date
    raw: bytes = b""  # `body` as it came, where it did
    headers: bytes = b""  # rendered lines of the client's that a provider of the same format gets
    is_heavy: bool = False  # a walk over `body` would hold up the event loop
    asks_usage: AsksUsage = AsksUsage.CLIENT

    @property
    def include_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The provider's side of a model."""

    upstream: str  # the provider's name for it
    max_output_tokens: int | None


MAX_TOKENS: Final = 1 << 40  # no reply has so many: a count beyond is none


@dataclass(slots=True)
class Usage:
    """Tokens of one reply. `input_tokens` includes the cached ones, as OpenAI counts."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class Rendered:
    """A request as the provider wants it; `path` is appended to the base URL's path."""

    path: bytes
    body: bytes
    headers: bytes = b""
    # Of each message of the body, which of the request's it is, None being no one of them. Empty
    # where they are the same.
    origins: tuple[int | None, ...] = ()


@dataclass(slots=True)
class Reply:
    """A whole successful reply in the client's format."""

    body: bytes
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's refusal, reduced to what OpenAI's envelope can say."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class DialectError(Exception):
    """The tree of what a dialect can object to."""


@dataclass
class Untranslatable(DialectError):
    """The request cannot be said in this provider's format: a 400 that names `param`."""

    message: str
    param: str | None = None
    details: Mapping[str, Any] | None = None  # for the client's code, in its API's words


class Missing(Untranslatable):
    """It builds on what this provider never had: a 404."""


class BadReply(DialectError):
    """A 200 whose body is not what this format promises: a 502, and worth another provider."""


class Miswritten(BadReply):
    """What the model itself wrote into a reply that is else as promised: it may follow from the
    prompt, and tells nothing of the provider."""


class StreamReader(Protocol):
    """Reads one streamed reply; made anew for each attempt."""

    @property
    def usage(self) -> Usage | None:
        """When the stream told it."""

    @property
    def complete(self) -> bool:
        """The provider said that the reply is whole."""

    @property
    def at_boundary(self) -> bool:
        """What was handed on so far ends between two events."""

    @property
    def error(self) -> ProviderError | None:
        """What the provider reported inside the stream, and the client was told."""

    def feed(self, data: bytes) -> bytes:
        """Client bytes for provider bytes, possibly none. Raises BadReply. Buffers are bounded."""

    def finish(self) -> bytes:
        """Client bytes for the provider's clean end. Raises BadReply where it is not whole."""


class Codec(Protocol):
    """One API of a provider's: how it is asked, and how its answers are read for the client."""

    def render(self, request: Request, target: ModelTarget) -> Rendered:
        """Raises Untranslatable."""

    def read(self, request: Request, body: bytes) -> Reply:
        """A 200 that was not streamed. Raises BadReply."""

    def stream(self, request: Request) -> StreamReader: ...


class Dialect(Protocol):
    @property
    def chat(self) -> Codec:
        """OpenAI's chat format, in and out: what all translations pass through."""

    @property
    def native(self) -> Mapping[str, Codec]:
        """The APIs, by the name of the client's surface, that go through as they are."""

    @property
    def models_path(self) -> bytes:
        """Where the model list is, below the base URL."""

    @property
    def version(self) -> bytes:
        """The rendered header line of a request that is no codec's, if the API wants one."""

    def auth_headers(self, credential: str | None) -> tuple[tuple[bytes, bytes], ...]:
        """Headers of every request: authorization."""

    def read_error(self, status: int, body: bytes) -> ProviderError:
        """Total: any bytes give an error fit to show (a 400, 404, 409 or 422 is shown)."""
