"""What the stand-in for a model answers, whatever format it is asked in. Deterministic.

It calls the tools that the prompt names, once for each place ("in Paris and in Oslo"), fills their
arguments and wanted schemas from the prompt's numbers, quoted words and places, tells what tools
gave, remembers the first prompt ("What did I say first?"), counts ("Count to 9"), repeats
("Repeat: …"), refuses ("Refuse this"), sees images and documents, and thinks where it is asked to.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Schema: TypeAlias = dict[str, Any]
End: TypeAlias = Literal["stop", "stop_sequence", "length", "calls", "refusal"]

_MAX_CALLS = 4
_PIECES = re.compile(r"\s*\S+")
_QUOTED = re.compile(r"['\"“”‘’]([^'\"“”‘’]+)['\"“”‘’]")
_PLACE = re.compile(r"\bin ((?:[A-ZÅÄÖ]\w+(?:, | )?)+)")


class DanglingError(Exception):
    """A schema refers to what is not there."""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, reduced to what decides the answer."""

    prompts: tuple[str, ...]  # the texts of the user, first to last
    results: tuple[str, ...] = ()  # of tools, where they are what came last
    prefill: str = ""  # the beginning of the answer, where it was given
    media: tuple[str, ...] = ()  # "image", "document" in the last prompt
    tools: tuple[Tool, ...] = ()
    must_call: str | bool = False  # a tool's name, or any
    may_call: bool = True
    parallel: bool = True
    schema: Schema | None = None  # of the whole answer
    json_object: bool = False
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    thinks: bool = False

    @property
    def prompt(self) -> str:
        return self.prompts[-1] if self.prompts else ""


@dataclass(frozen=True, slots=True)
class Call:
    id: str  # 24 characters that any vendor's ids may end with
    name: str
    arguments: Schema


@dataclass(frozen=True, slots=True)
class Thought:
    """The answer."""

    end: End
    text: str = ""
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    refusal: str = ""
    stopped_by: str | None = None
    tokens: int = field(default=0)  # of all of it
    thinking_tokens: int = 0

    @property
    def pieces(self) -> list[str]:
        return pieces_of(self.text)


def pieces_of(text: str) -> list[str]:
    """A token is a word with the white space before it; nothing is lost."""
    pieces = _PIECES.findall(text)
    rest = text[sum(map(len, pieces)) :]
    return [*pieces, rest] if rest else pieces


def tokens_of(value: object) -> int:
    """Of a text, or of all texts within something."""
    if isinstance(value, str):
        return len(pieces_of(value))
    parts = value.values() if isinstance(value, dict) else value
    return sum(map(tokens_of, parts)) if isinstance(parts, list | type({}.values())) else 0


def think(ask: Ask) -> Thought:
    thinking = f"I consider: {ask.prompt}" if ask.thinks else ""
    thinking_tokens = tokens_of(thinking)
    if calls := _calls(ask):
        spent = sum(1 + tokens_of(json.dumps(call.arguments)) for call in calls)
        text = "" if ask.must_call or ask.schema else "I will look."
        return Thought(
            end="calls",
            text=text,
            calls=calls,
            thinking=thinking,
            tokens=spent + tokens_of(text) + thinking_tokens,
            thinking_tokens=thinking_tokens,
        )
    if "refuse this" in ask.prompt.lower():
        refusal = "I will not help with that."
        return Thought(end="refusal", refusal=refusal, tokens=tokens_of(refusal))
    text, end, stopped_by = _cut(_text(ask), ask)
    return Thought(
        end=end,
        text=text,
        thinking=thinking,
        stopped_by=stopped_by,
        tokens=tokens_of(text) + thinking_tokens,
        thinking_tokens=thinking_tokens,
    )


def _cut(text: str, ask: Ask) -> tuple[str, End, str | None]:
    at, stop = min(
        ((text.index(stop), stop) for stop in ask.stop if stop in text), default=(len(text), None)
    )
    text = text[:at]
    pieces = pieces_of(text)
    if ask.max_tokens is not None and len(pieces) > ask.max_tokens:
        return "".join(pieces[: ask.max_tokens]), "length", None
    return text, "stop" if stop is None else "stop_sequence", stop


def _text(ask: Ask) -> str:
    if ask.schema is not None:
        return json.dumps(_Filler(ask.prompt).value(ask.schema, ask.schema))
    if ask.json_object:
        return json.dumps(_free_object(ask.prompt))
    if ask.results:
        return f"The tools gave: {'; '.join(ask.results)}."
    prompt = ask.prompt
    if ask.prefill:
        return f" continued after {len(ask.prefill)} characters"
    if ask.media:
        return f"I see {' and '.join(ask.media)}."
    if "say first" in prompt:
        return f"You said first: {ask.prompts[0]}"
    if found := re.search(r"[Cc]ount to (\d+)", prompt):
        return " ".join(map(str, range(1, int(found[1]) + 1)))
    if found := re.search(r"Repeat: (.*)", prompt, re.DOTALL):
        return found[1]
    return f"You said: {prompt}" if prompt.strip() else "You said nothing."


# --- calls


def _calls(ask: Ask) -> tuple[Call, ...]:
    if not ask.tools or not ask.may_call or (ask.results and not ask.must_call):
        return ()
    tools = [tool for tool in ask.tools if _is_asked_for(tool, ask.prompt)]
    if isinstance(ask.must_call, str):
        tools = [tool for tool in ask.tools if tool.name == ask.must_call]
    elif ask.must_call and not tools:
        tools = [ask.tools[-1]]
    wanted = [(tool, place) for tool in tools for place in _places(tool, ask.prompt)]
    wanted = wanted[: _MAX_CALLS if ask.parallel else 1]
    return tuple(
        _call(tool, ask.prompt, place, number=len(ask.prompts) * 10 + at)
        for at, (tool, place) in enumerate(wanted)
    )


def _is_asked_for(tool: Tool, prompt: str) -> bool:
    words = [word for word in re.split(r"[_\W]+", tool.name.lower()) if len(word) > 3]
    return tool.name in prompt or any(word in prompt.lower() for word in words)


def _places(tool: Tool, prompt: str) -> list[str]:
    """One for each call: a tool that takes a text is called for each place that is named."""
    properties = tool.schema.get("properties") or {}
    takes_text = any(each.get("type") == "string" for each in properties.values())
    places = [place.strip(" ,") for place in _PLACE.findall(prompt)]
    return places if takes_text and places else [""]


def _call(tool: Tool, prompt: str, place: str, *, number: int) -> Call:
    arguments = _Filler(prompt, place).value(tool.schema, tool.schema)
    known = json.dumps([number, tool.name, arguments])
    return Call(hashlib.sha256(known.encode()).hexdigest()[:24], tool.name, arguments)


class _Filler:
    """Values that fit a JSON schema, taken from the prompt where it has some."""

    def __init__(self, prompt: str, place: str = "") -> None:
        self._prompt = prompt
        self._numbers = [int(each) for each in re.findall(r"(?<![\w.])\d{1,9}", prompt)]
        self._texts = [place] if place else _QUOTED.findall(prompt) + _PLACE.findall(prompt)
        self._default = " ".join(prompt.split()[-3:]).rstrip(".?!") or "nothing"

    def value(self, schema: Schema, root: Schema) -> Any:
        if "$ref" in schema:
            return self.value(_resolved(schema["$ref"], root), root)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema:
                variants = [each for each in schema[name] if each.get("type") != "null"]
                return self.value(variants[0] if variants else schema[name][0], root)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = next(each for each in kind if each != "null") if isinstance(kind, list) else kind
        return self._of(kind, schema, root)

    def _of(self, kind: str, schema: Schema, root: Schema) -> Any:
        match kind:
            case "object":
                properties = schema.get("properties") or {}
                if not properties and schema.get("additionalProperties"):
                    return _free_object(self._prompt)
                return {name: self.value(each, root) for name, each in properties.items()}
            case "array":
                count = max(1, schema.get("minItems", 1))
                return [self.value(schema.get("items", {}), root) for _ in range(count)]
            case "integer" | "number":
                number = self._numbers.pop(0) if self._numbers else 1
                number = max(number, schema.get("minimum", number))
                return min(number, schema.get("maximum", number))
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._texts.pop(0).strip(" ,") if self._texts else self._default


def _free_object(prompt: str) -> Schema:
    """Its keys are those that the prompt quotes."""
    return {name: f"the {name}" for name in _QUOTED.findall(prompt) or ["answer"]}


def _resolved(reference: str, root: Schema) -> Schema:
    found: Any = root
    for name in reference.removeprefix("#/").split("/"):
        if name not in found:
            raise DanglingError(reference)
        found = found[name]
    return dict(found)
