"""The events of each content block of a streamed message; one that waits keeps what it is told."""

import re
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import Miswritten
from runestone_sidecar.upstream.dialects.exact_json import with_whole_pairs
from runestone_sidecar.upstream.surfaces.messages_reply import Stop, arguments_of

_MAX_LEAD_CHARS: Final = 16  # before it must show whether the arguments are an object
# Every escape, so that a backslash which is one itself begins none; the group is one at the end
# that is cut, or the first half of a pair.
_escapes: Final = re.compile(
    r"((?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z)|\\(?:u[0-9a-fA-F]{4}|.)",
    re.DOTALL,
).finditer


class Block:
    __slots__ = ("_held", "_index", "_start", "is_open")

    def __init__(self, index: int, start: dict[str, Any]) -> None:
        self.is_open = False
        self._index = index
        self._start = start
        self._held: list[str] = []

    @property
    def is_over(self) -> bool:
        """It can get no more once another block has begun."""
        return True

    def open(self) -> bytes:
        self.is_open = True
        fields = {"type": "content_block_start", "index": self._index, "content_block": self._start}
        start = event(b"content_block_start", fields)
        text = "".join(self._held)
        self._held.clear()
        return start + self.say(text) if text else start

    def say(self, text: str) -> bytes:
        if self.is_open:
            return self._delta(text)
        self._held.append(text)
        return b""

    def end(self, stop: Stop | None) -> bytes:
        """`stop`: of the message, where that is at its end. Raises BadReply."""
        fields = {"type": "content_block_stop", "index": self._index}
        return event(b"content_block_stop", fields)

    def _delta(self, text: str) -> bytes:
        raise NotImplementedError


class Text(Block):
    """`before` and AFTER are what stands around the text of a delta: nearly all events are one."""

    __slots__ = ("before",)

    AFTER: Final = b"}}\n\n"

    def __init__(self, index: int) -> None:
        super().__init__(index, {"type": "text", "text": ""})
        self.before = (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":' % index
        )

    def _delta(self, text: str) -> bytes:
        return self.before + orjson.dumps(text) + self.AFTER


class Thought(Block):
    __slots__ = ("_signature", "key")

    def __init__(self, index: int, key: Any) -> None:
        super().__init__(index, {"type": "thinking", "thinking": "", "signature": ""})
        self.key = key  # by which the chat tells one from the other
        self._signature = ""

    def sign(self, signature: str) -> bytes:
        if self.is_open:
            return delta(self._index, {"type": "signature_delta", "signature": signature})
        self._signature += signature
        return b""

    def open(self) -> bytes:
        opened = super().open()
        return opened + self.sign(self._signature) if self._signature else opened

    def _delta(self, text: str) -> bytes:
        return delta(self._index, {"type": "thinking_delta", "thinking": text})


class Redacted(Block):
    __slots__ = ()

    def __init__(self, index: int, data: str) -> None:
        super().__init__(index, {"type": "redacted_thinking", "data": data})


class Call(Block):
    """Keeps all of the arguments, to see when they are whole and whether they are an object."""

    __slots__ = ("_arguments", "_escape", "_flows", "_sent", "id", "is_ended")

    def __init__(self, index: int, identifier: str, name: str) -> None:
        super().__init__(index, {"type": "tool_use", "id": identifier, "name": name, "input": {}})
        self.id = identifier
        self.is_ended = False
        self._arguments: list[str] = []
        self._sent = 0  # how many of them
        self._flows = False
        self._escape = ""  # of what comes next: it may go on

    @property
    def is_over(self) -> bool:
        return self._flows and arguments_of("".join(self._arguments)) is not None

    def open(self) -> bytes:
        return super().open() + self._flow()

    def say(self, text: str) -> bytes:
        self._arguments.append(text)
        return self._flow() if self.is_open else b""

    def end(self, stop: Stop | None) -> bytes:
        self.is_ended = True
        is_cut = stop is not None and stop.is_cut
        if not is_cut and arguments_of("".join(self._arguments)) is None:
            raise Miswritten("the arguments of a tool call are not a JSON object")
        rest, self._escape = _whole(self._escape), ""  # of a call that was cut
        return self._delta(rest) + super().end(stop)

    def _flow(self) -> bytes:
        unsent = "".join(self._arguments[self._sent :])
        if not self._flows:
            unsent = unsent.lstrip()
            if not unsent.startswith("{"):
                if len(unsent) > _MAX_LEAD_CHARS:
                    raise Miswritten("the arguments of a tool call are not a JSON object")
                return b""  # nothing yet, or a `null` that stands for none
            self._flows = True
        self._sent = len(self._arguments)
        if self._escape or "\\" in unsent:
            unsent, self._escape = _parted(self._escape + unsent)
        return self._delta(unsent)

    def _delta(self, text: str) -> bytes:
        if not text:
            return b""
        return delta(self._index, {"type": "input_json_delta", "partial_json": text})


def _parted(text: str) -> tuple[str, str]:
    """JSON without halves of surrogate pairs, and an escape at its end that may yet be whole."""
    found = (each.start() for each in _escapes(text) if each[1] is not None)
    end = next(found, len(text))
    return _whole(text[:end]), text[end:]


def _whole(text: str) -> str:
    return with_whole_pairs(text.encode()).decode()


def event(name: bytes, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, orjson.dumps(fields))


def delta(index: int, fields: dict[str, Any]) -> bytes:
    return event(
        b"content_block_delta", {"type": "content_block_delta", "index": index, "delta": fields}
    )
