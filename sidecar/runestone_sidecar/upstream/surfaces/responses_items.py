"""The shapes of what a response puts out: its items, and the parts of a message."""

from collections.abc import Mapping
from typing import Any, Final

_Json = dict[str, Any]

NO_ARGUMENTS: Final = "{}"  # of a whole call, where a vendor says nothing at all


def reasoning_item(
    id_: str, *, summary: str = "", text: str = "", seal: str | None = None
) -> _Json:
    item: _Json = {"id": id_, "type": "reasoning", "summary": []}
    if summary:
        item["summary"].append({"type": "summary_text", "text": summary})
    if text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if seal is not None:
        item["encrypted_content"] = seal
    return item


def text_part(text: str, logprobs: list[Any]) -> _Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(refusal: str) -> _Json:
    return {"type": "refusal", "refusal": refusal}


def message_item(id_: str, parts: list[_Json], status: str) -> _Json:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def call_item(id_: str, *, call_id: str, name: str, arguments: str, status: str) -> _Json:
    return {
        "id": id_,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def reasoning_text(message: Mapping[str, Any]) -> str:
    """Plain reasoning, by the names that vendors have for it."""
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if isinstance(text, str) else ""


def logprobs_of(logprobs: Any) -> list[Any]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []
