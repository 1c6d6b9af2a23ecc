"""What OpenAI's APIs tell of the tokens of a reply."""

from typing import Any

from runestone_sidecar.upstream.dialects.base import MAX_TOKENS, Usage


def read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    told = Usage(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    if details := usage.get("prompt_tokens_details"):
        told.cached_input_tokens = _count(details, "cached_tokens")
    if details := usage.get("completion_tokens_details"):
        told.reasoning_tokens = _count(details, "reasoning_tokens")
    return told


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and 0 < value < MAX_TOKENS else 0
