"""Event streams of OpenAI's chats and completions: bytes pass unchanged, a tap looks on."""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import BadReply, ProviderError, Usage
from runestone_sidecar.upstream.dialects.exact_json import decoded
from runestone_sidecar.upstream.dialects.openai_body import read_usage
from runestone_sidecar.upstream.dialects.provider_error import error_of, judges_request
from runestone_sidecar.upstream.dialects.tap import EVENT_ENDS, check_head
from runestone_sidecar.upstream.sse import Event, SSEParser, SSETooLargeError

# What a chunk must show to be worth parsing: a key of the tap's with a value that is not null. A
# key inside a string has its quotes escaped, so text that a model wrote cannot look like one.
tells: Final = re.compile(rb'"(?:finish_reason|usage|error)" *: *["{]').search


class OpenAIStream:
    """Hands on what it is fed, the same object, and parses only the chunks that tell something.

    `complete` comes with `[DONE]`, which many vendors leave out: then a clean end after a finish
    reason for every choice will do. `error` is what the provider reported inside the stream.
    """

    __slots__ = (
        "_finished",
        "_head",
        "_one_choice",
        "_parser",
        "_silent",
        "_started",
        "at_boundary",
        "complete",
        "error",
        "usage",
    )

    def __init__(self, *, one_choice: bool) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.at_boundary = True
        self.error: ProviderError | None = None
        self._parser = SSEParser()
        self._one_choice = one_choice
        self._head: bytes | None = b""  # until the first bytes were seen to be of such a stream
        self._silent = True  # nothing was handed on yet: another provider may still be asked
        self._started: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, data: bytes) -> bytes:
        if (
            self._one_choice
            and self.at_boundary
            and self._head is None
            and data.endswith(EVENT_ENDS)
            and not tells(data)
        ):
            return data
        self._read(data)
        self._silent = self._silent and not data
        return data

    def finish(self) -> bytes:
        if not self.complete:
            for _, event in self._parser.finish():
                self._see(event)
        if self.error is None and self._finished and self._finished >= self._started:
            self.complete = True
        if not self.complete:
            raise BadReply("the stream ended before the reply was whole")
        return b""

    def _read(self, data: bytes) -> None:
        self._check_head(data)
        self._see_events(data)

    def _check_head(self, data: bytes) -> None:
        if self._head is not None:
            self._head = check_head(self._head, data)

    def _see_events(self, data: bytes) -> list[Event]:
        try:
            events = self._parser.feed(data)
        except SSETooLargeError as error:
            raise BadReply(f"an event stream's {error.what} is too long") from error
        self.at_boundary = self._parser.at_boundary
        for _, event in events:
            self._see(event)
        return events

    def _see(self, event: bytes) -> None:
        if event.strip() == b"[DONE]":
            self.complete = self.error is None
        elif not self._one_choice or tells(event):
            try:
                chunk = decoded(event)
            except orjson.JSONDecodeError:
                raise BadReply("an event of the stream is not JSON") from None
            if isinstance(chunk, dict):
                self._see_chunk(chunk)

    def _see_chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            self._see_error(chunk)
        self.usage = read_usage(chunk.get("usage")) or self.usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                self._started.add(index)
                if choice.get("finish_reason"):
                    self._finished.add(index)

    def _see_error(self, chunk: dict[str, Any]) -> None:
        error = error_of(chunk, status=502)
        if self._silent and not judges_request(error):
            raise BadReply("the stream began with an error")
        self.error = error
        self.complete = False
