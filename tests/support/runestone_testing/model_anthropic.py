"""The stand-in's Messages API, as strict as Anthropic's: what its SDK's types and its documents say
of a request holds, else it is a 400 (and turns must alternate, as documents long asked).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase

from runestone_testing.model_mind import Ask, Tool, tokens_of
from runestone_testing.model_schema import fault_of
from runestone_testing.model_vendor import (
    Json,
    Refusal,
    demand,
    demand_closed,
    demand_media,
    fingerprint_of,
    slices,
    thought_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ENDS = {
    "stop": "end_turn",
    "calls": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
_NO_SCHEMA_KEYWORDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "oneOf")


@dataclass(frozen=True, slots=True)
class Claude:
    thinking: Literal["none", "budget", "adaptive"]
    sampling: Literal["both", "either", "none"]
    output_format: bool = True


MODELS = {
    "claude-3-5-sonnet-20241022": Claude("none", "both", output_format=False),
    "claude-haiku-4-5": Claude("budget", "either"),
    "claude-opus-4-7": Claude("adaptive", "none"),
}
VERSIONS = ("2023-06-01", "2026-10-21")


class _Request(MessageCreateParamsBase, total=False):
    stream: bool


class _OldRequest(_Request, total=False):
    """The newer version took these away."""

    temperature: float
    top_p: float
    top_k: int


def signature_of(thinking: str) -> str:
    return "sig" + hashlib.sha256(thinking.encode()).hexdigest()


def count_tokens(body: Json) -> Json:
    if fault := fault_of(body, MessageCountTokensParams):
        raise Refusal(f"{fault.path}: {fault.message}")
    _model(body)
    _check_turns(body["messages"])
    return {"input_tokens": _input_tokens(body)}


class Message:
    """One request and its answer."""

    def __init__(self, body: Json, version: str) -> None:
        fault = fault_of(body, _OldRequest if version == VERSIONS[0] else _Request)
        if fault:
            raise Refusal(f"{fault.path}: {fault.message}")
        claude = _model(body)
        _check_sampling(body, claude)
        _check_tools(body)
        _check_thinking(body, claude)
        _check_texts(body)
        _check_turns(body["messages"])
        self.body = body
        self.streams = body.get("stream") is True
        self.thought = thought_of(_ask(body))

    # --- whole

    def reply(self) -> Json:
        return {
            "id": f"msg_{fingerprint_of(self.body)}",
            "type": "message",
            "role": "assistant",
            "model": self.body["model"],
            "content": list(self._blocks()),
            "stop_reason": _ENDS[self.thought.end],
            "stop_sequence": self.thought.stopped_by,
            "stop_details": self._stop_details(),
            "usage": self._usage(),
        }

    def _blocks(self) -> Iterator[Json]:
        thought = self.thought
        if thought.thinking:
            yield {
                "type": "thinking",
                "thinking": thought.thinking,
                "signature": signature_of(thought.thinking),
            }
        if thought.text:
            yield {"type": "text", "text": thought.text, "citations": None}
        for call in thought.calls:
            yield {
                "type": "tool_use",
                "id": f"toolu_{call.id}",
                "name": call.name,
                "input": call.arguments,
                "caller": {"type": "direct"},
            }

    def _stop_details(self) -> Json | None:
        if not self.thought.refusal:
            return None
        return {"type": "refusal", "category": None, "explanation": self.thought.refusal}

    def _usage(self) -> Json:
        cached = "cache_control" in json.dumps(self.body)
        count = _input_tokens(self.body)
        return {
            "input_tokens": 3 if cached else count,
            "cache_read_input_tokens": count // 2 if cached else 0,
            "cache_creation_input_tokens": count - count // 2 if cached else 0,
            "output_tokens": self.thought.tokens,
            "output_tokens_details": {"thinking_tokens": self.thought.thinking_tokens},
            "service_tier": "standard",
        }

    # --- in pieces

    def events(self) -> Iterator[Json]:
        return events_of(self.reply())


def events_of(reply: Json) -> Iterator[Json]:
    """A whole message as the events of its stream."""
    start: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    usage = reply["usage"] | {"output_tokens": 1}
    yield {"type": "message_start", "message": reply | start | {"usage": usage}}
    for index, block in enumerate(reply["content"]):
        if index == 0:
            yield {"type": "ping"}
        empty, deltas = _pieces_of(block)
        yield {"type": "content_block_start", "index": index, "content_block": block | empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {name: reply.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": end, "usage": reply["usage"]}
    yield {"type": "message_stop"}


def _pieces_of(block: Json) -> tuple[Json, list[Json]]:
    """What a block begins with instead, and what follows."""
    if block["type"] == "text":
        texts = [{"type": "text_delta", "text": piece} for piece in slices(block["text"])]
        return {"text": ""}, texts
    if block["type"] == "redacted_thinking":
        return {}, []
    if block["type"] == "thinking":
        thoughts = slices(block["thinking"], 11)
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in thoughts]
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {"thinking": "", "signature": ""}, [*deltas, signature]
    pieces = ["", *slices(json.dumps(block["input"]))] if block["input"] else [""]
    return {"input": {}}, [{"type": "input_json_delta", "partial_json": each} for each in pieces]


# --- what a request must keep to, beyond its types


def _model(body: Json) -> Claude:
    if body["model"] not in MODELS:
        raise Refusal(f"model: {body['model']}", status=404, type="not_found_error")
    return MODELS[body["model"]]


def _check_sampling(body: Json, claude: Claude) -> None:
    given = {name: body[name] for name in ("temperature", "top_p") if name in body}
    for name, value in given.items():
        demand(0 <= value <= 1, f"{name}: must be between 0 and 1")
    if claude.sampling == "none":
        demand(not given and "top_k" not in body, "`temperature` is not supported for this model.")
    if claude.sampling == "either":
        demand(len(given) < 2, "`temperature` and `top_p` cannot both be specified.")
    demand(body["max_tokens"] >= 1, "max_tokens: must be at least 1")
    for stop in body.get("stop_sequences", ()):
        demand(stop.strip(), "stop_sequences: each must contain non-whitespace")


def _check_tools(body: Json) -> None:
    tools = body.get("tools", [])
    names = [tool["name"] for tool in tools]
    demand(len(set(names)) == len(names), "tools: Tool names must be unique.")
    for at, tool in enumerate(tools):
        demand(_TOOL_NAME.fullmatch(tool["name"]), f"tools.{at}.name: String should match pattern")
        is_object = tool["input_schema"].get("type") == "object"
        demand(is_object, f"tools.{at}.input_schema.type: Input should be 'object'")
    choice = body.get("tool_choice")
    demand(choice is None or tools, "tool_choice: may only be specified with tools")
    if choice is not None and choice["type"] == "tool":
        demand(choice["name"] in names, f"Tool '{choice['name']}' not found in provided tools")
    used = any(block["type"] == "tool_use" for each in body["messages"] for block in _blocks(each))
    demand(tools or not used, "Requests which include `tool_use` blocks must define tools")
    wanted = (body.get("output_config") or {}).get("format")
    if wanted:
        demand(MODELS[body["model"]].output_format, "output_config.format: not supported")
        place = "output_config.format.schema"
        demand_closed(wanted["schema"], place, all_required=False, refused=_NO_SCHEMA_KEYWORDS)


def _check_thinking(body: Json, claude: Claude) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        demand(claude.thinking == "budget", "thinking.enabled: not supported for this model")
        least, most = 1024, body["max_tokens"] - 1
        demand(least <= thinking["budget_tokens"] <= most, "thinking.budget_tokens: out of bounds")
    elif thinking["type"] == "adaptive":
        demand(claude.thinking == "adaptive", "adaptive thinking is not supported on this model")
    effort = (body.get("output_config") or {}).get("effort")
    demand(effort is None or claude.thinking == "adaptive", "effort is not supported here")
    if thinking["type"] in ("disabled", "between_tools"):
        return
    demand(body.get("temperature", 1) == 1, "`temperature` may only be 1 when thinking is enabled")
    choice = body.get("tool_choice", {"type": "auto"})
    forced = choice["type"] in ("any", "tool")
    demand(not forced, "Thinking may not be enabled when tool_choice forces tool use.")
    if thinking["type"] == "adaptive":
        return  # takes turns of the model's that came back without their thinking
    turns = [each for each in body["messages"] if each["role"] == "assistant"]
    kinds = [block["type"] for block in _blocks(turns[-1])] if turns else []
    starts = not kinds or "tool_use" not in kinds or "thinking" in kinds[0]
    demand(starts, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.")


def _check_texts(body: Json) -> None:
    system = body.get("system", [])
    blocks = [block for each in body["messages"] for block in _blocks(each)]
    blocks += system if isinstance(system, list) else [{"type": "text", "text": system}]
    for block in blocks:
        if block["type"] == "text":
            demand(block["text"].strip(), "text content blocks must contain non-whitespace text")
        elif block["type"] == "thinking":
            good = block["signature"] == signature_of(block["thinking"])
            demand(good, "Invalid `signature` in `thinking` block")
        elif block["type"] in ("image", "document") and block["source"]["type"] == "base64":
            source = block["source"]
            demand_media(source["media_type"], source["data"], block["type"])
    marks = json.dumps([body.get("tools"), system, body["messages"]]).count('"cache_control": {')
    demand(marks <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")


def _check_turns(messages: list[Json]) -> None:
    demand(messages, "messages: at least one message is required")
    roles = [each["role"] for each in messages]
    wanted = [("user", "assistant")[at % 2] for at in range(len(roles))]
    demand(roles == wanted, f"messages: roles must alternate between user and assistant: {roles}")
    called: list[str] = []
    for at, message in enumerate(messages):
        blocks = _blocks(message)
        demand(blocks or at == len(messages) - 1, f"messages.{at}: must have non-empty content")
        results = [each["tool_use_id"] for each in blocks if each["type"] == "tool_result"]
        text = f"messages.{at}: `tool_use` ids need `tool_result` blocks at once, and only those"
        demand(sorted(results) == sorted(called), text)
        kinds = [each["type"] for each in blocks]
        first = kinds[: len(results)] == ["tool_result"] * len(results)
        demand(first, f"messages.{at}: `tool_result` blocks must come first")
        called = [each["id"] for each in blocks if each["type"] == "tool_use"]
        demand(all(map(_TOOL_ID.fullmatch, called)), f"messages.{at}: tool_use.id: malformed")
        demand(len(set(called)) == len(called), "`tool_use` ids must be unique")
    demand(not called, "messages: `tool_use` ids were found without `tool_result` blocks")
    if roles[-1] == "assistant":
        text = _text(messages[-1]["content"])
        demand(text == text.rstrip(), "final assistant content cannot end with trailing whitespace")


# --- what it asks for


def _ask(body: Json) -> Ask:
    messages = body["messages"]
    last = _blocks(messages[-1])
    spec = (body.get("output_config") or {}).get("format") or {}
    choice = body.get("tool_choice", {"type": "auto"})
    must_call = {"tool": choice.get("name", ""), "any": True}.get(choice["type"], False)
    names = {"image": "an image", "document": "a document"}
    users = [each for each in messages if each["role"] == "user"]
    prompts = [text for each in users if (text := _text(each["content"]))]
    return Ask(
        prompts=tuple(prompts),
        results=tuple(_text(e.get("content", "")) for e in last if e["type"] == "tool_result"),
        prefill=_text(last) if messages[-1]["role"] == "assistant" else "",
        media=tuple(names[each["type"]] for each in last if each["type"] in names),
        tools=tuple(Tool(each["name"], each["input_schema"]) for each in body.get("tools", [])),
        must_call=must_call,
        may_call=choice["type"] != "none",
        parallel=not choice.get("disable_parallel_tool_use", False),
        schema=spec.get("schema"),
        stop=tuple(body.get("stop_sequences", ())),
        max_tokens=body["max_tokens"],
        thinks=body.get("thinking", {}).get("type") in ("enabled", "adaptive"),
    )


def _blocks(message: Json) -> list[Json]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _input_tokens(body: Json) -> int:
    return tokens_of([body.get("system", ""), body["messages"], body.get("tools", [])])
