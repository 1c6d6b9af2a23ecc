"""The stand-in's chat completions, as strict as OpenAI's: what its SDK's types and its documents
say of a request holds, else it is a 400.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from runestone_testing.model_mind import Ask, Call, Tool, pieces_of, tokens_of
from runestone_testing.model_schema import fault_of
from runestone_testing.model_vendor import (
    Json,
    Refusal,
    demand,
    demand_closed,
    demand_data_url,
    fingerprint_of,
    slices,
    thought_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-5-mini")
CREATED_S = 1_790_000_000
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ENDS = {"calls": "tool_calls", "length": "length"}  # all others are a stop


class _Request(CompletionCreateParamsBase, total=False):
    stream: bool | None


def _without_echoes(body: Json) -> Json:
    """What replies have and requests may hand back, though the types do not say so."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept = [
        {name: value for name, value in each.items() if name != "annotations"}
        if isinstance(each, dict) and each.get("role") == "assistant"
        else each
        for each in messages
    ]
    return body | {"messages": kept}


def check_model(model: str) -> None:
    if model not in MODELS:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(message, "model", 404, code="model_not_found")


class Chat:
    """One request and its answer."""

    def __init__(self, body: Json) -> None:
        if fault := fault_of(_without_echoes(body), _Request):
            unknown = "not permitted" in fault.message
            code = "unknown_parameter" if unknown else "invalid_type"
            raise Refusal(f"{fault.message}: '{fault.path}'.", fault.path, code=code)
        check_model(body["model"])
        _check_tools(body)
        _check_format(body)
        _check_numbers(body)
        _check_turns(body["messages"])
        self.body = body
        self.streams = body.get("stream") is True
        self.thought = thought_of(_ask(body))

    # --- whole

    def reply(self) -> Json:
        choices = [
            {
                "index": index,
                "message": self._message(),
                "logprobs": self._logprobs(self.thought.pieces),
                "finish_reason": _ENDS.get(self.thought.end, "stop"),
            }
            for index in range(self.body.get("n") or 1)
        ]
        return self._envelope("chat.completion") | {"choices": choices, "usage": self._usage()}

    def _message(self) -> Json:
        thought = self.thought
        message: Json = {
            "role": "assistant",
            "content": None if thought.refusal or not thought.text else thought.text,
            "refusal": thought.refusal or None,
            "annotations": [],
        }
        if thought.calls:
            message["tool_calls"] = [_call(call) for call in thought.calls]
        return message

    def _envelope(self, kind: str) -> Json:
        known = fingerprint_of(self.body)
        return {
            "id": f"chatcmpl-{known}",
            "object": kind,
            "created": CREATED_S,
            "model": f"{self.body['model']}-2026-01-01",
            "service_tier": "default",
            "system_fingerprint": "fp_standin",
        }

    def _usage(self) -> Json:
        prompt = tokens_of([self.body["messages"], self.body.get("tools", [])])
        spent = self.thought.tokens * (self.body.get("n") or 1)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": spent,
            "total_tokens": prompt + spent,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.thought.thinking_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _logprobs(self, pieces: list[str]) -> Json | None:
        if not self.body.get("logprobs"):
            return None
        count = self.body.get("top_logprobs") or 0
        content = []
        for piece in pieces:
            one = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
            others = [one, *({"token": f"~{n}", "logprob": -9.0, "bytes": None} for n in range(9))]
            content.append({**one, "top_logprobs": others[:count]})
        return {"content": content, "refusal": None}

    # --- in pieces

    def events(self) -> Iterator[str]:
        """The data of each event."""
        options = self.body.get("stream_options") or {}
        usage = {"usage": None} if options.get("include_usage") else {}
        for index in range(self.body.get("n") or 1):
            for delta, pieces in self._deltas():
                yield self._chunk(index, delta, self._logprobs(pieces) if pieces else None, usage)
            end = _ENDS.get(self.thought.end, "stop")
            yield self._chunk(index, {}, None, usage, end)
        if usage:
            envelope = self._envelope("chat.completion.chunk")
            yield json.dumps(envelope | {"choices": [], "usage": self._usage()})
        yield "[DONE]"

    def _deltas(self) -> Iterator[tuple[Json, list[str]]]:
        thought = self.thought
        content = "" if thought.text else None
        yield {"role": "assistant", "content": content, "refusal": None}, []
        for piece in thought.pieces:
            yield {"content": piece}, [piece]
        for piece in pieces_of(thought.refusal):
            yield {"refusal": piece}, []
        for index, call in enumerate(thought.calls):
            function = {"name": call.name, "arguments": ""}
            start = {"id": f"call_{call.id}", "type": "function", "function": function}
            yield {"tool_calls": [{"index": index, **start}]}, []
            for piece in slices(json.dumps(call.arguments)):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, []

    def _chunk(
        self, index: int, delta: Json, logprobs: Json | None, more: Json, end: str | None = None
    ) -> str:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": end}
        return json.dumps(self._envelope("chat.completion.chunk") | {"choices": [choice]} | more)


def _call(call: Call) -> Json:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": f"call_{call.id}", "type": "function", "function": function}


# --- what a request must keep to, beyond its types


def _check_tools(body: Json) -> None:
    functions = [tool["function"] for tool in body.get("tools", [])]
    for at, function in enumerate(functions):
        place = f"tools[{at}].function"
        demand(_NAME.fullmatch(function["name"]), "The name is malformed.", f"{place}.name")
        parameters = function.get("parameters", {"type": "object"})
        demand(parameters.get("type") == "object", "schema must be 'object'.", place)
        if function.get("strict"):
            demand_closed(parameters, place, all_required=True, refused=())
    demand("tools" not in body or functions, "[] is too short - 'tools'", "tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        demand(name not in body or functions, f"'{name}' is only allowed with 'tools'.", name)
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "function":
        known = {function["name"] for function in functions}
        named = choice["function"]["name"] in known
        demand(named, "Tool choice names no tool of the request.", "tool_choice")


def _check_format(body: Json) -> None:
    wanted = body.get("response_format", {"type": "text"})
    if wanted["type"] == "json_object":
        said = "json" in json.dumps(body["messages"]).lower()
        demand(said, "'messages' must contain the word 'json' in some form.", "messages")
    elif wanted["type"] == "json_schema":
        spec = wanted["json_schema"]
        demand(_NAME.fullmatch(spec["name"]), "The name is malformed.", "response_format")
        if spec.get("strict"):
            place = "response_format.json_schema.schema"
            demand(spec.get("schema", {}).get("type") == "object", "'object' is needed.", place)
            demand_closed(spec["schema"], place, all_required=True, refused=("oneOf", "allOf"))


def _check_numbers(body: Json) -> None:
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("n", 1, 128)):
        value = body.get(name)
        demand(value is None or low <= value <= high, f"'{name}' is out of bounds.", name)
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        demand(value is None or value >= 1, f"'{name}' must be positive.", name)
    stop = body.get("stop")
    demand(not isinstance(stop, list) or len(stop) <= 4, "'stop' is too long.", "stop")
    asked = body.get("stream_options") is None or body.get("stream") is True
    demand(asked, "'stream_options' is only allowed when 'stream' is enabled.", "stream_options")
    asked = body.get("top_logprobs") is None or body.get("logprobs") is True
    demand(asked, "'logprobs' must be set for 'top_logprobs'.", "top_logprobs")


def _check_turns(messages: list[Json]) -> None:
    demand(messages, "[] is too short - 'messages'", "messages")
    open_calls: set[str] = set()
    for at, message in enumerate(messages):
        place = f"messages[{at}]"
        if message["role"] == "tool":
            wanted = message["tool_call_id"] in open_calls
            text = "messages with role 'tool' must be a response to a preceding 'tool_calls'."
            demand(wanted, text, f"{place}.tool_call_id")
            open_calls.remove(message["tool_call_id"])
            continue
        text = f"'tool_calls' must be followed by tool messages; missing: {sorted(open_calls)}"
        demand(not open_calls, text, place)
        open_calls = {call["id"] for call in message.get("tool_calls", ())}
        if message["role"] == "assistant":
            said = message.get("content") or message.get("refusal") or open_calls
            said = said or message.get("content") == ""
            demand(said, "'content' or 'tool_calls' is needed.", f"{place}.content")
        for part in _parts(message.get("content")):
            _check_part(part, place)
    demand(not open_calls, "An assistant message with 'tool_calls' must be answered.", "messages")


def _check_part(part: Json, place: str) -> None:
    if part["type"] == "image_url":
        url = part["image_url"]["url"]
        if not url.startswith(("https://", "http://")):
            demand_data_url(url, f"{place}.image_url.url")
    elif part["type"] == "file" and "file_data" in part["file"]:
        demand_data_url(part["file"]["file_data"], f"{place}.file.file_data")


# --- what it asks for


def _ask(body: Json) -> Ask:
    messages = body["messages"]
    prompts = [_text(each["content"]) for each in messages if each["role"] == "user"]
    last = messages[-1]
    spec = (body.get("response_format") or {}).get("json_schema", {})
    choice = body.get("tool_choice", "auto")
    tools = [each["function"] for each in body.get("tools", [])]
    stop = body.get("stop") or ()
    return Ask(
        prompts=tuple(prompts),
        results=_results(messages),
        media=tuple(_media(last.get("content"))) if last["role"] == "user" else (),
        tools=tuple(Tool(each["name"], each.get("parameters", {})) for each in tools),
        must_call=_must_call(choice),
        may_call=choice != "none",
        parallel=body.get("parallel_tool_calls", True),
        schema=spec.get("schema"),
        json_object=(body.get("response_format") or {}).get("type") == "json_object",
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinks=body.get("reasoning_effort") not in (None, "none"),
    )


def _must_call(choice: Any) -> str | bool:
    if isinstance(choice, dict) and choice["type"] == "function":
        return str(choice["function"]["name"])
    return bool(choice == "required")


def _results(messages: list[Json]) -> tuple[str, ...]:
    found: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        found.insert(0, _text(message["content"]))
    return tuple(found)


def _parts(content: Any) -> list[Json]:
    return content if isinstance(content, list) else []


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _parts(content) if part["type"] == "text")


def _media(content: Any) -> Iterator[str]:
    names = {"image_url": "an image", "file": "a document", "input_audio": "a sound"}
    for part in _parts(content):
        if part["type"] in names:
            yield names[part["type"]]
