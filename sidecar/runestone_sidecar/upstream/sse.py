"""Reads a byte stream of server-sent events, whatever pieces it comes in, with bounded memory.

Knows the framing of the WHATWG specification and nothing of what the events mean.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
MAX_EVENT_BYTES: Final = 2 * MAX_LINE_BYTES

_BOM: Final = b"\xef\xbb\xbf"
_plain_event: Final = re.compile(rb"(?:event: ([^\r\n]*)\n)?data: ([^\r\n]*)\n\n").match

Event = tuple[bytes, bytes]  # (name, data); the name is empty where none was sent


@dataclass
class SSETooLargeError(Exception):
    what: str  # "line" or "event"
    limit_bytes: int


class SSEParser:
    """Feed it bytes, get the events that they completed.

    `at_boundary`: all that was fed so far ends between two events, so foreign lines may follow.
    """

    __slots__ = (
        "_data",
        "_head",
        "_held",
        "_name",
        "_skip_newline",
        "at_boundary",
    )

    def __init__(self) -> None:
        self.at_boundary = True
        self._head: bytes | None = b""  # the start of the stream, while it may still be a BOM
        self._held = bytearray()  # a line that has not ended
        self._skip_newline = False  # the last feed ended in CR: a LF now belongs to it
        self._name = b""
        self._data = bytearray()  # each line of it ends in LF, as the specification has it

    def feed(self, data: bytes) -> list[Event]:
        """Raises SSETooLargeError."""
        if self._head is not None:
            data = self._without_bom(data)
        if self._skip_newline and data:
            self._skip_newline = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []
        events: list[Event] = []
        start, end = 0, len(data)
        if self.at_boundary and end <= MAX_LINE_BYTES:
            # What nearly every feed of a real provider is: complete events of one data line.
            while start < end and (plain := _plain_event(data, start)):
                events.append((plain[1] or b"", plain[2]))
                start = plain.end()
            if start == end:
                return events
        self._lines(data[start:], events)
        return events

    def finish(self) -> list[Event]:
        """The event that a missing last blank line left open, if there is one."""
        events: list[Event] = []
        if self._head:
            self._held += self._head
        self._head = None
        if self._held:
            self._line(self._joined(b""), events)
        self._line(b"", events)
        return events

    def _lines(self, data: bytes, events: list[Event]) -> None:
        if b"\r" in data:
            self._skip_newline = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._joined(lines[0])
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                raise SSETooLargeError("line", MAX_LINE_BYTES)
            self._line(line, events)
        if rest:
            self._hold(rest)

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
            return
        self.at_boundary = False
        field, _, value = line.partition(b":")  # a line without a colon is a field without value
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data += value
            self._data += b"\n"
            if len(self._data) > MAX_EVENT_BYTES:
                raise SSETooLargeError("event", MAX_EVENT_BYTES)
        elif field == b"event":
            self._name = value
        # Comments, ids, retry times and unknown fields say nothing that we use.

    def _dispatch(self, events: list[Event]) -> None:
        self.at_boundary = True
        if self._data:
            del self._data[-1]
            events.append((self._name, bytes(self._data)))
            self._data.clear()
        self._name = b""

    def _hold(self, piece: bytes) -> None:
        self.at_boundary = False
        self._held += piece
        if len(self._held) > MAX_LINE_BYTES:
            raise SSETooLargeError("line", MAX_LINE_BYTES)

    def _joined(self, end: bytes) -> bytes:
        if not self._held:
            return end
        self._held += end
        line = bytes(self._held)
        self._held.clear()
        return line

    def _without_bom(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)


def is_event_stream(content_type: bytes) -> bool:
    return content_type.lower().startswith(b"text/event-stream")
