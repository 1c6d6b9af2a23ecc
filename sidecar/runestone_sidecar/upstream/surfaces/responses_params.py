"""How the fields of a chat are named in the Responses request that it was said for."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.surfaces.responses_input import origin_of
from runestone_sidecar.upstream.surfaces.translated_refusal import (
    own_name,
    place_of,
    within_tool,
)

# The chat's field -> the fields that ask for it, of which a request has one. `messages` and
# `tools` name the very item and tool besides. What is not here, a client did not ask for.
PARAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("model",),
    "messages": ("input",),
    "prompt": ("input",),  # Azure's word for the messages
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "tools": ("tools",),
    "tool_choice": ("tool_choice",),
    "parallel_tool_calls": ("parallel_tool_calls",),
    "response_format": ("text.format",),
    "verbosity": ("text.verbosity",),
    "reasoning_effort": ("reasoning.effort",),
    "logprobs": ("top_logprobs", "include"),
    "top_logprobs": ("top_logprobs",),
    "user": ("user",),
    "safety_identifier": ("safety_identifier",),
    "prompt_cache_key": ("prompt_cache_key",),
    "service_tier": ("service_tier",),
    "stream": ("stream",),
}
_TOOL: Final = {
    "function.parameters": "parameters",
    "function.name": "name",
    "function.description": "description",
    "function.strict": "strict",
    "cache_control": "cache_control",
}


def param_of_chat(param: str, body: Mapping[str, Any]) -> str | None:
    place = place_of(param)
    if place is None or place.field not in PARAMS:
        return None
    if place.field == "tools":
        choice = body.get("tool_choice")
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            return "tools"  # the chat has fewer of them
        return within_tool(place, _TOOL)
    if place.field == "messages" and place.index is not None:
        origin = origin_of(body.get("instructions"), body.get("input"), place.index, place.rest)
        return origin or "input"
    return own_name(PARAMS[place.field], body)
