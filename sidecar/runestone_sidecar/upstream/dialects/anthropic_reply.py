"""A whole reply of Anthropic's Messages API as an OpenAI chat completion, and what both share.

Thinking becomes `reasoning_content`, beside it `thinking_blocks`: the blocks with their signatures,
an extension that a client sends back on its assistant message to keep a chain of thought (other
gateways use the same shape).
"""

from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_tools import ANSWER_TOOL, defines_answer_tool
from runestone_sidecar.upstream.dialects.base import MAX_TOKENS, BadReply, Reply, Request, Usage
from runestone_sidecar.upstream.dialects.exact_json import decoded, encoded, exactly_decoded

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "length",  # the turn is not over, as with the next
    "model_context_window_exceeded": "length",
}
_CALL: Final = b'"tool_use"'


def finish_reason(stop_reason: Any, *, has_tool_calls: bool) -> str:
    """Raises BadReply where the provider gave none: a finish is never invented."""
    if not isinstance(stop_reason, str):
        raise BadReply("the reply has no stop reason")
    if stop_reason == "tool_use" and not has_tool_calls:
        return "stop"  # the call was of the answer tool
    return FINISH_REASONS.get(stop_reason, "stop")


class TokenCounts:
    """Anthropic's counts, of which later ones replace earlier ones."""

    __slots__ = ("_cache_read", "_cache_write", "_input", "_output", "_thinking")

    def __init__(self) -> None:
        self._input: int | None = None
        self._output = self._cache_read = self._cache_write = self._thinking = 0

    def take(self, usage: Any) -> Usage | None:
        if not isinstance(usage, dict):
            return self.usage
        self._input = _count(usage, "input_tokens", self._input)
        self._output = _count(usage, "output_tokens", self._output)
        self._cache_read = _count(usage, "cache_read_input_tokens", self._cache_read)
        self._cache_write = _count(usage, "cache_creation_input_tokens", self._cache_write)
        details = usage.get("output_tokens_details")
        if isinstance(details, dict):
            self._thinking = _count(details, "thinking_tokens", self._thinking)
        return self.usage

    @property
    def usage(self) -> Usage | None:
        if self._input is None:
            return None
        return Usage(
            input_tokens=self._input + self._cache_read + self._cache_write,
            output_tokens=self._output,
            cached_input_tokens=self._cache_read,
            reasoning_tokens=self._thinking,
        )

    def openai_usage(self) -> dict[str, Any] | None:
        usage = self.usage
        if usage is None:
            return None
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {
                "cached_tokens": self._cache_read,
                "cache_write_tokens": self._cache_write,
            },
            "completion_tokens_details": {"reasoning_tokens": self._thinking},
        }


def read_message(request: Request, body: bytes) -> Reply:
    """Raises BadReply."""
    try:
        # Only the input of a call has numbers that are not ours to round.
        reply = exactly_decoded(body) if _CALL in body else decoded(body)
    except orjson.JSONDecodeError:
        raise BadReply("the reply is not JSON") from None
    content = reply.get("content") if isinstance(reply, dict) else None
    if not isinstance(content, list):
        raise BadReply("the reply has no content")
    message = _message(content, ours=not defines_answer_tool(request.body))
    message["refusal"] = explanation_of(reply.get("stop_details"))
    counts = TokenCounts()
    counts.take(reply.get("usage"))
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(
            reply.get("stop_reason"), has_tool_calls="tool_calls" in message
        ),
    }
    completion = {
        "id": reply_id(reply.get("id"), request),
        "object": "chat.completion",
        "created": request.created_s,
        "model": request.model,
        "choices": [choice],
        "usage": counts.openai_usage(),
    }
    return Reply(body=encoded(completion), usage=counts.usage)


def reply_id(identifier: Any, request: Request) -> str:
    """The provider's, by which its support finds the reply."""
    if isinstance(identifier, str) and identifier:
        return identifier
    return f"chatcmpl-{request.request_id}"


def explanation_of(stop_details: Any) -> str | None:
    explanation = stop_details.get("explanation") if isinstance(stop_details, dict) else None
    return explanation if isinstance(explanation, str) else None


def _message(content: list[Any], *, ours: bool) -> dict[str, Any]:
    texts: list[str] = []
    thinking: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    is_answered = False
    for block in content:
        match block:
            case {"type": "text", "text": str() as text}:
                texts.append(text)
            case {"type": "thinking", "thinking": str()} | {
                "type": "redacted_thinking",
                "data": str(),
            }:
                thinking.append(block)
            case {"type": "tool_use", "name": name, "input": dict() as arguments} if (
                ours and name == ANSWER_TOOL
            ):
                if not is_answered:  # two of them are no JSON
                    texts.append(encoded(arguments).decode())
                is_answered = True
            case {"type": "tool_use", "id": str(), "name": str(), "input": dict()}:
                calls.append(_tool_call(block))
            case {"type": "text" | "thinking" | "redacted_thinking" | "tool_use"}:
                raise BadReply("a block of the reply is malformed")
            # Others are of tools that run at the provider, which a chat request cannot ask for.
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    if thinking:
        message["reasoning_content"] = "".join(block.get("thinking", "") for block in thinking)
        message["thinking_blocks"] = thinking
    return message


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = encoded(block["input"]).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def _count(counts: dict[str, Any], name: str, default: Any) -> Any:
    value = counts.get(name)
    return value if isinstance(value, int) and 0 <= value < MAX_TOKENS else default
