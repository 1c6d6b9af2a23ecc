"""A streamed OpenAI chat as the events of a streamed message.

Only one content block is open at a time, while a chat may mix the pieces of several calls: the
pieces of later blocks wait until the open one can get no more. What follows from the finish reason
is said at the end, after the usage, which a chat tells last.
"""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.dialects.base import BadReply, Miswritten, Request
from runestone_sidecar.upstream.surfaces.messages_envelope import error_event
from runestone_sidecar.upstream.surfaces.messages_events import (
    Block,
    Call,
    Redacted,
    Text,
    Thought,
    event,
)
from runestone_sidecar.upstream.surfaces.messages_reply import (
    TEXT,
    Stop,
    call_id,
    closing,
    opening,
    refusal_of,
    said_in,
    stop_of,
    usage_of,
    written_of,
)

_MAX_BLOCKS: Final = 1_024
_MAX_BLANK_CHARS: Final = 1_024  # before they are a text after all
_MAX_HELD_CHARS: Final = 8 * 1024 * 1024  # of arguments, and of what waits


class MessagesSink:
    __slots__ = (
        "_block_count",
        "_blank",
        "_calls",
        "_choice",
        "_held_chars",
        "_is_started",
        "_queue",
        "_refusal",
        "_request",
        "_usage",
        "_was_answered",
    )

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_started = False
        self._block_count = 0
        self._queue: list[Block] = []  # the first one is open, the others wait
        self._calls: dict[int, Call] = {}  # by the chat's index
        self._blank = ""  # text that shows nothing yet
        self._refusal: list[str] = []
        self._was_answered = False  # by text or a call
        self._held_chars = 0
        self._choice: Mapping[str, Any] = {}  # the one with the finish reason
        self._usage: Any = None

    def feed(self, chunk: Mapping[str, Any]) -> bytes:
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            return b""
        delta = choice.get("delta")
        if choice.get("finish_reason"):
            self._choice = choice
        if not isinstance(delta, dict):
            delta = {}
        if len(delta) == 1 and len(self._queue) == 1:
            text, block = delta.get("content"), self._queue[0]
            if text.__class__ is str and block.__class__ is Text:  # nearly all chunks
                return block.say(text) if text else b""
        out: list[bytes] = []
        if not self._is_started:
            out.append(self._start(chunk))
        self._take(delta, out)
        return b"".join(out)

    def finish(self) -> bytes:
        refusal = "".join(self._refusal)
        if not self._is_started:
            raise BadReply("the stream ended before it began")
        stop = stop_of(
            self._request, self._choice, has_calls=bool(self._calls), refused=bool(refusal)
        )
        out: list[bytes] = []
        if refusal and not self._was_answered:
            self._take_text(refusal, out)
        while self._queue:
            self._end_first(stop, out)
        last = {
            "type": "message_delta",
            "delta": closing(stop, refusal),
            "usage": usage_of(self._usage),
        }
        out.append(event(b"message_delta", last))
        out.append(event(b"message_stop", {"type": "message_stop"}))
        return b"".join(out)

    def error_frame(self, error: GatewayError) -> bytes:
        return error_event(error)

    def _start(self, chunk: Mapping[str, Any]) -> bytes:
        self._is_started = True
        message = {
            **opening(self._request, chunk),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(None),  # told with the last event
        }
        return event(b"message_start", {"type": "message_start", "message": message})

    def _take(self, delta: Mapping[str, Any], out: list[bytes]) -> None:
        signed = delta.get("thinking_blocks")
        if isinstance(signed, list):
            for piece in signed:
                self._take_signed(piece, out)
        for kind, text in said_in(delta):
            if kind is TEXT:
                self._take_text(text, out)
            elif not signed:
                self._say(self._thought(None, out), text, out)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                self._take_call(call, out)
        if refusal := refusal_of(delta):
            self._hold(refusal)
            self._refusal.append(refusal)

    def _take_signed(self, piece: Any, out: list[bytes]) -> None:
        match piece:
            case {"type": "redacted_thinking", "data": str() as data}:
                self._begin(Redacted(self._block_count, data), out)
            case {"index": int() as key}:
                block = self._thought(key, out)
                if isinstance(text := piece.get("thinking"), str) and text:
                    self._say(block, text, out)
                if isinstance(signature := piece.get("signature"), str) and signature:
                    out.append(block.sign(signature))
            case _:
                raise BadReply("a thinking block of the stream is malformed")

    def _thought(self, key: int | None, out: list[bytes]) -> Thought:
        newest = self._queue[-1] if self._queue else None
        if isinstance(newest, Thought) and newest.key == key:
            return newest
        block = Thought(self._block_count, key)
        self._begin(block, out)
        return block

    def _take_text(self, text: str, out: list[bytes]) -> None:
        newest = self._queue[-1] if self._queue else None
        if not isinstance(newest, Text):
            self._blank += text
            if len(self._blank) < _MAX_BLANK_CHARS and not self._blank.strip():
                return
            text, self._blank = self._blank, ""
            newest = Text(self._block_count)
            self._was_answered = True
            self._begin(newest, out)
        self._say(newest, text, out)

    def _take_call(self, piece: Any, out: list[bytes]) -> None:
        function = piece.get("function") if isinstance(piece, dict) else None
        if not isinstance(function, dict):
            raise BadReply("a tool call of the stream is malformed")
        call = self._call_of(piece, function, out)
        text = written_of(function)
        if not text or (call.is_ended and text.isspace()):
            return
        if call.is_ended:
            raise BadReply("a tool call of the stream goes on after its end")
        self._say(call, text, out)

    def _call_of(
        self, piece: Mapping[str, Any], function: Mapping[str, Any], out: list[bytes]
    ) -> Call:
        """Some vendors leave the index out or say 0 for every call: then the id tells."""
        name, identifier = function.get("name"), piece.get("id")
        index = piece.get("index")
        if not isinstance(index, int):
            index = len(self._calls) if name else len(self._calls) - 1
        call = self._calls.get(index)
        if call is not None and name and identifier and identifier != call.id:
            index, call = max(self._calls) + 1, None
        if call is not None:
            return call
        if not isinstance(name, str):
            raise BadReply("a tool call of the stream has no name")
        if not name:
            raise Miswritten("a tool call of the stream has an empty name")
        number = len(self._calls)
        call = Call(self._block_count, call_id(self._request, identifier, number), name)
        self._calls[index] = call
        self._was_answered = True
        self._begin(call, out)
        return call

    def _begin(self, block: Block, out: list[bytes]) -> None:
        if self._block_count >= _MAX_BLOCKS:
            raise Miswritten("the stream has too many blocks")
        self._block_count += 1
        self._queue.append(block)
        while len(self._queue) > 1 and self._queue[0].is_over:
            self._end_first(None, out)
        if not self._queue[0].is_open:
            out.append(self._queue[0].open())

    def _say(self, block: Block, text: str, out: list[bytes]) -> None:
        if not block.is_open or isinstance(block, Call):
            self._hold(text)
        out.append(block.say(text))

    def _end_first(self, stop: Stop | None, out: list[bytes]) -> None:
        block = self._queue.pop(0)
        if not block.is_open:
            out.append(block.open())
        out.append(block.end(stop))

    def _hold(self, text: str) -> None:
        self._held_chars += len(text)
        if self._held_chars > _MAX_HELD_CHARS:
            raise Miswritten("a block of the stream is too long to be held")
