"""Chat requests and a Claude's replies made from a seed: all that both formats can say, mixed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from runestone_testing.model_anthropic import signature_of

if TYPE_CHECKING:
    import random

Json: TypeAlias = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
PDF = "JVBERi0xLjcgbm90aGluZw=="
MODELS = ("claude-haiku-4-5", "claude-opus-4-7", "claude-3-5-sonnet-20241022")
CACHED = {"cache_control": {"type": "ephemeral"}}
_WORDS = ("alpha", "béta", "γάμμα", "delta 😀", 'quo"ted', "line\nbreak", "back\\slash")
_TOOLS = ("get_weather", "add_numbers", "send-mail")


def tool(name: str) -> Json:
    properties = {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}}
    function = {
        "name": name,
        "description": f"Does {name}.",
        "parameters": {"type": "object", "properties": properties, "required": ["city"]},
    }
    return {"type": "function", "function": function}


SCHEMAS: tuple[Json, ...] = (
    {
        "type": "object",
        "properties": {"title": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["title", "count"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "list": {"$ref": "#/$defs/list"}},
        "required": ["kind", "list"],
        "additionalProperties": False,
        "$defs": {"list": {"type": "array", "items": {"type": "string"}}},
    },
)


class Cases:
    """Each call of `request` and `reply` gives the next."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self._ids = 0

    # --- requests

    def request(self) -> Json:
        body: Json = {"model": self._one(MODELS), "messages": self._messages()}
        used = any("tool_calls" in message for message in body["messages"])
        body |= self._sampling() | self._tooling(always=used) | self._format()
        if self._chance(0.3):
            body["reasoning_effort"] = self._one(("none", "minimal", "low", "medium", "high"))
        if self._chance(0.2):
            body["user"] = "user-1"
        if self._chance(0.3):
            body["stream"] = True
        return body

    def _sampling(self) -> Json:
        fields: Json = {}
        if self._chance(0.6):
            fields[self._one(("max_tokens", "max_completion_tokens"))] = self._one((50, 4096))
        if self._chance(0.2):
            fields["temperature"] = self._one((0, 0.5, 1))
        elif self._chance(0.2):
            fields["top_p"] = 0.5
        if self._chance(0.3):
            fields["stop"] = self._one(("END", ["END"], ["A", "B"]))
        if self._chance(0.1):
            fields["seed"] = 7
        return fields

    def _tooling(self, *, always: bool) -> Json:
        if not always and self._chance(0.5):
            return {}
        tools = [tool(name) for name in _TOOLS[: self._random.randint(1, 3)]]
        if self._chance(0.2):
            tools[-1] |= CACHED
        fields: Json = {"tools": tools}
        if self._chance(0.5):
            named = {"type": "function", "function": {"name": _TOOLS[0]}}
            fields["tool_choice"] = self._one(("auto", "none", "required", named))
        if self._chance(0.3):
            fields["parallel_tool_calls"] = self._one((True, False))
        return fields

    def _format(self) -> Json:
        if self._chance(0.8):
            return {}
        spec = {"name": "answer", "schema": self._one(SCHEMAS), "strict": True}
        formats = ({"type": "json_schema", "json_schema": spec}, {"type": "text"})
        return {"response_format": self._one(formats)}

    def _messages(self) -> list[Json]:
        messages: list[Json] = []
        if self._chance(0.5):
            role = self._one(("system", "developer"))
            messages.append({"role": role, "content": self._text_content()})
        for _ in range(self._random.randint(0, 2)):
            messages.append({"role": "user", "content": self._user_content()})
            messages += self._assistant()
        messages.append({"role": "user", "content": self._user_content()})
        if self._chance(0.15):
            messages.append({"role": "user", "content": self._words()})
        return messages

    def _assistant(self) -> list[Json]:
        message: Json = {"role": "assistant", "content": self._words()}
        if self._chance(0.2):
            text = self._words()
            block = {"type": "thinking", "thinking": text, "signature": signature_of(text)}
            message["thinking_blocks"] = [block]
        if self._chance(0.5):
            return [message]
        names = [self._one(_TOOLS) for _ in range(self._random.randint(1, 3))]
        message["tool_calls"] = [self._call(name) for name in names]
        if self._chance(0.4):
            message["content"] = None
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": self._words()}
            for call in message["tool_calls"]
        ]
        return [message, *results]

    def _call(self, name: str) -> Json:
        self._ids += 1
        arguments = json.dumps({"city": self._words(), "days": 3}) if self._chance(0.8) else "{}"
        function = {"name": name, "arguments": arguments}
        return {"id": f"call_{self._ids}", "type": "function", "function": function}

    def _user_content(self) -> str | list[Json]:
        if self._chance(0.5):
            return self._words()
        parts: list[Json] = [{"type": "text", "text": self._words()}]
        if self._chance(0.3):
            parts[0] |= CACHED
        if self._chance(0.4):
            parts.append(self._image())
        if self._chance(0.2):
            file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
            parts.append({"type": "file", "file": file})
        return parts

    def _image(self) -> Json:
        url = self._one((f"data:image/png;base64,{PNG}", "https://example.org/x.png"))
        return {"type": "image_url", "image_url": {"url": url}}

    def _text_content(self) -> str | list[Json]:
        if self._chance(0.5):
            return self._words()
        part: Json = {"type": "text", "text": self._words()}
        return [part | CACHED if self._chance(0.5) else part]

    # --- replies

    def reply(self) -> Json:
        content: list[Json] = []
        if self._chance(0.3):
            text = self._words()
            content.append({"type": "thinking", "thinking": text, "signature": signature_of(text)})
        if self._chance(0.1):
            content.append({"type": "redacted_thinking", "data": "b3BhcXVl"})
        texts = [self._words() for _ in range(self._random.randint(0, 2))]
        content += [{"type": "text", "text": text} for text in texts]
        names = [self._one(_TOOLS) for _ in range(self._random.choice((0, 0, 1, 3)))]
        content += [self._tool_use(name) for name in names]
        ends = ("end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded")
        reason = "tool_use" if names else self._one(ends)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": "END" if reason == "stop_sequence" else None,
            "usage": self._usage(),
        }

    def _tool_use(self, name: str) -> Json:
        self._ids += 1
        given = {"city": self._words(), "deep": [1, {"a": None}]} if self._chance(0.8) else {}
        return {"type": "tool_use", "id": f"toolu_{self._ids}", "name": name, "input": given}

    def _usage(self) -> Json:
        usage: Json = {
            "input_tokens": self._random.randint(1, 99),
            "output_tokens": self._random.randint(1, 99),
        }
        if self._chance(0.4):
            usage["cache_read_input_tokens"] = self._random.randint(0, 99)
            usage["cache_creation_input_tokens"] = self._random.randint(0, 99)
        return usage

    # --- luck

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _one(self, options: Any) -> Any:
        return self._random.choice(options)

    def _words(self) -> str:
        return " ".join(self._random.sample(_WORDS, self._random.randint(1, 3)))
