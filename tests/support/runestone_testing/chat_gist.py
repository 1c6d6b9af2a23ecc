"""What a program reads of a chat completion, whole or gathered from a stream's chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = dict[str, Any]


def gist(completion: Json) -> Json:
    """Of a whole reply, what a program reads."""
    (choice,) = completion["choices"]
    message = choice["message"]
    calls = message.get("tool_calls") or []
    usage = completion["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "role": message["role"],
        "content": message.get("content"),
        "reasoning_content": message.get("reasoning_content"),
        "thinking_blocks": message.get("thinking_blocks") or [],
        "calls": [_gist_of_call(call) for call in calls],
        "finish_reason": choice["finish_reason"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "cached_tokens": cached,
    }


def _gist_of_call(call: Json) -> Json:
    function = call["function"]
    arguments = json.loads(function["arguments"])
    return {"id": call["id"], "name": function["name"], "arguments": arguments}


def gathered(chunks: Sequence[Json]) -> Json:
    """The whole reply that a stream was: what OpenAI's own accumulator makes of its deltas."""
    message: Json = {"role": None, "content": None, "reasoning_content": None}
    calls: dict[int, Json] = {}
    finish_reason = usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish_reason = choice.get("finish_reason") or finish_reason
            delta = choice["delta"]
            for name in message:
                if delta.get(name):
                    message[name] = (message[name] or "") + delta[name]
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"function": {"arguments": ""}})
                call["id"] = piece.get("id") or call["id"]
                function = piece["function"]
                call["function"]["name"] = function.get("name") or call["function"]["name"]
                call["function"]["arguments"] += function.get("arguments") or ""
    message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}


def events_in(text: str) -> list[Json]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]
