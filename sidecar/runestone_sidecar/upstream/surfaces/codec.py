"""Which codec carries a surface to a provider: the provider's own, or one by way of a chat."""

from collections.abc import Callable
from dataclasses import replace

import orjson

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.dialects.base import (
    AsksUsage,
    BadReply,
    Codec,
    Dialect,
    ModelTarget,
    ProviderError,
    Rendered,
    Reply,
    Request,
    StreamReader,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.dialects.exact_json import decoded
from runestone_sidecar.upstream.sse import SSEParser, SSETooLargeError
from runestone_sidecar.upstream.surfaces.base import ChatSink, Surface, Translator
from runestone_sidecar.upstream.surfaces.translated_refusal import error_within, place_of, reworded


def is_native(surface: Surface, dialect: Dialect, capabilities: frozenset[str]) -> bool:
    """Whether such a model is asked as the client asked."""
    return surface.name in dialect.native and surface.is_native(capabilities)


def can_serve(surface: Surface, dialect: Dialect, capabilities: frozenset[str]) -> bool:
    """Whether a model of these capabilities can be asked this at all."""
    if is_native(surface, dialect, capabilities) or surface.name == "chat":
        return True
    return surface.translator is not None and (not capabilities or "Chat" in capabilities)


def codec_for(surface: Surface, dialect: Dialect, capabilities: frozenset[str]) -> Codec:
    """For one attempt, where `can_serve`."""
    native = dialect.native.get(surface.name)
    if native is not None and surface.is_native(capabilities):
        return native
    if surface.translator is None:
        return dialect.chat
    return Translation(surface.translator, dialect.chat)


def asks_usage_itself(codec: Codec, request: Request) -> bool:
    """Whether what it renders asks for the usage of a stream, and the client said nothing of it."""
    if isinstance(codec, Translation):
        return request.stream and request.asks_usage is not AsksUsage.NOBODY
    return request.asks_usage is AsksUsage.GATEWAY and request.body.get("stream_options") is None


def as_asked(codec: Codec, request: Request, told: ProviderError) -> ProviderError:
    """A provider's refusal of what this codec rendered, in words of what the client asked."""
    return codec.as_asked(request, told) if isinstance(codec, Translation) else told


class Translation:
    """A surface's request said as a chat, and the chat's answer said in the surface's words."""

    __slots__ = ("_asked", "_chat", "_origins", "_translator")

    def __init__(self, translator: Translator, chat: Codec) -> None:
        self._translator = translator
        self._chat = chat
        self._asked: Request | None = None  # the chat, once rendered
        self._origins: tuple[int | None, ...] = ()  # of the messages that were sent

    def render(self, request: Request, target: ModelTarget) -> Rendered:
        asked = self._translator.to_chat(request)
        if request.asks_usage is AsksUsage.NOBODY:
            body = {name: asked.body[name] for name in asked.body if name != "stream_options"}
            asked = replace(asked, body=body)
        self._asked = asked
        try:
            rendered = self._chat.render(asked, target)
        except Untranslatable as refusal:
            told = ProviderError(refusal.message, "invalid_request_error", param=refusal.param)
            own = self.as_asked(request, told)
            raise Untranslatable(own.message, param=own.param) from None
        self._origins = rendered.origins
        return rendered

    def as_asked(self, request: Request, told: ProviderError) -> ProviderError:
        if told.param is None:
            return told
        own = self._translator.param_of_chat(self._param_asked(told.param), request)
        return replace(told, message=reworded(told.message, told.param, own), param=own)

    def _param_asked(self, sent: str) -> str:
        """The name, in the chat that was asked, of what was sent."""
        place = place_of(sent) if self._origins else None
        if place is None or place.field != "messages" or place.index is None:
            return sent
        known = place.index < len(self._origins)
        origin = self._origins[place.index] if known else None
        if origin is None:
            return "messages"
        return f"messages[{origin}].{place.rest}" if place.rest else f"messages[{origin}]"

    def read(self, request: Request, body: bytes) -> Reply:
        assert self._asked is not None  # rendered before it is read
        reply = self._chat.read(self._asked, body)
        completion = decoded(reply.body)
        return Reply(self._translator.read_chat(request, completion), reply.usage)

    def stream(self, request: Request) -> "TranslatedStream":
        assert self._asked is not None
        return TranslatedStream(
            self._chat.stream(self._asked),
            self._translator.stream_chat(request),
            lambda told: self.as_asked(request, told),
        )


class TranslatedStream:
    """A StreamReader that turns the chat events of another into the surface's."""

    __slots__ = ("_as_asked", "_inner", "_parser", "_sink")

    at_boundary = True  # only whole events go out

    def __init__(
        self,
        inner: StreamReader,
        sink: ChatSink,
        as_asked: Callable[[ProviderError], ProviderError] = lambda told: told,
    ) -> None:
        self._inner = inner
        self._sink = sink
        self._as_asked = as_asked
        self._parser = SSEParser()

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @property
    def complete(self) -> bool:
        return self._inner.complete

    @property
    def error(self) -> ProviderError | None:
        return self._inner.error

    def feed(self, data: bytes) -> bytes:
        return self._say(self._inner.feed(data))

    def finish(self) -> bytes:
        said = self._say(self._inner.finish())
        if self._inner.error is not None:
            return said
        return said + self._sink.finish()

    def error_frame(self, error: GatewayError) -> bytes:
        return self._sink.error_frame(error)

    def _say(self, data: bytes) -> bytes:
        if not data:
            return b""
        try:
            events = self._parser.feed(data)
        except SSETooLargeError as error:
            raise BadReply(f"an event stream's {error.what} is too long") from error
        return b"".join([self._chunk(event) for _, event in events])

    def _chunk(self, event: bytes) -> bytes:
        if event.strip() == b"[DONE]":
            return b""  # the sink is told by `finish`, when the provider's message has ended too
        try:
            chunk = decoded(event)
        except orjson.JSONDecodeError:
            raise BadReply("an event of the stream is not JSON") from None
        if not isinstance(chunk, dict):
            raise BadReply("an event of the stream is malformed")
        if self._inner.error is not None and chunk.get("error"):
            return self._sink.error_frame(error_within(self._as_asked(self._inner.error)))
        return self._sink.feed(chunk)
