"""The messages of an OpenAI chat request as Anthropic's `system` and `messages`.

Nothing is invented: no text is added, and what cannot be said is an Untranslatable naming its
place. Two rules of the Messages API shape it: turns alternate, so neighbours of one role become one
turn (all results of parallel tool calls in one), and text without a visible character is refused.
"""

import re
import zlib
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_parts import (
    blocks_of,
    plain_text_of,
    text_block,
)
from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import within

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
        try:
            _take(message, system, turns)
        except Untranslatable as refusal:
            raise within(f"messages[{position}]", refusal) from None
    if not turns:
        # A model is asked something by a user; what there is to ask stands in the system messages.
        _add(turns, "user", system)
        system = []
    if not turns:
        raise Untranslatable("The messages have no content.", param="messages")
    if turns[-1]["role"] == "assistant":
        _check_prefill(messages)
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


def _take(message: Any, system: list[Block], turns: list[Turn]) -> None:
    if not isinstance(message, dict):
        raise Untranslatable("A message must be an object.")
    match message.get("role"):
        case "user":
            _add(turns, "user", blocks_of(message.get("content")))
        case "assistant":
            _add(turns, "assistant", _assistant(message))
        case "tool":
            _add(turns, "user", [_tool_result(message)])
        case "system" | "developer":
            system += blocks_of(message.get("content"), only_text=True)
        case _:
            raise Untranslatable("This role is not supported for this model.", param="role")


def _add(turns: list[Turn], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": list(blocks)})


def _check_prefill(messages: list[Block]) -> None:
    """A reply is to be continued only where nobody spoke after it, be it to say nothing."""
    for position in reversed(range(len(messages))):
        message = messages[position]
        if message["role"] == "user":
            refusal = "The last message of a user must show something for this model."
            raise Untranslatable(refusal, param=f"messages[{position}].content")
        if message["role"] == "assistant" and _assistant(message):
            return


def _trim_prefill(last: Turn) -> None:
    """A reply to be continued may not end in white space."""
    if last["content"][-1]["type"] == "text":
        block = last["content"][-1]
        last["content"][-1] = {**block, "text": block["text"].rstrip()}


def _tool_result(message: Block) -> Block:
    result: Block = {
        "type": "tool_result",
        "tool_use_id": _tool_id(message.get("tool_call_id"), "tool_call_id"),
    }
    content = message.get("content")
    if isinstance(content, str):
        if content.strip():
            result["content"] = content
    elif blocks := blocks_of(content):
        result["content"] = blocks
    return result


def _assistant(message: Block) -> list[Block]:
    for field in ("function_call", "audio"):
        if message.get(field) is not None:
            raise Untranslatable("This field is not supported for this model.", param=field)
    blocks = _thinking_blocks(message.get("thinking_blocks"))
    content = message.get("content")
    if content is not None:
        blocks += blocks_of(content, only_text=True)
    refusal = plain_text_of(message.get("refusal"), "refusal")
    if refusal.strip():
        blocks.append(text_block(refusal))
    return blocks + _tool_uses(message.get("tool_calls"))


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


def _tool_uses(calls: Any) -> list[Block]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise Untranslatable("Tool calls must be an array.", param="tool_calls")
    blocks = []
    for position, call in enumerate(calls):
        try:
            blocks.append(_tool_use(call))
        except Untranslatable as refusal:
            raise within(f"tool_calls[{position}]", refusal) from None
    return blocks


def _tool_use(call: Any) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise Untranslatable("Only calls of functions are supported for this model.", param="type")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise Untranslatable("A function's name is needed.", param="function.name")
    return {
        "type": "tool_use",
        "id": _tool_id(call.get("id"), "id"),
        "name": name,
        "input": _arguments(function.get("arguments")),
    }


def _arguments(text: Any) -> orjson.Fragment:
    """Checked and sent as written: decoding would round what JSON's numbers can hold."""
    text = plain_text_of(text, "function.arguments").strip() or "{}"
    try:
        is_object = isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        is_object = False
    if not is_object:
        message = "The arguments must be a JSON object in a string."
        raise Untranslatable(message, param="function.arguments")
    return orjson.Fragment(text)


def _tool_id(identifier: Any, param: str) -> str:
    """Ids of other providers may hold characters that are refused here; calls and results agree."""
    if not isinstance(identifier, str) or not identifier:
        raise Untranslatable("The id of a tool call is needed.", param=param)
    if not _FOREIGN_IN_ID.search(identifier):
        return identifier
    # The checksum keeps apart the ids that differ in such characters only.
    return f"{_FOREIGN_IN_ID.sub('_', identifier)}_{zlib.crc32(identifier.encode()):08x}"
