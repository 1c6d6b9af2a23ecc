"""What the data path asks of an API that clients speak, and the checks that all of them share.

Pure, as dialects are: no I/O, no clock, no configuration. A surface that a provider's dialect has
natively passes through unchanged; any other goes as a chat in OpenAI's format, and what the
provider's dialect makes of the answer comes back through the surface.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.preferences import NOTHING

MAX_MODEL_LENGTH: Final = 256
MAX_CHOICES: Final = 128  # as OpenAI has it: each is reserved for

CHAT: Final = frozenset({"Chat"})


@dataclass(slots=True)
class Traits:
    """What routing and limits need to know of a request."""

    needs: frozenset[str]  # capabilities, as a model of a ProviderPool lists them
    max_output_tokens: int | None  # as the client bounds it, over all choices; None: it does not
    user: str | None  # the end user that the client names, for sticky splits
    windows: int = 1  # inputs that need not share a context window
    prefers: frozenset[str] = NOTHING  # capabilities too; see preferences
    choices: int = 1  # answers that are asked for


class ChatSink(Protocol):
    """Says a streamed chat in the surface's format; made anew for each attempt."""

    def feed(self, chunk: Mapping[str, Any]) -> bytes:
        """Client bytes, whole events only, for one decoded chunk. Raises BadReply."""

    def finish(self) -> bytes:
        """The last events, once the chat was whole. Raises BadReply where it was not."""

    def error_frame(self, error: GatewayError) -> bytes:
        """Tells, at any point between events, that nothing more comes and why."""


class Translator(Protocol):
    """An API in terms of OpenAI's chat format."""

    def to_chat(self, request: Request) -> Request:
        """Streamed chats ask for usage. Raises Untranslatable, which names the param."""

    def param_of_chat(self, param: str, request: Request) -> str | None:
        """The API's own name for what a chat that `to_chat` made is refused for; None: the client
        said no such thing. `request` is the API's own."""

    def read_chat(self, request: Request, completion: Mapping[str, Any]) -> bytes:
        """A whole chat completion as this API's answer. Raises BadReply."""

    def stream_chat(self, request: Request) -> ChatSink:
        """`request` is the API's own, as for `read_chat`."""


class Surface(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def forwarded(self) -> frozenset[bytes]:
        """Request headers, in lower case, that a provider asked natively gets."""

    @property
    def translator(self) -> Translator | None:
        """None: this API has no such form as a chat."""

    def check(self, body: Mapping[str, Any]) -> None:
        """What this gateway itself reads; the rest is left to the provider. Raises BadRequest."""

    def traits(self, body: Mapping[str, Any]) -> Traits:
        """Of a body that passed `check`."""

    def is_native(self, capabilities: frozenset[str]) -> bool:
        """Whether a model that states these (none: unknown) is asked in this very API, where the
        provider's dialect has it."""

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        """The API's envelope."""

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        """The same inside a stream that passes through, after so many events."""


def check_model(body: Mapping[str, Any]) -> None:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("'model' must be the name of a model.", param="model")
    if len(model) > MAX_MODEL_LENGTH:
        raise BadRequest(f"'model' is longer than {MAX_MODEL_LENGTH} characters.", param="model")
    for name in body:
        if len(name) == 5 and name != "model" and name.lower() == "model":
            # Go's decoder, and so many a provider, takes it for `model`: it would be the one used.
            raise BadRequest("Write 'model' in lower case, and once.", param=name)


def check_stream(body: Mapping[str, Any]) -> None:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("'stream' must be true or false.", param="stream")


def check_counts(body: Mapping[str, Any], *names: str) -> None:
    for name in names:
        value = body.get(name)
        if value is not None and (type(value) is not int or not 1 <= value < 1 << 31):
            raise BadRequest(f"'{name}' must be a positive whole number.", param=name)


def check_choices(body: Mapping[str, Any], *names: str) -> None:
    for name in names:
        value = body.get(name)
        if value is not None and (type(value) is not int or not 1 <= value <= MAX_CHOICES):
            raise BadRequest(
                f"'{name}' must be a whole number from 1 to {MAX_CHOICES}.", param=name
            )


def check_kinds(body: Mapping[str, Any], *fields: tuple[str, type, str]) -> None:
    """Each a name, the type that its value must have where there is one, and that type's name."""
    for name, kind, noun in fields:
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise BadRequest(f"'{name}' must be {noun}.", param=name)


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def count_inputs(given: Any) -> int:
    """Of a prompt, or what to embed: an array of numbers is one input in tokens."""
    if not isinstance(given, list) or not given or isinstance(given[0], int):
        return 1
    return len(given)
