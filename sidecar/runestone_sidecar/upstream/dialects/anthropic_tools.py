"""Tools, tool choice and structured output of an OpenAI chat request, in Anthropic's terms.

Structured output goes natively where the model has it and can say the schema; elsewhere by a tool
that the model must call, whose input becomes the content of the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from runestone_sidecar.upstream.dialects.anthropic_models import Generation
from runestone_sidecar.upstream.dialects.anthropic_schema import fitted_schema
from runestone_sidecar.upstream.dialects.base import Untranslatable

Block = dict[str, Any]

ANSWER_TOOL: Final = "runestone_answer"
_ANSWER_DESCRIPTION: Final = "Gives the whole answer as its input."
_ANY_OBJECT: Final[Block] = {"type": "object", "additionalProperties": True}
_NOTHING: Final[Block] = {"type": "object", "properties": {}}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


@dataclass(frozen=True, slots=True)
class Tooling:
    tools: list[Block]
    choice: Block | None = None
    output_format: Block | None = None

    @property
    def forces_a_call(self) -> bool:
        return self.choice is not None and self.choice["type"] in ("any", "tool")


def tooling_of(body: Mapping[str, Any], used_tools: list[str], generation: Generation) -> Tooling:
    """`used_tools`: those that the conversation already called. Raises Untranslatable."""
    tools = _tools(body.get("tools"))
    tooling = _with_choice(tools, body.get("tool_choice"))
    tooling = _with_format(tooling, body.get("response_format"), generation)
    if not tooling.tools and used_tools:
        # Calls in the conversation need tools in the request; OpenAI lets a last turn go without.
        stand_ins = [{"name": name, "input_schema": _NOTHING} for name in used_tools]
        tooling = replace(tooling, tools=stand_ins, choice={"type": "none"})
    if body.get("parallel_tool_calls") is False and tooling.tools:
        choice = tooling.choice or {"type": "auto"}
        if choice["type"] != "none":
            tooling = replace(tooling, choice={**choice, "disable_parallel_tool_use": True})
    return tooling


def defines_answer_tool(body: Mapping[str, Any]) -> bool:
    """Whether calls of ANSWER_TOOL are the client's own."""
    tools = body.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict)
        and isinstance(function := tool.get("function"), dict)
        and function.get("name") == ANSWER_TOOL
        for tool in tools
    )


def _tools(tools: Any) -> list[Block]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise Untranslatable("Tools must be an array.", param="tools")
    return [_tool(tool, f"tools[{position}]") for position, tool in enumerate(tools)]


def _tool(tool: Any, where: str) -> Block:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type", "function") != "function":
        raise Untranslatable("Only functions are supported for this model.", f"{where}.type")
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not name:
        raise Untranslatable("A function's name is needed.", f"{where}.function.name")
    block: Block = {"name": name}
    if isinstance(description, str) and description:
        block["description"] = description
    block["input_schema"] = _input_schema(function.get("parameters"), where)
    if (cache_control := tool.get("cache_control")) is not None:
        block["cache_control"] = cache_control
    return block


def _input_schema(parameters: Any, where: str) -> Block:
    if not parameters:
        return _NOTHING
    if not isinstance(parameters, dict):
        raise Untranslatable("Parameters must be a JSON schema.", f"{where}.function.parameters")
    return parameters if "type" in parameters else {"type": "object", **parameters}


def _with_choice(tools: list[Block], choice: Any) -> Tooling:
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools, choice = _allowed(tools, choice.get("allowed_tools"))
    if choice is None:
        return Tooling(tools)
    if isinstance(choice, str) and choice in _CHOICES:
        if tools:
            return Tooling(tools, {"type": _CHOICES[choice]})
        if choice != "required":
            return Tooling(tools)
    name = _function_name(choice)
    if not any(tool["name"] == name for tool in tools):
        raise Untranslatable("This is not a choice among the request's tools.", "tool_choice")
    return Tooling(tools, {"type": "tool", "name": name})


def _allowed(tools: list[Block], allowed: Any) -> tuple[list[Block], Any]:
    wanted = allowed.get("tools") if isinstance(allowed, dict) else None
    if not isinstance(wanted, list):
        raise Untranslatable("Allowed tools must be an array.", "tool_choice.allowed_tools.tools")
    names = {_function_name(tool) for tool in wanted}
    return [tool for tool in tools if tool["name"] in names], allowed.get("mode")


def _function_name(choice: Any) -> str | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _with_format(tooling: Tooling, wanted: Any, generation: Generation) -> Tooling:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return tooling
    if kind not in ("json_schema", "json_object"):
        raise Untranslatable("This response format is not supported.", "response_format.type")
    schema, description = _wanted_schema(wanted) if kind == "json_schema" else (None, None)
    if schema is not None and generation.output_format and (fitted := fitted_schema(schema)):
        return replace(tooling, output_format={"type": "json_schema", "schema": fitted})
    if not generation.forced_tools:
        param = "response_format" if schema is None else "response_format.json_schema.schema"
        message = "This model can only hold to a json_schema of declared properties, not to this."
        raise Untranslatable(message, param=param)
    return _with_answer_tool(tooling, schema, description)


def _wanted_schema(wanted: Block) -> tuple[Block | None, str | None]:
    spec = wanted.get("json_schema")
    schema = spec.get("schema") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not (schema is None or isinstance(schema, dict)):
        raise Untranslatable("A JSON schema is needed.", "response_format.json_schema.schema")
    description = spec.get("description")
    return schema, description if isinstance(description, str) else None


def _with_answer_tool(tooling: Tooling, schema: Block | None, description: str | None) -> Tooling:
    if schema is None:
        schema = _ANY_OBJECT
    if schema.get("type", "object") != "object":
        message = "For this model the answer must be an object."
        raise Untranslatable(message, param="response_format.json_schema.schema")
    if any(tool["name"] == ANSWER_TOOL for tool in tooling.tools):
        raise Untranslatable("This name of a tool is reserved here.", param="tools")
    if tooling.forces_a_call:
        return tooling  # the turn is to be a tool call, so it has no content to be formatted
    answer = {
        "name": ANSWER_TOOL,
        "description": description or _ANSWER_DESCRIPTION,
        "input_schema": {"type": "object", **schema},
    }
    choice: Block
    if tooling.tools and (tooling.choice is None or tooling.choice["type"] == "auto"):
        choice = {"type": "any"}  # some of the client's tools, or the answer
    else:
        # Or a model may call it more than once.
        choice = {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}
    return replace(tooling, tools=[*tooling.tools, answer], choice=choice)
