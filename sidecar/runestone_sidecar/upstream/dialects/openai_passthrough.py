"""OpenAI's APIs that are handed on as they are: bodies but for the model, replies for usage."""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import (
    MAX_TOKENS,
    ModelTarget,
    ProviderError,
    Rendered,
    Reply,
    Request,
    Usage,
)
from runestone_sidecar.upstream.dialects.splice import body_with_model

TAIL_BYTES: Final = 4 * 1024  # where a reply, or the last event of a stream, tells its usage

_usages: Final = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})').findall
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Passthrough:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        """The path is the client's."""
        body = body_with_model(request, target) if request.body.get("model") else request.raw
        return Rendered(path=b"", body=body)

    def read(self, request: Request, body: bytes) -> Reply:
        return Reply(body=body, usage=usage_in(body[-TAIL_BYTES:]))

    def stream(self, request: Request) -> "Tail":
        return Tail()


class Tail:
    """Hands on what it is fed, and remembers the end of it."""

    __slots__ = ("_tail",)

    complete = False  # it ends when it ends
    error: ProviderError | None = None

    def __init__(self) -> None:
        self._tail = b""

    @property
    def usage(self) -> Usage | None:
        return usage_in(self._tail)

    @property
    def at_boundary(self) -> bool:
        return not self._tail or self._tail.endswith(_EVENT_ENDS)

    def feed(self, data: bytes) -> bytes:
        kept = self._tail + data if len(data) < TAIL_BYTES else data
        self._tail = kept[-TAIL_BYTES:]
        return data

    def finish(self) -> bytes:
        return b""


def usage_in(tail: bytes) -> Usage | None:
    """The last that is told; None where none is, or in other units than tokens.

    Text that a model or a user wrote cannot look like it: in a string the quotes are escaped.
    """
    for found in reversed(_usages(tail)):
        try:
            told = orjson.loads(found)
        except orjson.JSONDecodeError:
            continue
        counts = [
            _count(told, *names)
            for names in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
        ]
        if any(counts):
            return Usage(input_tokens=counts[0], output_tokens=counts[1])
    return None


def _count(told: Any, *names: str) -> int:
    for name in names:
        value = told.get(name)
        if type(value) is int and 0 < value < MAX_TOKENS:
            return value
    return 0
