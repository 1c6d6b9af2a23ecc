"""Tools, tool choice and structured output of a Messages request in an OpenAI chat's terms."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import within
from runestone_sidecar.upstream.surfaces.messages_blocks import string_of
from runestone_sidecar.upstream.surfaces.messages_schema import is_strict

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_FORMAT_NAME: Final = "answer"  # OpenAI wants one
_CLIENTS_OWN: Final = (None, "custom")


def tools_of(tools: Any) -> list[dict[str, Any]]:
    """Raises Untranslatable."""
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise Untranslatable("This must be an array.", param="tools")
    said = []
    for position, tool in enumerate(tools):
        try:
            said.append(_tool(tool))
        except Untranslatable as refusal:
            raise within(f"tools[{position}]", refusal) from None
    return said


def choice_of(choice: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat's fields. Raises Untranslatable."""
    if choice is None:
        return {}
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(kind, str) or (kind not in _CHOICES and kind != "tool"):
        raise Untranslatable("This tool choice is not known.", param="tool_choice.type")
    if not tools:
        if kind in ("any", "tool"):
            raise Untranslatable("There is no tool to choose.", param="tool_choice")
        return {}  # a chat without tools may not speak of a choice among them
    fields: dict[str, Any] = {}
    if kind != "tool":
        fields["tool_choice"] = _CHOICES[kind]
    else:
        name = choice.get("name")
        if not any(tool["function"]["name"] == name for tool in tools):
            message = "This is not one of the request's tools."
            raise Untranslatable(message, param="tool_choice.name")
        fields["tool_choice"] = {"type": "function", "function": {"name": name}}
    if choice.get("disable_parallel_tool_use") is True and kind != "none":
        fields["parallel_tool_calls"] = False
    return fields


def response_format_of(wanted: Any, param: str) -> dict[str, Any] | None:
    """Raises Untranslatable."""
    if wanted is None:
        return None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise Untranslatable("This must be a json_schema with its schema.", param=param)
    spec: dict[str, Any] = {"name": _FORMAT_NAME, "schema": schema}
    if is_strict(schema):
        spec["strict"] = True
    return {"type": "json_schema", "json_schema": spec}


def _tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise Untranslatable("A tool must be an object.")
    if tool.get("type") not in _CLIENTS_OWN:
        message = "Only tools of the client's own definition are supported for this model."
        raise Untranslatable(message, param="type")
    callers = tool.get("allowed_callers")
    if isinstance(callers, list) and "direct" not in callers:
        message = "This model's provider runs no code that could call tools."
        raise Untranslatable(message, param="allowed_callers")
    function: dict[str, Any] = {"name": string_of(tool, "name")}
    if isinstance(description := tool.get("description"), str) and description:
        function["description"] = description
    function["parameters"] = schema = _schema(tool)
    if tool.get("strict") is True and is_strict(schema):
        function["strict"] = True
    return {"type": "function", "function": function}


def _schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise Untranslatable("This must be a JSON schema.", param="input_schema")
    return schema
