"""Anthropic's Messages API to a provider that speaks it: bytes pass unchanged, a tap looks on.

But for what the gateway itself had to make up in a reply of another provider's.
"""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_reply import TokenCounts
from runestone_sidecar.upstream.dialects.anthropic_unsigned import without_unsigned
from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    ModelTarget,
    ProviderError,
    Rendered,
    Reply,
    Request,
    StreamReader,
    Usage,
)
from runestone_sidecar.upstream.dialects.exact_json import decoded
from runestone_sidecar.upstream.dialects.provider_error import error_of, judges_request
from runestone_sidecar.upstream.dialects.splice import body_with_model
from runestone_sidecar.upstream.dialects.tap import EVENT_ENDS, check_head
from runestone_sidecar.upstream.sse import SSEParser, SSETooLargeError

PATH: Final = b"/v1/messages"
_COUNT_PATH: Final = PATH + b"/count_tokens"
# Of requests that say no other. The one after it (2026-10-21) refuses temperature and top_p.
VERSION: Final = b"anthropic-version: 2023-06-01\r\n"

# What an event must show to be worth parsing; a text cannot look like it, its quotes are escaped.
_tells: Final = re.compile(rb'"type" *: *"(?:message_|error")|"error" *: *["{]').search


class Messages:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        signed = without_unsigned(request)
        return Rendered(PATH, body_with_model(signed, target), headers_of(request))

    def read(self, request: Request, body: bytes) -> Reply:
        reply = _decoded(body)
        if not isinstance(reply.get("content"), list):
            raise BadReply("the reply has no content")
        return Reply(body=body, usage=TokenCounts().take(reply.get("usage")))

    def stream(self, request: Request) -> "MessagesTap":
        return MessagesTap()


class CountTokens:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        signed = without_unsigned(request)
        return Rendered(_COUNT_PATH, body_with_model(signed, target), headers_of(request))

    def read(self, request: Request, body: bytes) -> Reply:
        if type(_decoded(body).get("input_tokens")) is not int:
            raise BadReply("the reply has no count")
        return Reply(body=body, usage=None)  # counted, not used

    def stream(self, request: Request) -> StreamReader:
        raise BadReply("a count is not streamed")


def headers_of(request: Request) -> bytes:
    """The client's own version of the API, as its body is its own too."""
    given = request.headers
    return given if b"anthropic-version:" in given else given + VERSION


class MessagesTap:
    """Hands on what it is fed, the same object, and parses only the events that tell something.

    `complete` comes with `message_stop`. `error` is what the provider reported inside the stream.
    """

    __slots__ = (
        "_counts",
        "_head",
        "_parser",
        "_silent",
        "at_boundary",
        "complete",
        "error",
        "usage",
    )

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.at_boundary = True
        self.error: ProviderError | None = None
        self._counts = TokenCounts()
        self._parser = SSEParser()
        self._head: bytes | None = b""  # until the first bytes were seen to be of such a stream
        self._silent = True  # nothing was handed on yet: another provider may still be asked

    def feed(self, data: bytes) -> bytes:
        if (
            self.at_boundary
            and self._head is None
            and data.endswith(EVENT_ENDS)
            and not _tells(data)
        ):
            return data
        if self._head is not None:
            self._head = check_head(self._head, data)
        try:
            events = self._parser.feed(data)
        except SSETooLargeError as error:
            raise BadReply(f"an event stream's {error.what} is too long") from error
        self.at_boundary = self._parser.at_boundary
        for _, event in events:
            self._see(event)
        self._silent = self._silent and not data
        return data

    def finish(self) -> bytes:
        for _, event in self._parser.finish():
            self._see(event)
        if not self.complete:
            raise BadReply("the stream ended before the reply was whole")
        return b""

    def _see(self, data: bytes) -> None:
        if not _tells(data):
            return
        event = _decoded(data)
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                self.usage = self._counts.take(
                    message.get("usage") if isinstance(message, dict) else None
                )
            case "message_delta":
                self.usage = self._counts.take(event.get("usage"))
            case "message_stop":
                self.complete = self.error is None
            case _ if event.get("error"):
                self._see_error(event)

    def _see_error(self, event: dict[str, Any]) -> None:
        self.complete = False
        error = error_of(event, status=502)
        if self._silent and not judges_request(error):
            raise BadReply("the stream began with an error")
        self.error = error


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        document = decoded(data)
    except orjson.JSONDecodeError:
        raise BadReply("what came is not JSON") from None
    if not isinstance(document, dict):
        raise BadReply("what came is not an object")
    return document
