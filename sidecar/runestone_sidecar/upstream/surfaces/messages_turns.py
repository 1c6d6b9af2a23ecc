"""The turns of a Messages request as the messages of an OpenAI chat.

Vendors take content as a string more widely than in parts, so text alone is a string.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import within
from runestone_sidecar.upstream.surfaces.messages_blocks import (
    Block,
    Part,
    blocks_of,
    joined,
    part_of,
    string_of,
    text_only,
    text_part,
    unsupported,
)

Message = dict[str, Any]

_ERROR: Final = "Error"  # a chat has no other way to say it


def chat_messages(body: Mapping[str, Any]) -> list[Message]:
    """Raises Untranslatable."""
    said = [message for message, _ in _said(body)]
    messages = body["messages"]
    if messages[-1].get("role") == "assistant":
        message = "This model does not continue a reply that was begun: let a user speak last."
        raise Untranslatable(message, param=f"messages[{len(messages) - 1}].role")
    if not said:
        raise Untranslatable("The messages have no content.", param="messages")
    return said


def origin_of(body: Mapping[str, Any], number: int) -> str | None:
    """What the chat's message of that number was said from; of a body that could be said."""
    for position, (_, turn) in enumerate(_said(body)):
        if position == number:
            return "system" if turn is None else f"messages[{turn}]"
    return None


def _said(body: Mapping[str, Any]) -> Iterator[tuple[Message, int | None]]:
    """Each with the number of the turn that it is of; None: of none."""
    for message in _system(body.get("system")):
        yield message, None
    user = _User()
    for number, turn in enumerate(body["messages"]):
        try:
            if turn.get("role") == "user":
                user.take(turn.get("content"), number)
                continue
            said = _turn(turn)
        except Untranslatable as refusal:
            raise within(f"messages[{number}]", refusal) from None
        yield from user.messages()
        user = _User()
        for message in said:
            yield message, number
    yield from user.messages()


def _system(system: Any) -> list[Message]:
    if system is None:
        return []
    try:
        text = text_only(system)
    except Untranslatable as refusal:
        param = (refusal.param or "").replace("content", "system", 1)
        raise Untranslatable(refusal.message, param=param) from None
    return [{"role": "system", "content": text}] if text.strip() else []


def _turn(message: Message) -> list[Message]:
    content = message.get("content")
    match message.get("role"):
        case "assistant":
            return _assistant(content)
        case "system":
            text = text_only(content)
            return [{"role": "system", "content": text}] if text.strip() else []
        case _:
            raise Untranslatable("This role is not known.", param="role")


class _User:
    """All that users say in a row, which Anthropic takes for one turn.

    Tool results come first: a chat wants all of them right after the calls.
    """

    def __init__(self) -> None:
        self._results: list[tuple[Message, int | None]] = []
        self._attached: list[Part] = []
        self._parts: list[Part] = []
        self._number: int | None = None  # of the first turn that shows something

    def take(self, content: Any, number: int) -> None:
        for block, place in blocks_of(content):
            try:
                if block.get("type") == "tool_result":
                    self._results.append((_tool_result(block, self._attached), number))
                else:
                    self._parts += part_of(block)
            except Untranslatable as refusal:
                raise within(place, refusal) from None
        if self._number is None and (self._attached or self._parts):
            self._number = number

    def messages(self) -> list[tuple[Message, int | None]]:
        parts = self._attached + self._parts
        if not parts:
            return self._results
        text = joined(parts)
        said = {"role": "user", "content": parts if text is None else text}
        return [*self._results, (said, self._number)]


def _tool_result(block: Block, attached: list[Part]) -> Message:
    """What a tool message cannot hold goes to `attached`, and leaves its name behind."""
    texts = []
    content = block.get("content")
    for inner, place in [] if content is None else blocks_of(content):
        try:
            found = part_of(inner)
        except Untranslatable as refusal:
            raise within(place, refusal) from None
        texts += [part if part["type"] == "text" else _attach(part, attached) for part in found]
    text = joined(texts) or ""
    if block.get("is_error") is True:
        text = f"{_ERROR}: {text}" if text else _ERROR
    return {"role": "tool", "tool_call_id": string_of(block, "tool_use_id"), "content": text}


def _attach(part: Part, attached: list[Part]) -> Part:
    number = sum(each["type"] != "text" for each in attached) + 1
    name = text_part(f"[attachment {number}]")
    attached += [name, part]
    return name


def _assistant(content: Any) -> list[Message]:
    turn = _Turn()
    for block, place in blocks_of(content):
        try:
            turn.take(block)
        except Untranslatable as refusal:
            raise within(place, refusal) from None
    return turn.message()


class _Turn:
    """The model's own."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._thinking_blocks: list[Block] = []
        self._calls: list[Block] = []

    def take(self, block: Block) -> None:
        match block.get("type"):
            case "text":
                self._texts.append(string_of(block, "text"))
            case "thinking":
                self._thoughts.append(string_of(block, "thinking"))
                if block.get("signature"):
                    self._thinking_blocks.append(block)
            case "redacted_thinking":
                self._thinking_blocks.append(block)
            case "tool_use":
                self._calls.append(_tool_call(block))
            case kind:
                raise unsupported(kind)

    def message(self) -> list[Message]:
        """None where it says nothing."""
        text = "".join(self._texts)  # a reply's text comes in several blocks where it cites
        message: Message = {"role": "assistant", "content": text if text.strip() else ""}
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = self._calls
        if thought := "".join(self._thoughts):
            message["reasoning_content"] = thought
        if self._thinking_blocks:
            message["thinking_blocks"] = self._thinking_blocks
        return [message] if any(message[name] for name in message if name != "role") else []


def _tool_call(block: Block) -> Block:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise Untranslatable("This must be an object.", param="input")
    function = {
        "name": string_of(block, "name"),
        "arguments": orjson.dumps(arguments).decode(),
    }
    return {"id": string_of(block, "id"), "type": "function", "function": function}
