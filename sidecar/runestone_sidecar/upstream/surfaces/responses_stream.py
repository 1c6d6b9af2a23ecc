"""A streamed chat as the events of a streamed response.

What comes decides what is open: reasoning and text end when something else begins; calls stay open
until the chat has finished, since vendors may send them interleaved. The last event waits for the
chat's end, because the usage may come after the finish reason.
"""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.dialects.base import BadReply, Request
from runestone_sidecar.upstream.surfaces.responses_events import Events
from runestone_sidecar.upstream.surfaces.responses_items import logprobs_of, reasoning_text
from runestone_sidecar.upstream.surfaces.responses_object import (
    COMPLETED,
    Ending,
    Ids,
    ending_of,
    response_object,
)
from runestone_sidecar.upstream.surfaces.responses_open import (
    OpenCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
)

MAX_ITEMS: Final = 1_024
MAX_CHARS: Final = 4 * 1024 * 1024  # of text that is kept for the last event

_Json = dict[str, Any]


class ResponsesSink:
    __slots__ = (
        "_calls",
        "_chars",
        "_ending",
        "_events",
        "_ids",
        "_open",
        "_output",
        "_request",
        "_told",
    )

    def __init__(self, request: Request) -> None:
        self._request = request
        self._events = Events()
        self._ids: Ids | None = None  # from the first chunk on
        self._open: OpenMessage | OpenReasoning | None = None
        self._calls: dict[int, OpenCall] = {}  # by the chat's index
        self._output: list[_Json] = []  # an empty one stands for an item that is open
        self._ending: Ending | None = None
        self._told: _Json = {}  # besides the message: usage, service_tier
        self._chars = 0

    def feed(self, chunk: Mapping[str, Any]) -> bytes:
        for name in ("usage", "service_tier"):
            if chunk.get(name) is not None:
                self._told[name] = chunk[name]
        match chunk.get("choices"):
            case [dict() as choice, *_]:
                return self._take(chunk, choice)
            case [] | None:
                return b""  # of usage, or what vendors add: Azure's first is of its filter
            case _:
                raise BadReply("a chunk has malformed choices")

    def finish(self) -> bytes:
        if self._ending is None:
            raise BadReply("the chat has no finish reason")
        said: list[bytes] = []
        self._close_all(self._ending, said)
        kind = f"response.{self._ending.status}"
        said.append(self._events.event(kind, response=self._response()))
        return b"".join(said)

    def error_frame(self, error: GatewayError) -> bytes:
        return self._events.error(error)

    def _take(self, chunk: Mapping[str, Any], choice: _Json) -> bytes:
        delta = choice.get("delta")
        if delta is None:
            delta = {}  # Azure's filter tells so how far it got, and what it found
        if not isinstance(delta, dict):
            raise BadReply("a chunk has a malformed delta")
        said: list[bytes] = []
        if self._ids is None:
            self._begin(chunk, said)
        self._say(delta, choice, said)
        return b"".join(said)

    def _begin(self, chunk: Mapping[str, Any], said: list[bytes]) -> None:
        self._ids = Ids(self._request, chunk.get("id"))
        response = self._response()
        said.append(self._events.event("response.created", response=response))
        said.append(self._events.event("response.in_progress", response=response))

    def _response(self) -> _Json:
        assert self._ids is not None
        return response_object(
            self._request, self._ids, self._output, ending=self._ending, chat=self._told
        )

    def _say(self, delta: _Json, choice: _Json, said: list[bytes]) -> None:
        if delta.get("thinking_blocks"):
            for piece in _objects(delta, "thinking_blocks"):
                self._think(piece, said)
        elif text := reasoning_text(delta):
            said.append(self._reasoning(None, said).text(self._kept(text)))
        if text := _text(delta, "content"):
            logprobs = logprobs_of(choice.get("logprobs"))
            said.append(self._message(said).text(self._kept(text), logprobs))
        if text := _text(delta, "refusal"):
            said.append(self._message(said).refusal(self._kept(text)))
        if delta.get("tool_calls"):
            for piece in _objects(delta, "tool_calls"):
                self._call(piece, said)
        if choice.get("finish_reason") and self._ending is None:
            self._ending = ending_of(choice["finish_reason"])
            self._close_all(self._ending, said)

    def _think(self, piece: _Json, said: list[bytes]) -> None:
        text = self._kept(_text(piece, "thinking"))
        if not isinstance(self._open, OpenReasoning) or not self._open.takes(piece):
            if not text and not piece.get("type"):
                return  # the rest of a block that has ended
            self._reasoning(piece.get("index", 0), said, anew=True)
        assert isinstance(self._open, OpenReasoning)
        said.append(self._open.block(piece, text))

    def _reasoning(
        self, block_index: int | None, said: list[bytes], *, anew: bool = False
    ) -> OpenReasoning:
        item = self._open
        if anew or not isinstance(item, OpenReasoning) or item.block_index != block_index:
            id_, index = self._next_item("rs")
            item = OpenReasoning(self._events, id_, index, block_index=block_index)
            self._start(item, said)
            self._open = item
        return item

    def _message(self, said: list[bytes]) -> OpenMessage:
        item = self._open
        if not isinstance(item, OpenMessage):
            id_, index = self._next_item("msg")
            item = OpenMessage(self._events, id_, index)
            self._start(item, said)
            self._open = item
        return item

    def _call(self, piece: _Json, said: list[bytes]) -> None:
        function = piece.get("function") or {}
        if not isinstance(function, dict):
            raise BadReply("a tool call is malformed")
        name, call_id = _text(function, "name"), _text(piece, "id")
        index = piece.get("index")
        if not isinstance(index, int):  # one vendor gives none, and each call whole
            index = len(self._calls) if name else len(self._calls) - 1
        call = self._calls.get(index)
        if call is None or (name and call_id not in ("", call.call_id)):
            if call is not None:  # another one gives all calls the same index
                self._close(self._calls.pop(index), COMPLETED, said)
            call = self._calls[index] = self._start_call(name, call_id, said)
        if arguments := _text(function, "arguments"):
            said.append(call.arguments(self._kept(arguments)))

    def _start_call(self, name: str, call_id: str, said: list[bytes]) -> OpenCall:
        if not name:
            raise BadReply("a tool call has no name")
        assert self._ids is not None
        id_, index = self._next_item("fc")
        call_id = call_id or self._ids.item("call", index)
        call = OpenCall(self._events, id_, index, call_id=call_id, name=name)
        self._start(call, said)
        return call

    def _next_item(self, prefix: str) -> tuple[str, int]:
        assert self._ids is not None
        index = len(self._output)
        if index == MAX_ITEMS:
            raise BadReply("the reply has too many items")
        return self._ids.item(prefix, index), index

    def _start(self, item: OpenItem, said: list[bytes]) -> None:
        if self._open is not None:
            self._close(self._open, COMPLETED, said)
            self._open = None
        self._output.append({})
        said.append(item.open())

    def _close(self, item: OpenItem, status: str, said: list[bytes]) -> None:
        events, self._output[item.index] = item.close(status)
        said.append(events)

    def _close_all(self, ending: Ending, said: list[bytes]) -> None:
        items: list[OpenItem] = [*self._calls.values()]  # in the order of their places
        if self._open is not None:
            items.append(self._open)
        for item in items:
            is_last = item.index == len(self._output) - 1
            self._close(item, ending.status if is_last else COMPLETED, said)
        self._calls.clear()
        self._open = None

    def _kept(self, text: str) -> str:
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise BadReply("the reply is too long")
        return text


def _objects(delta: _Json, name: str) -> list[_Json]:
    pieces = delta[name]
    if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
        raise BadReply(f"a chunk has malformed {name}")
    return pieces


def _text(fields: _Json, name: str) -> str:
    text = fields.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise BadReply(f"a chunk has a malformed {name}")
    return text
