"""A Responses request as a chat; `responses_fields` says what becomes of each field."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import check_fields, within
from runestone_sidecar.upstream.surfaces.responses_fields import (
    FIELDS,
    INCLUDABLE,
    REASONING_FIELDS,
    TEXT_FIELDS,
)
from runestone_sidecar.upstream.surfaces.responses_input import messages_of

_Json = dict[str, Any]

_AS_THEY_ARE: Final = {
    "max_output_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "user": "user",
    "safety_identifier": "safety_identifier",
    "prompt_cache_key": "prompt_cache_key",
}
_CHOICES: Final = frozenset({"none", "auto", "required"})
_LOGPROBS: Final = "message.output_text.logprobs"


def chat_request(request: Request) -> Request:
    """Raises Untranslatable."""
    body = request.body
    check_fields(body, FIELDS)
    _object(body, "metadata")
    chat: _Json = {
        "model": request.model,
        "messages": messages_of(body.get("instructions"), body.get("input")),
        **{
            theirs: body[ours]
            for ours, theirs in _AS_THEY_ARE.items()
            if body.get(ours) is not None
        },
        **_tooling(body),
        **_text(body),
        **_reasoning(body),
        **_logprobs(body),
    }
    if body.get("service_tier") not in (None, "auto"):
        chat["service_tier"] = body["service_tier"]
    if request.stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    return Request(
        body=chat,
        model=request.model,
        stream=request.stream,
        request_id=request.request_id,
        created_s=request.created_s,
    )


def _tooling(body: Mapping[str, Any]) -> _Json:
    tools, choice = _chosen(_tools(body.get("tools")), body.get("tool_choice"))
    chat: _Json = {"tools": tools} if tools else {}
    if choice is not None and (tools or choice not in ("auto", "none")):
        chat["tool_choice"] = choice
    if tools and body.get("parallel_tool_calls") is not None:
        chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    return chat


def _tools(tools: Any) -> list[_Json]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise Untranslatable("Tools must be an array.", param="tools")
    return [_tool(tool, f"tools[{position}]") for position, tool in enumerate(tools)]


def _tool(tool: Any, where: str) -> _Json:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise Untranslatable("Only functions are supported for this model.", f"{where}.type")
    if not isinstance(name := tool.get("name"), str) or not name:
        raise Untranslatable("A function's name is needed.", f"{where}.name")
    fields = ("name", "description", "parameters", "strict")
    function = {field: tool[field] for field in fields if tool.get(field) is not None}
    chat: _Json = {"type": "function", "function": function}
    if (cache_control := tool.get("cache_control")) is not None:
        chat["cache_control"] = cache_control
    return chat


def _chosen(tools: list[_Json], choice: Any) -> tuple[list[_Json], Any]:
    """The tools that may be called, and the chat's `tool_choice`."""
    if choice is None or (isinstance(choice, str) and choice in _CHOICES):
        return tools, choice
    match choice:
        case {"type": "function", "name": str() as name}:
            return tools, {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list() as few}:
            names = {_function_name(tool, position) for position, tool in enumerate(few)}
            return [tool for tool in tools if tool["function"]["name"] in names], mode
        case _:
            message = "Only functions can be chosen for this model."
            raise Untranslatable(message, param="tool_choice")


def _function_name(tool: Any, position: int) -> str:
    match tool:
        case {"type": "function", "name": str() as name}:
            return name
        case _:
            message = "Only functions can be chosen for this model."
            raise Untranslatable(message, param=f"tool_choice.tools[{position}]")


def _text(body: Mapping[str, Any]) -> _Json:
    text = _object(body, "text", TEXT_FIELDS)
    chat: _Json = {}
    if text.get("verbosity") not in (None, "medium"):
        chat["verbosity"] = text["verbosity"]
    match text.get("format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            chat["response_format"] = {"type": "json_object"}
        case {"type": "json_schema", **spec}:
            named = {name: value for name, value in spec.items() if value is not None}
            chat["response_format"] = {"type": "json_schema", "json_schema": named}
        case _:
            message = "This format is not supported for this model."
            raise Untranslatable(message, param="text.format.type")
    return chat


def _reasoning(body: Mapping[str, Any]) -> _Json:
    effort = _object(body, "reasoning", REASONING_FIELDS).get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _logprobs(body: Mapping[str, Any]) -> _Json:
    include = body.get("include") or []
    if not isinstance(include, list) or not all(
        isinstance(name, str) and name in INCLUDABLE for name in include
    ):
        raise Untranslatable("This names something that is not known.", param="include")
    wanted = body.get("top_logprobs")
    chat: _Json = {"logprobs": True} if wanted or _LOGPROBS in include else {}
    if wanted:
        chat["top_logprobs"] = wanted
    return chat


def _object(
    body: Mapping[str, Any], name: str, table: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Untranslatable("This must be an object.", param=name)
    if table is not None:
        try:
            check_fields(value, table)
        except Untranslatable as refusal:
            raise within(name, refusal) from None
    return value
