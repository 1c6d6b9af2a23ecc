"""The items of a streamed response while they are open: each says its own events.

An item is announced when its first piece comes and ends with `close`, which gives the whole of it.
"""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.surfaces.responses_events import Events, delta_opening
from runestone_sidecar.upstream.surfaces.responses_items import (
    NO_ARGUMENTS,
    call_item,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)
from runestone_sidecar.upstream.surfaces.responses_object import COMPLETED
from runestone_sidecar.upstream.surfaces.responses_seal import sealed

_Json = dict[str, Any]

_NO_LOGPROBS: Final = b',"logprobs":[]'
_IN_PROGRESS: Final = "in_progress"


class OpenItem:
    """Says nothing by itself: `open` comes first, `close` last."""

    __slots__ = ("_events", "id", "index")

    def __init__(self, events: Events, id_: str, index: int) -> None:
        self._events = events
        self.id = id_
        self.index = index  # the place in the response's output

    def open(self) -> bytes:
        raise NotImplementedError

    def close(self, status: str) -> tuple[bytes, _Json]:
        """The last events, and the whole item."""
        raise NotImplementedError

    def _added(self, item: _Json) -> bytes:
        return self._events.event("response.output_item.added", output_index=self.index, item=item)

    def _done(self, item: _Json) -> bytes:
        return self._events.event("response.output_item.done", output_index=self.index, item=item)

    def _at(self, **more: int) -> _Json:
        return {"item_id": self.id, "output_index": self.index, **more}


class OpenMessage(OpenItem):
    """Parts one after another: text, and what the model says instead of one that it refuses."""

    __slots__ = ("_kind", "_logprobs", "_opening", "_parts", "_pieces")

    def __init__(self, events: Events, id_: str, index: int) -> None:
        super().__init__(events, id_, index)
        self._parts: list[_Json] = []
        self._kind: str | None = None  # of the part that is open
        self._opening = b""
        self._pieces: list[str] = []
        self._logprobs: list[Any] = []

    def open(self) -> bytes:
        return self._added(message_item(self.id, [], _IN_PROGRESS))

    def text(self, text: str, logprobs: list[Any]) -> bytes:
        opened = b"" if self._kind == "output_text" else self._open_part("output_text")
        self._pieces.append(text)
        if not logprobs:
            return opened + self._events.delta(self._opening, text, _NO_LOGPROBS)
        self._logprobs += logprobs
        at = self._at(content_index=len(self._parts))
        kind = "response.output_text.delta"
        return opened + self._events.event(kind, **at, delta=text, logprobs=logprobs)

    def refusal(self, text: str) -> bytes:
        opened = b"" if self._kind == "refusal" else self._open_part("refusal")
        self._pieces.append(text)
        return opened + self._events.delta(self._opening, text, b"")

    def close(self, status: str) -> tuple[bytes, _Json]:
        closed = self._close_part()
        item = message_item(self.id, self._parts, status)
        return closed + self._done(item), item

    def _open_part(self, kind: str) -> bytes:
        closed = self._close_part()
        self._kind = kind
        at = self._at(content_index=len(self._parts))
        self._opening = delta_opening(f"response.{kind}.delta", **at)
        part = self._part("")
        return closed + self._events.event("response.content_part.added", **at, part=part)

    def _close_part(self) -> bytes:
        if self._kind is None:
            return b""
        at = self._at(content_index=len(self._parts))
        text = "".join(self._pieces)
        part = self._part(text)
        if self._kind == "refusal":
            done = self._events.event("response.refusal.done", **at, refusal=text)
        else:
            logprobs = self._logprobs
            kind = "response.output_text.done"
            done = self._events.event(kind, **at, text=text, logprobs=logprobs)
        self._parts.append(part)
        self._kind, self._pieces, self._logprobs = None, [], []
        return done + self._events.event("response.content_part.done", **at, part=part)

    def _part(self, text: str) -> _Json:
        return refusal_part(text) if self._kind == "refusal" else text_part(text, self._logprobs)


class OpenReasoning(OpenItem):
    """A thinking block, shown as a summary and sealed at the end; or plain reasoning, as text."""

    __slots__ = ("_block", "_opening", "_pieces", "block_index")

    def __init__(
        self, events: Events, id_: str, index: int, *, block_index: int | None = None
    ) -> None:
        super().__init__(events, id_, index)
        self.block_index = block_index  # of the thinking blocks; None: plain reasoning
        self._block: _Json = {}
        self._opening = b""
        self._pieces: list[str] = []

    def open(self) -> bytes:
        return self._added(reasoning_item(self.id))

    def takes(self, piece: Mapping[str, Any]) -> bool:
        """Whether this is a piece of the block; of those without an index a signature ends one."""
        if self.block_index != piece.get("index", 0):
            return False
        return not (piece.get("thinking") and "signature" in self._block)

    def block(self, piece: Mapping[str, Any], text: str) -> bytes:
        """A piece of the thinking block, with the text of it; the rest comes at once."""
        for name in ("type", "signature", "data"):
            if isinstance(value := piece.get(name), str):
                self._block[name] = value
        return self.text(text) if text else b""

    def text(self, text: str) -> bytes:
        opened = b"" if self._opening else self._open_part()
        self._pieces.append(text)
        return opened + self._events.delta(self._opening, text, b"")

    def close(self, status: str) -> tuple[bytes, _Json]:
        text = "".join(self._pieces)
        closed = self._close_part(text) if self._opening else b""
        if self.block_index is None:
            item = reasoning_item(self.id, text=text)
        else:
            seal = sealed({"type": "thinking", **self._block, "thinking": text})
            item = reasoning_item(self.id, summary=text, seal=seal)
        return closed + self._done(item), item

    def _open_part(self) -> bytes:
        if self.block_index is None:
            at = self._at(content_index=0)
            kind, delta = "response.content_part.added", "response.reasoning_text.delta"
        else:
            at = self._at(summary_index=0)
            kind = "response.reasoning_summary_part.added"
            delta = "response.reasoning_summary_text.delta"
        self._opening = delta_opening(delta, **at)
        return self._events.event(kind, **at, part=self._part(""))

    def _close_part(self, text: str) -> bytes:
        part, event = self._part(text), self._events.event
        if self.block_index is None:
            at = self._at(content_index=0)
            done = event("response.reasoning_text.done", **at, text=text)
            return done + event("response.content_part.done", **at, part=part)
        at = self._at(summary_index=0)
        done = event("response.reasoning_summary_text.done", **at, text=text)
        return done + event("response.reasoning_summary_part.done", **at, part=part)

    def _part(self, text: str) -> _Json:
        return {
            "type": "reasoning_text" if self.block_index is None else "summary_text",
            "text": text,
        }


class OpenCall(OpenItem):
    __slots__ = ("_name", "_opening", "_pieces", "call_id")

    def __init__(self, events: Events, id_: str, index: int, *, call_id: str, name: str) -> None:
        super().__init__(events, id_, index)
        self.call_id = call_id
        self._name = name
        self._opening = delta_opening("response.function_call_arguments.delta", **self._at())
        self._pieces: list[str] = []

    def open(self) -> bytes:
        return self._added(self._item("", _IN_PROGRESS))

    def arguments(self, text: str) -> bytes:
        self._pieces.append(text)
        return self._events.delta(self._opening, text, b"")

    def close(self, status: str) -> tuple[bytes, _Json]:
        arguments = "".join(self._pieces)
        said = b""
        if not arguments and status == COMPLETED:
            said, arguments = self.arguments(NO_ARGUMENTS), NO_ARGUMENTS
        kind = "response.function_call_arguments.done"
        done = said + self._events.event(kind, **self._at(), name=self._name, arguments=arguments)
        item = self._item(arguments, status)
        return done + self._done(item), item

    def _item(self, arguments: str, status: str) -> _Json:
        return call_item(
            self.id, call_id=self.call_id, name=self._name, arguments=arguments, status=status
        )
