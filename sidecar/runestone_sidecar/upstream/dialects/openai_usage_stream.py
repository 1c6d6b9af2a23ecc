"""A passing stream that was asked for its usage by us: what tells the usage alone is taken out."""

import re
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import AsksUsage, BadReply, Request
from runestone_sidecar.upstream.dialects.openai_stream import OpenAIStream, tells
from runestone_sidecar.upstream.dialects.tap import EVENT_ENDS

MAX_HELD_BYTES: Final = 16 * 1024  # an event that tells nothing but usage is far shorter

_blank_lines: Final = re.compile(rb"\n\r?\n|\r\r\n?").finditer


def stream_of(request: Request, *, one_choice: bool) -> OpenAIStream:
    if request.asks_usage is AsksUsage.GATEWAY:
        return UsageStream(one_choice=one_choice)
    return OpenAIStream(one_choice=one_choice)


class UsageStream(OpenAIStream):
    """Hands on all but the chunks that have a usage and no choices.

    What such a chunk may be the start of is held until the event ends; a longer one goes on as it
    comes. A read of whole ordinary events is handed on as it is, the same object.
    """

    __slots__ = ("_held", "_is_usage")

    def __init__(self, *, one_choice: bool) -> None:
        super().__init__(one_choice=one_choice)
        self._held = b""
        self._is_usage = False  # the event seen last

    def feed(self, data: bytes) -> bytes:
        if (
            self._one_choice
            and self.at_boundary
            and not self._held
            and self._head is None
            and data.endswith(EVENT_ENDS)
            and not tells(data)
        ):
            return data
        self._check_head(data)
        start, said = 0, []
        searched, data = len(self._held), self._held + data
        for blank in _blank_lines(data, max(0, searched - 2)):
            said.append(self._without_usage(data[start : blank.end()]))
            start = blank.end()
        rest = data[start:]
        if rest and (len(rest) > MAX_HELD_BYTES or not self.at_boundary):
            self._see_events(rest)
            said.append(rest)
            rest = b""
        self._held = rest
        out = b"".join(said)
        self._silent = self._silent and not out
        return out

    def finish(self) -> bytes:
        held, told, at_boundary = self._held, self.error, self.at_boundary
        self._held, self._is_usage = b"", False
        try:
            self._see_events(held)
            super().finish()
        except BadReply:  # and what is held does not go out: the client is told by us
            self.error, self.at_boundary = told, at_boundary
            raise
        return b"" if self._is_usage else held

    def _without_usage(self, block: bytes) -> bytes:
        """Of the bytes up to a blank line, those that are the client's."""
        begun, self._is_usage = not self.at_boundary, False
        events = self._see_events(block)
        return b"" if self._is_usage and len(events) == 1 and not begun else block

    def _see_chunk(self, chunk: dict[str, Any]) -> None:
        super()._see_chunk(chunk)
        self._is_usage = (
            isinstance(chunk.get("usage"), dict)
            and not chunk.get("choices")
            and not chunk.get("error")
        )
