"""OpenAI's Responses API, natively: bytes pass unchanged, a tap looks for the end and the usage."""

import re
from dataclasses import replace
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import (
    MAX_TOKENS,
    BadReply,
    ModelTarget,
    Rendered,
    Reply,
    Request,
    Usage,
)
from runestone_sidecar.upstream.dialects.openai_stream import OpenAIStream
from runestone_sidecar.upstream.dialects.provider_error import error_of, judges_request
from runestone_sidecar.upstream.dialects.splice import body_with_model
from runestone_sidecar.upstream.dialects.tap import EVENT_ENDS

SEAL: Final = "runestone.thinking."  # how what we sealed ourselves begins, of any version
_PATH: Final = b"/responses"
_FAILED: Final = "response.failed"
_LAST: Final = frozenset(
    {"response.completed", "response.incomplete", _FAILED, "response.cancelled"}
)
# What an event must show to be worth parsing. A key inside a string has its quotes escaped, so
# text that a model wrote cannot look like one.
_tells: Final = re.compile(
    rb'"type" *: *"(?:error|response\.(?:completed|incomplete|failed|cancelled))"'
    rb'|"error" *: *["{]'
).search


class Responses:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        given = request.body.get("input")
        if isinstance(given, list) and any(map(_is_ours, given)):
            said = [item for item in given if not _is_ours(item)]
            request = replace(request, body={**request.body, "input": said}, raw=b"")
        return Rendered(_PATH, body_with_model(request, target), request.headers)

    def read(self, request: Request, body: bytes) -> Reply:
        """One that failed, or is to be waited for (`background`), is a reply as well."""
        try:
            reply = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise BadReply("the reply is not JSON") from None
        if not isinstance(reply, dict) or not isinstance(reply.get("output"), list):
            raise BadReply("the reply has no output")
        return Reply(body=body, usage=read_usage(reply.get("usage")))

    def stream(self, request: Request) -> "ResponsesStream":
        return ResponsesStream()


def _is_ours(item: Any) -> bool:
    """Reasoning of another provider's model, which we sealed: OpenAI refuses what it cannot open,
    and would learn nothing of it."""
    match item:
        case {"type": "reasoning", "encrypted_content": str() as sealed}:
            return sealed.startswith(SEAL)
        case _:
            return False


class ResponsesStream(OpenAIStream):
    """Hands on what it is fed, the same object, and parses only the events that tell something.

    `complete` comes with the event that holds the final response, be it a failed one.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(one_choice=True)

    def feed(self, data: bytes) -> bytes:
        if (
            self.at_boundary
            and self._head is None
            and data.endswith(EVENT_ENDS)
            and not _tells(data)
        ):
            return data
        self._read(data)
        self._silent = self._silent and not data
        return data

    def _see(self, event: bytes) -> None:
        if not _tells(event):
            return
        try:
            told = orjson.loads(event)
        except orjson.JSONDecodeError:
            raise BadReply("an event of the stream is not JSON") from None
        if not isinstance(told, dict):
            return
        kind = told.get("type")
        if kind in _LAST:
            self._see_last(told)
        elif kind == "error" or (kind is None and told.get("error")):
            # The error stands in an object, as OpenAI sends it, or in the event, as it documents.
            self._see_error({"error": told.get("error") or {**told, "type": None}})

    def _see_last(self, event: dict[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            raise BadReply("the last event of the stream has no response")
        self.usage = read_usage(response.get("usage"))
        if event["type"] == _FAILED:
            error = error_of({"error": response.get("error")}, status=502)
            if self._silent and not judges_request(error):
                raise BadReply("the stream began with a failure")
            self.error = error
        self.complete = True


def read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        cached_input_tokens=_count(usage.get("input_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("output_tokens_details"), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and 0 < value < MAX_TOKENS else 0
