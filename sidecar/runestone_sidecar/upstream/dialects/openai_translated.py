"""A chat that another API's request was said as, fitted to what this model's vendor takes.

A client that speaks OpenAI's format itself chose its fields for its model. Here the fields are this
gateway's, and vendors answer a field that they do not know with a 400 or, worse, by ignoring it.
FITTED is the documentation; the facts are of November 2026.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import ModelTarget

_START: Final = r"(?:^|[/:.])"  # vendor/model, ft:model:…, region.model
OPENAIS: Final = re.compile(_START + r"(?:gpt-(?!oss)|chatgpt-|codex-|computer-use|o\d)")
WANTS_ITS_REASONING: Final = re.compile(_START + r"(?:deepseek|kimi)")
DOES_NOT_REASON: Final = re.compile(
    _START + r"(?:gpt-[34]|gpt-5(?:\.\d)?-chat|chatgpt-4|(?:open-)?mi[sx]tral-|ministral|codestral"
    r"|devstral|pixtral|llama|meta-llama|gemma|command-|phi-?\d)"
)
CALLS_ONE_TOOL: Final = re.compile(_START + r"o\d")
MISTRALS: Final = re.compile(
    _START
    + r"(?:open-|labs-)?(?:mi[sx]tral|ministral|magistral|codestral|devstral|pixtral|voxtral)"
)
_is_openais: Final = OPENAIS.search
_wants_its_reasoning: Final = WANTS_ITS_REASONING.search
_does_not_reason: Final = DOES_NOT_REASON.search
_is_mistrals: Final = MISTRALS.search
_calls_one_tool: Final = CALLS_ONE_TOOL.search


@dataclass(frozen=True, slots=True)
class Fitted:
    how: str
    models: re.Pattern[str] | None = None  # by the provider's name for it


# What tells who asks, or tunes cost, speed or length only: Mistral refuses what it does not know.
_UNKNOWN_TO_MISTRAL: Final = (
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "verbosity",
)

FITTED: Final[Mapping[str, Fitted]] = {
    "max_completion_tokens": Fitted(
        "at most the model's limit, beyond which it is refused; kept for OpenAI's models, whose "
        "later ones refuse `max_tokens`; all others are sent `max_tokens`, which every vendor "
        "knows (Mistral's refuse the new name, others ignore it)",
        OPENAIS,
    ),
    "reasoning_effort": Fitted(
        "dropped, as a hint, for models that are known not to reason", DOES_NOT_REASON
    ),
    "parallel_tool_calls": Fitted(
        "dropped for models that call one tool at a time, and refuse to be told", CALLS_ONE_TOOL
    ),
    **dict.fromkeys(
        _UNKNOWN_TO_MISTRAL,
        Fitted("dropped for Mistral's models, which refuse what they do not know", MISTRALS),
    ),
    "content": Fitted(
        "of a tool message: an image or a file leaves '[attachment N]' and follows in a user "
        "message behind the results"
    ),
    "reasoning_content": Fitted(
        "of a message: kept only for models that refuse a tool call without their own",
        WANTS_ITS_REASONING,
    ),
    "thinking_blocks": Fitted(
        "of a message: dropped, the extension is for providers of Anthropic's format"
    ),
}


def fitted(body: Mapping[str, Any], target: ModelTarget) -> dict[str, Any]:
    """The body, with what this model does not take left out or said otherwise."""
    name = target.upstream.lower()
    fields = {"model": target.upstream, **{key: body[key] for key in body if key != "model"}}
    limit = fields.pop("max_completion_tokens", None)
    if limit is not None:
        if target.max_output_tokens is not None:
            limit = min(limit, target.max_output_tokens)
        fields["max_completion_tokens" if _is_openais(name) else "max_tokens"] = limit
    if "reasoning_effort" in fields and _does_not_reason(name):
        del fields["reasoning_effort"]
    if "parallel_tool_calls" in fields and _calls_one_tool(name):
        del fields["parallel_tool_calls"]
    if _is_mistrals(name):
        for unknown in _UNKNOWN_TO_MISTRAL:
            fields.pop(unknown, None)
    unsaid = {"thinking_blocks"}
    if not _wants_its_reasoning(name):
        unsaid.add("reasoning_content")
    messages = fields.get("messages")
    if isinstance(messages, list):
        fields["messages"] = [_without(message, unsaid) for message in messages]
    return fields


def _without(message: Any, unsaid: set[str]) -> Any:
    if not isinstance(message, dict) or unsaid.isdisjoint(message):
        return message
    return {key: value for key, value in message.items() if key not in unsaid}
