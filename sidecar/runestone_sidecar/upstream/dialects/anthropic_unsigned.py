"""A Messages request without the thoughts that nobody signed.

Vendors of OpenAI's format sign nothing, so to a client of the Messages API a thought of theirs is a
block with an empty signature. Anthropic refuses it, and with it every later turn of a conversation
that moved there.
"""

import re
from dataclasses import replace
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Request

_SIGNATURE: Final = b'"signature"'
_empty_signature: Final = re.compile(_SIGNATURE + rb'[ \t\r\n]*:[ \t\r\n]*""').match
_NOTHING_SAID: Final = ({"type": "text", "text": "(no answer)"},)


def without_unsigned(request: Request) -> Request:
    """The same request, where it has none."""
    if not _may_have(request.raw):
        return request
    messages = request.body["messages"]
    signed = _signed(messages)
    if signed == messages:
        return request
    body = {**request.body, "messages": signed}
    if _needs_a_thought(body):
        del body["thinking"]
        _forget_thoughts_no_more(body)
    return replace(request, body=body, raw=b"")


def _may_have(raw: bytes) -> bool:
    at = raw.find(_SIGNATURE)
    while at >= 0:
        if _empty_signature(raw, at):
            return True
        at = raw.find(_SIGNATURE, at + 1)
    return False


def _signed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if message.get("role") != "assistant" or not isinstance(content, list):
            kept.append(message)
            continue
        blocks = [block for block in content if not _is_unsigned(block)]
        if blocks or not content:
            kept.append({**message, "content": blocks})
        elif not kept or kept[-1].get("role") == "system":
            # Of no messages nothing can be asked, and a system message wants a reply after it.
            kept.append({**message, "content": list(_NOTHING_SAID)})
        # Else it can go: neighbours of one role are one turn to Anthropic.
    return kept


def _is_unsigned(block: Any) -> bool:
    match block:
        case {"type": "thinking", "signature": ""}:
            return True
    return False


def _needs_a_thought(body: dict[str, Any]) -> bool:
    """With a budget to think, the last turn of the model's must begin with a thought if it calls
    tools. As with a chat, the model then does not think.
    """
    match body.get("thinking"):
        case {"type": "enabled"}:
            pass
        case _:
            return False
    for message in reversed(body["messages"]):
        if message.get("role") == "assistant":
            content = message.get("content")
            kinds = _kinds(content) if isinstance(content, list) else []
            return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
    return False


def _kinds(content: list[Any]) -> list[Any]:
    return [block.get("type") if isinstance(block, dict) else None for block in content]


def _forget_thoughts_no_more(body: dict[str, Any]) -> None:
    """Clearing thoughts from the conversation is refused to a model that does not think."""
    match body.get("context_management"):
        case {"edits": [*edits], **rest}:
            kept = [edit for edit in edits if not _clears_thoughts(edit)]
            body["context_management"] = {**rest, "edits": kept}


def _clears_thoughts(edit: Any) -> bool:
    match edit:
        case {"type": str() as kind}:
            return kind.startswith("clear_thinking")
    return False
