"""How the fields of a chat are named in the Messages request that it was said for."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.surfaces.messages_turns import origin_of
from runestone_sidecar.upstream.surfaces.translated_refusal import (
    Place,
    own_name,
    place_of,
    within_tool,
)

# The chat's field -> the fields that ask for it, of which a request has one. `messages` and
# `tools` name the very turn and tool besides. What is not here, a client did not ask for.
PARAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("model",),
    "messages": ("messages",),
    "prompt": ("messages",),  # Azure's word for them
    "max_tokens": ("max_tokens",),
    "max_completion_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "stop": ("stop_sequences",),
    "tools": ("tools",),
    "tool_choice": ("tool_choice",),
    "parallel_tool_calls": ("tool_choice.disable_parallel_tool_use",),
    "response_format": ("output_config.format", "output_format"),
    "reasoning_effort": ("output_config.effort", "thinking.budget_tokens"),
    "user": ("metadata.user_id",),
    "service_tier": ("service_tier",),
    "stream": ("stream",),
}
_TOOL: Final = {
    "function.parameters": "input_schema",
    "function.name": "name",
    "function.description": "description",
    "function.strict": "strict",
}


def param_of_chat(param: str, body: Mapping[str, Any]) -> str | None:
    place = place_of(param)
    if place is None or place.field not in PARAMS:
        return None
    if place.field == "tools":
        return within_tool(place, _TOOL)
    if place.field == "messages" and place.index is not None:
        return _within_messages(place, place.index, body)
    return own_name(PARAMS[place.field], body)


def _within_messages(place: Place, index: int, body: Mapping[str, Any]) -> str:
    """All that a turn says is its content."""
    origin = origin_of(body, index)
    if origin is None:
        return "messages"
    if origin == "system" or not place.rest:
        return origin
    return f"{origin}.role" if place.rest == "role" else f"{origin}.content"
