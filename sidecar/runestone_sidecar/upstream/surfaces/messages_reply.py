"""A whole OpenAI chat completion as a message of the Messages API, and what a stream shares.

- Reasoning is a thinking block: signed where `thinking_blocks` says so, else with an empty
  signature, for vendors of OpenAI's format sign nothing.
- A call's arguments must be a JSON object (nothing at all is an empty one), or the reply is bad.
  But where the reply was cut, the call that the cut fell into is left out: it is not to be run.
- Text that shows nothing is left out, which the Messages API would refuse in the next turn.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from runestone_sidecar.upstream.dialects.base import BadReply, Miswritten, Request
from runestone_sidecar.upstream.dialects.exact_json import with_whole_pairs
from runestone_sidecar.upstream.surfaces.finish_reasons import (
    CONTENT_FILTER,
    LENGTH,
    STOP,
    finish_reason_of,
)

THINKING: Final = "thinking"
TEXT: Final = "text"

_STOP_REASONS: Final = {
    STOP: "end_turn",  # `tool_calls` too: without a call there is none to run
    LENGTH: "max_tokens",
    CONTENT_FILTER: "refusal",
}
_EMPTY: Final = ("", "null")  # arguments of a call without any


class Stop(NamedTuple):
    reason: str
    sequence: str | None = None

    @property
    def is_cut(self) -> bool:
        """The last call may be half of one."""
        return self.reason in ("max_tokens", "refusal")


def read_message(request: Request, completion: Mapping[str, Any]) -> bytes:
    """Raises BadReply."""
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadReply("the reply has no message")
    calls = message.get("tool_calls") or []
    refusal = refusal_of(message)
    stop = stop_of(request, choice, has_calls=bool(calls), refused=bool(refusal))
    content = [*_thinking(message), *_text(message)]
    content += _tool_uses(request, calls, stop)
    if refusal and not any(block["type"] in (TEXT, "tool_use") for block in content):
        content.append({"type": TEXT, "text": refusal})
    return orjson.dumps(
        {
            **opening(request, completion),
            "content": content,
            **closing(stop, refusal),
            "usage": usage_of(completion.get("usage")),
        }
    )


def opening(request: Request, completion: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": _reply_id(request, completion.get("id")),
        "type": "message",
        "role": "assistant",
        "model": request.model,
    }


def closing(stop: Stop, refusal: str) -> dict[str, Any]:
    details = {"type": "refusal", "category": None, "explanation": refusal} if refusal else None
    return {
        "stop_reason": stop.reason,
        "stop_sequence": stop.sequence,
        "stop_details": details,
    }


def stop_of(request: Request, choice: Mapping[str, Any], *, has_calls: bool, refused: bool) -> Stop:
    """Raises BadReply where the provider gave no reason: none is invented."""
    reason = _STOP_REASONS[finish_reason_of(choice.get("finish_reason"))]
    if refused:
        return Stop("refusal")
    if reason != "end_turn":
        return Stop(reason)
    if has_calls:
        return Stop("tool_use")  # OpenAI says `stop` where the client forced a call
    sequence = _met_sequence(request, choice)
    return Stop(reason) if sequence is None else Stop("stop_sequence", sequence)


def _met_sequence(request: Request, choice: Mapping[str, Any]) -> str | None:
    """Extensions of vLLM (`stop_reason`) and SGLang (`matched_stop`)."""
    asked = request.body.get("stop_sequences") or []
    for name in ("stop_reason", "matched_stop"):
        met = choice.get(name)
        if isinstance(met, str) and met in asked:
            return met
    return None


def usage_of(usage: Any) -> dict[str, Any]:
    """Anthropic counts cached tokens apart from the input. Zero is what a vendor did not tell."""
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    read = _count(details, "cached_tokens")
    written = _count(details, "cache_write_tokens")
    said: dict[str, Any] = {
        "input_tokens": max(_count(counts, "prompt_tokens") - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _count(counts, "completion_tokens"),
    }
    if thought := _count(counts.get("completion_tokens_details"), "reasoning_tokens"):
        said["output_tokens_details"] = {"thinking_tokens": thought}
    return said


def said_in(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(THINKING or TEXT, text) of a message or a delta without `thinking_blocks`, in order."""
    for name in ("reasoning_content", "reasoning"):  # the latter at vLLM, Groq and OpenRouter
        if isinstance(thought := message.get(name), str) and thought:
            yield THINKING, thought
            break
    content = message.get("content")
    if isinstance(content, str):
        if content:
            yield TEXT, content
    elif isinstance(content, list):  # Mistral's reasoning models
        for part in content:
            yield from _said_in_part(part)
    elif content is not None:
        raise BadReply("the content of the reply is malformed")


def refusal_of(message: Mapping[str, Any]) -> str:
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def written_of(function: Mapping[str, Any]) -> str:
    """A call's arguments, or a piece of them. Some vendors give an object, whole, and no text.
    Raises BadReply.
    """
    given = function.get("arguments")
    if isinstance(given, str):
        return given
    try:
        return "" if given in (None, {}) else orjson.dumps(given).decode()
    except orjson.JSONEncodeError:
        raise Miswritten("the arguments of a tool call are nested too deeply") from None


def arguments_of(text: str) -> orjson.Fragment | None:
    """As they were written, numbers and all, but for halves of surrogate pairs, which clients do
    not read. None: not an object.
    """
    text = text.strip()
    if text in _EMPTY:
        return orjson.Fragment(b"{}")
    try:
        is_object = isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        whole = with_whole_pairs(text.encode()).decode()
        return None if whole == text else arguments_of(whole)
    return orjson.Fragment(text) if is_object else None


def call_id(request: Request, given: Any, number: int) -> str:
    """The vendor's; some give none, and without one no result can be sent."""
    return given if isinstance(given, str) and given else f"toolu_{request.request_id}_{number}"


def _thinking(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list) and blocks:
        return [block for block in blocks if isinstance(block, dict)]
    thought = "".join(text for kind, text in said_in(message) if kind is THINKING)
    return [{"type": THINKING, "thinking": thought, "signature": ""}] if thought else []


def _text(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = "".join(text for kind, text in said_in(message) if kind is TEXT)
    return [{"type": TEXT, "text": text}] if text.strip() else []


def _tool_uses(request: Request, calls: Any, stop: Stop) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise BadReply("the tool calls of the reply are malformed")
    blocks = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not isinstance(function, dict):
            raise BadReply("a tool call of the reply is malformed")
        if not name:
            raise Miswritten("a tool call of the reply has no name")
        arguments = arguments_of(written_of(function))
        if arguments is not None:
            identifier = call_id(request, call.get("id"), number)
            blocks.append({"type": "tool_use", "id": identifier, "name": name, "input": arguments})
        elif not stop.is_cut:
            raise Miswritten("the arguments of a tool call are not a JSON object")
    return blocks


def _said_in_part(part: Any) -> Iterator[tuple[str, str]]:
    match part:
        case {"type": "text", "text": str() as text} if text:
            yield TEXT, text
        case {"type": "thinking", "thinking": [*pieces]}:
            for piece in pieces:
                if isinstance(piece, dict) and isinstance(thought := piece.get("text"), str):
                    yield THINKING, thought


def _reply_id(request: Request, given: Any) -> str:
    """The provider's own, by which its support finds the reply, in this API's form."""
    if not isinstance(given, str) or not given:
        given = request.request_id
    return given if given.startswith("msg_") else f"msg_{given.removeprefix('chatcmpl-')}"


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and value > 0 else 0
