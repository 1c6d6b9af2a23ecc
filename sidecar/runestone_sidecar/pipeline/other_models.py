"""Models that a request names beside the one it asks for. The tables are the documentation.

A key that may use certain models only would else use any other: by naming it for a tool, or where
providers take another model when the one asked for fails.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.errors import PermissionDenied

# Taken instead: of OpenRouter; of Anthropic and LiteLLM; of LiteLLM.
INSTEAD: Final = ("models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
# Used beside it: where a tool names its own (image generation, Anthropic's advisor), and the body.
OF_TOOLS: Final[tuple[tuple[str, ...], ...]] = (("model",), ("svg", "model"))
OF_BODIES: Final[tuple[tuple[str, ...], ...]] = (("moderation", "model"),)
# Tools that use one of the provider's choice where they name none.
NEVER_WITHOUT: Final = ("image_generation",)  # a tool's type may be anything, a list say


def check_other_models(principal: Principal, body: Mapping[str, Any]) -> None:
    """Raises PermissionDenied."""
    if not principal.allowed_models:
        return
    for name, value in body.items():
        if value and name.lower() in INSTEAD:  # as Go's decoder takes names
            raise PermissionDenied(
                f"This API key may use certain models only, and '{name}' may name others.",
                param=name,
            )
    for param, model in _named(body):
        if not isinstance(model, str) or not principal.allows(model):
            raise PermissionDenied(
                f"This API key may use certain models only: '{param}' must name one of these.",
                param=param,
            )


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for path in OF_BODIES:
        yield from _at(body, path, "")
    for place, tool in _tools(body):
        for path in OF_TOOLS:
            yield from _at(tool, path, f"{place}.")
        if tool.get("type") in NEVER_WITHOUT and tool.get("model") is None:
            yield f"{place}.model", None


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of the request, and of items of a Responses input that bring some along."""
    holders = [("", body)]
    given = body.get("input")
    for number, item in enumerate(given if isinstance(given, list) else ()):
        if isinstance(item, dict) and item.get("tools"):
            holders.append((f"input[{number}].", item))
    for place, holder in holders:
        tools = holder.get("tools")
        for number, tool in enumerate(tools if isinstance(tools, list) else ()):
            if isinstance(tool, dict):
                yield f"{place}tools[{number}]", tool


def _at(value: Any, path: tuple[str, ...], place: str) -> Iterator[tuple[str, Any]]:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if value is not None:
        yield place + ".".join(path), value
