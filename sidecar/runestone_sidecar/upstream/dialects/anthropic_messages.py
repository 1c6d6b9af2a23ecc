"""The messages of an OpenAI chat request as Anthropic's `system` and `messages`.

Nothing is invented: no text is added, and what cannot be said is an Untranslatable naming its
place. Two rules of the Messages API shape it: turns alternate, so neighbours of one role become one
turn (all results of parallel tool calls in one), and text without a visible character is refused.
"""

import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_parts import (
    blocks_of,
    plain_text_of,
    text_block,
)
from runestone_sidecar.upstream.dialects.base import Untranslatable

Block = dict[str, Any]
Turn = dict[str, Any]

_FOREIGN_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def conversation(messages: Any) -> tuple[list[Block], list[Turn]]:
    """The system blocks and the turns. Raises Untranslatable."""
    if not isinstance(messages, list) or not messages:
        raise Untranslatable("A non-empty array of messages is needed.", param="messages")
    system: list[Block] = []
    turns: list[Turn] = []
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise Untranslatable("A message must be an object.", param=where)
        role = message.get("role")
        if role in ("system", "developer"):
            system += blocks_of(message.get("content"), f"{where}.content", only_text=True)
            continue
        speaker, read = _ROLES.get(role, (None, None)) if isinstance(role, str) else (None, None)
        if speaker is None or read is None:
            raise Untranslatable("This role is not supported for this model.", f"{where}.role")
        _add(turns, speaker, read(message, where))
    if not turns:
        # A model is asked something by a user; what there is to ask stands in the system messages.
        _add(turns, "user", system)
        system = []
    if not turns:
        raise Untranslatable("The messages have no content.", param="messages")
    _trim_prefill(turns[-1])
    return system, turns


def tool_names(turns: list[Turn]) -> list[str]:
    """The tools that the conversation used, in the order of their first use."""
    used = (block for turn in turns for block in turn["content"] if block["type"] == "tool_use")
    return list(dict.fromkeys(block["name"] for block in used))


def lacks_thinking(turns: list[Turn]) -> bool:
    """Whether the last turn of the model's called tools and came back without its thinking."""
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            blocks = turn["content"]
            called = any(block["type"] == "tool_use" for block in blocks)
            return called and blocks[0]["type"] not in ("thinking", "redacted_thinking")
    return False


def _add(turns: list[Turn], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": list(blocks)})


def _trim_prefill(last: Turn) -> None:
    """A reply to be continued may not end in white space."""
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        block = last["content"][-1]
        last["content"][-1] = {**block, "text": block["text"].rstrip()}


def _user(message: Block, where: str) -> list[Block]:
    return blocks_of(message.get("content"), f"{where}.content")


def _tool(message: Block, where: str) -> list[Block]:
    result: Block = {
        "type": "tool_result",
        "tool_use_id": _tool_id(message.get("tool_call_id"), f"{where}.tool_call_id"),
    }
    content = message.get("content")
    if isinstance(content, str):
        if content.strip():
            result["content"] = content
    elif blocks := blocks_of(content, f"{where}.content"):
        result["content"] = blocks
    return [result]


def _assistant(message: Block, where: str) -> list[Block]:
    for field in ("function_call", "audio"):
        if message.get(field) is not None:
            raise Untranslatable("This field is not supported for this model.", f"{where}.{field}")
    blocks = _thinking_blocks(message.get("thinking_blocks"))
    content = message.get("content")
    if content is not None:
        blocks += blocks_of(content, f"{where}.content", only_text=True)
    refusal = plain_text_of(message.get("refusal"), f"{where}.refusal")
    if refusal.strip():
        blocks.append(text_block(refusal))
    return blocks + _tool_uses(message.get("tool_calls"), f"{where}.tool_calls")


def _thinking_blocks(blocks: Any) -> list[Block]:
    """What a reply of ours gave as `thinking_blocks`; without its signature one is worthless."""
    kept: list[Block] = []
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, dict):
            continue
        match block.get("type"), block.get("signature"), block.get("data"):
            case "thinking", str() as signature, _ if signature:
                text = block.get("thinking")
                text = text if isinstance(text, str) else ""
                kept.append({"type": "thinking", "thinking": text, "signature": signature})
            case "redacted_thinking", _, str() as data:
                kept.append({"type": "redacted_thinking", "data": data})
    return kept


def _tool_uses(calls: Any, where: str) -> list[Block]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise Untranslatable("Tool calls must be an array.", param=where)
    return [_tool_use(call, f"{where}[{position}]") for position, call in enumerate(calls)]


def _tool_use(call: Any, where: str) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise Untranslatable(
            "Only calls of functions are supported for this model.", f"{where}.type"
        )
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise Untranslatable("A function's name is needed.", f"{where}.function.name")
    return {
        "type": "tool_use",
        "id": _tool_id(call.get("id"), f"{where}.id"),
        "name": name,
        "input": _arguments(function.get("arguments"), f"{where}.function.arguments"),
    }


def _arguments(text: Any, where: str) -> orjson.Fragment:
    """Checked and sent as written: decoding would round what JSON's numbers can hold."""
    text = plain_text_of(text, where).strip() or "{}"
    try:
        is_object = isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        is_object = False
    if not is_object:
        raise Untranslatable("The arguments must be a JSON object in a string.", param=where)
    return orjson.Fragment(text)


def _tool_id(identifier: Any, where: str) -> str:
    """Ids of other providers may hold characters that are refused here; calls and results agree."""
    if not isinstance(identifier, str) or not identifier:
        raise Untranslatable("The id of a tool call is needed.", param=where)
    if not _FOREIGN_IN_ID.search(identifier):
        return identifier
    # The checksum keeps apart the ids that differ in such characters only.
    return f"{_FOREIGN_IN_ID.sub('_', identifier)}_{zlib.crc32(identifier.encode()):08x}"


_ROLES: Final[dict[str, tuple[str, Callable[[Block, str], list[Block]]]]] = {
    "user": ("user", _user),
    "assistant": ("assistant", _assistant),
    "tool": ("user", _tool),
}
