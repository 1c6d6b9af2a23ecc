"""A chat that another API's request was said as, fitted to what this model's vendor takes.

A client that speaks OpenAI's format itself chose its fields for its model. Here the fields are this
gateway's, and vendors answer a field that they do not know with a 400 or, worse, by ignoring it.
The patterns of models' names are the table; the facts are of November 2026.

- `thinking_blocks` of a message: dropped, the extension is for providers of Anthropic's format.
- `reasoning_content` of a message: only for models that refuse a tool call without their own.
- `max_completion_tokens`: OpenAI's models, whose later ones refuse `max_tokens`; all others are
  sent `max_tokens`, which every vendor knows (Mistral's refuse the new name, others ignore it).
- `reasoning_effort`: dropped, as a hint, for models that are known not to reason.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_START: Final = r"(?:^|[/:.])"  # vendor/model, ft:model:…, region.model
_is_openais: Final = re.compile(_START + r"(?:gpt-(?!oss)|chatgpt-|codex-|computer-use|o\d)").search
_wants_its_reasoning: Final = re.compile(_START + r"(?:deepseek|kimi)").search
_does_not_reason: Final = re.compile(
    _START + r"(?:gpt-[34]|gpt-5(?:\.\d)?-chat|chatgpt-4|(?:open-)?mi[sx]tral-|ministral|codestral"
    r"|devstral|pixtral|llama|meta-llama|gemma|command-|phi-?\d)"
).search


def fitted(body: Mapping[str, Any], upstream: str) -> dict[str, Any]:
    """The body, with what this model does not take left out or said otherwise."""
    name = upstream.lower()
    fields = {"model": upstream, **{key: body[key] for key in body if key != "model"}}
    limit = fields.get("max_completion_tokens")
    if limit is not None and not _is_openais(name):
        del fields["max_completion_tokens"]
        fields["max_tokens"] = limit
    if "reasoning_effort" in fields and _does_not_reason(name):
        del fields["reasoning_effort"]
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
