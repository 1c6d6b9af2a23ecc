"""The turns of a Messages request as the messages of an OpenAI chat.

Vendors take content as a string more widely than in parts, so text alone is a string.
"""

from collections.abc import Mapping
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
    said = _system(body.get("system"))
    messages = body["messages"]
    for position, message in enumerate(messages):
        try:
            said += _turn(message)
        except Untranslatable as refusal:
            raise within(f"messages[{position}]", refusal) from None
    if messages[-1].get("role") == "assistant":
        message = "This model does not continue a reply that was begun: let a user speak last."
        raise Untranslatable(message, param=f"messages[{len(messages) - 1}].role")
    if not said:
        raise Untranslatable("The messages have no content.", param="messages")
    return said


def origin_of(body: Mapping[str, Any], number: int) -> str | None:
    """What the chat's message of that number was said from; of a body that could be said."""
    left = number - len(_system(body.get("system")))
    if left < 0:
        return "system"
    for position, message in enumerate(body["messages"]):
        left -= len(_turn(message))
        if left < 0:
            return f"messages[{position}]"
    return None


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
        case "user":
            return _user(content)
        case "assistant":
            return _assistant(content)
        case "system":
            text = text_only(content)
            return [{"role": "system", "content": text}] if text.strip() else []
        case _:
            raise Untranslatable("This role is not known.", param="role")


def _user(content: Any) -> list[Message]:
    """Tool results come first: a chat wants them right after the calls."""
    results: list[Message] = []
    attached: list[Part] = []
    parts: list[Part] = []
    for block, place in blocks_of(content):
        try:
            if block.get("type") == "tool_result":
                results.append(_tool_result(block, attached))
            else:
                parts += part_of(block)
        except Untranslatable as refusal:
            raise within(place, refusal) from None
    parts = attached + parts
    if not parts:
        return results
    text = joined(parts)
    return [*results, {"role": "user", "content": parts if text is None else text}]


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
