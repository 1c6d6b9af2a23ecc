"""The items of a Responses request as the messages of a chat.

What the model said in one turn (its reasoning, its text, its calls) are items of their own there
and one message here: the results of calls must follow the very message that made them.
"""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import Fate, within
from runestone_sidecar.upstream.surfaces.responses_fields import ITEMS, UNKNOWN_ITEM
from runestone_sidecar.upstream.surfaces.responses_seal import unsealed
from runestone_sidecar.upstream.surfaces.translated_refusal import place_of

_Json = dict[str, Any]
_Place = int | str  # an item's position, or the name of a field

_INPUT: Final = "input"
_INSTRUCTIONS: Final = "instructions"
_ROLES: Final = {"user": "user", "system": "system", "developer": "system"}
_DETAILS: Final = {"low": "low", "high": "high", "original": "high"}
_UPLOADED: Final = "Uploaded files are of one provider only: give the content itself."


def messages_of(instructions: Any, given: Any) -> list[_Json]:
    """Raises Untranslatable."""
    messages = _said(instructions, given).messages()
    if not messages:
        raise Untranslatable("The input is empty.", param="input")
    return messages


def origin_of(instructions: Any, given: Any, number: int, rest: str) -> str | None:
    """What the chat's message of that number was said from, or a path within it (`rest`).

    Of a request that could be said. None: of several items.
    """
    origin = _said(instructions, given).origin(number, rest)
    return f"input[{origin}]" if isinstance(origin, int) else origin


def _said(instructions: Any, given: Any) -> "_Conversation":
    conversation = _Conversation()
    if instructions is not None:
        if not isinstance(instructions, str):
            raise Untranslatable("This must be a string.", param="instructions")
        if instructions:
            conversation.place = _INSTRUCTIONS
            conversation.take("system", instructions)
            conversation.place = _INPUT
    if isinstance(given, str):
        conversation.take("user", given)
    elif isinstance(given, list):
        for position, item in enumerate(given):
            conversation.place = position
            try:
                _take(conversation, item)
            except Untranslatable as refusal:
                raise within(f"input[{position}]", refusal) from None
    else:
        raise Untranslatable("A string or an array of items is needed.", param="input")
    return conversation


class _Turn:
    """What the model said until someone else spoke."""

    __slots__ = ("calls", "content", "places", "reasoning", "thinking")

    def __init__(self) -> None:
        self.places: list[tuple[str, _Place]] = []  # of the items, by the message's field
        self.content: list[_Json] = []
        self.calls: list[_Json] = []
        self.thinking: list[Mapping[str, Any]] = []
        self.reasoning: list[str] = []

    def message(self) -> _Json | None:
        if not self.content and not self.calls:
            return None  # it was cut short while it still thought
        message: _Json = {"role": "assistant", "content": _plain(self.content) or None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.thinking:
            message["thinking_blocks"] = self.thinking
        if self.calls:
            message["tool_calls"] = self.calls
        return message

    def origin(self, rest: str) -> _Place | None:
        path = place_of(rest)
        places = [place for field, place in self.places if path is None or field == path.field]
        if path is not None and path.index is not None and path.field == "tool_calls":
            places = places[path.index : path.index + 1]
        return places[0] if len(places) == 1 else None


class _Conversation:
    __slots__ = ("_places", "_said", "_turn", "place")

    def __init__(self) -> None:
        self.place: _Place = _INPUT  # of what is said
        self._said: list[_Json | _Turn] = []
        self._places: list[_Place] = []  # where each of these began
        self._turn: _Turn | None = None

    def take(self, role: str, content: Any, **more: Any) -> None:
        """A message that is not the model's."""
        self._turn = None
        self._said.append({"role": role, **more, "content": content})
        self._places.append(self.place)

    def say(self, parts: list[_Json]) -> None:
        turn = self._next_text()
        turn.content += parts
        turn.places.append(("content", self.place))

    def reason(self, text: str) -> None:
        turn = self._next_text()
        turn.reasoning.append(text)
        turn.places.append(("reasoning_content", self.place))

    def call(self, call: _Json) -> None:
        turn = self._open()
        turn.calls.append(call)
        turn.places.append(("tool_calls", self.place))

    def think(self, block: Mapping[str, Any]) -> None:
        turn = self._open()
        if turn.content or turn.calls:  # thinking keeps its place before what it led to
            turn = self._open(anew=True)
        turn.thinking.append(block)
        turn.places.append(("thinking_blocks", self.place))

    def messages(self) -> list[_Json]:
        said = (each.message() if isinstance(each, _Turn) else each for each in self._said)
        return [message for message in said if message is not None]

    def origin(self, number: int, rest: str) -> _Place | None:
        for each, place in zip(self._said, self._places, strict=True):
            if isinstance(each, _Turn) and each.message() is None:
                continue
            if number == 0:
                return each.origin(rest) if isinstance(each, _Turn) else place
            number -= 1
        return None

    def _next_text(self) -> _Turn:
        turn = self._open()
        # After a call it must be the same message: the results of the calls are to follow it.
        return self._open(anew=True) if turn.content and not turn.calls else turn

    def _open(self, *, anew: bool = False) -> _Turn:
        if self._turn is None or anew:
            self._turn = _Turn()
            self._said.append(self._turn)
            self._places.append(self.place)
        return self._turn


def _take(conversation: _Conversation, item: Any) -> None:
    if not isinstance(item, dict):
        raise Untranslatable("An item must be an object.")
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference"
    field = ITEMS.get(kind, UNKNOWN_ITEM) if isinstance(kind, str) else UNKNOWN_ITEM
    if field.fate is Fate.REFUSED:
        raise Untranslatable(field.reason, param="type")
    match kind:
        case "message":
            _take_message(conversation, item)
        case "function_call":
            conversation.call(_call(item))
        case "function_call_output":
            call_id = _text(item, "call_id", "The id of a call is needed.")
            conversation.take("tool", _output(item.get("output")), tool_call_id=call_id)
        case _:
            _take_reasoning(conversation, item)


def _take_message(conversation: _Conversation, item: _Json) -> None:
    role, content = item.get("role"), item.get("content")
    if role == "assistant":
        if parts := _parts(content, "content", "text", "refusal"):
            conversation.say(parts)
    elif isinstance(role, str) and role in _ROLES:
        kinds = ("text", "image_url", "file", "input_audio") if role == "user" else ("text",)
        conversation.take(_ROLES[role], _plain(_parts(content, "content", *kinds)))
    else:
        raise Untranslatable("This role is not supported for this model.", param="role")


def _call(item: _Json) -> _Json:
    function = {
        "name": _text(item, "name", "A function's name is needed."),
        "arguments": _text(item, "arguments", "Arguments are JSON in a string.", empty=True),
    }
    call_id = _text(item, "call_id", "The id of a call is needed.")
    return {"id": call_id, "type": "function", "function": function}


def _output(output: Any) -> str | list[_Json]:
    return _plain(_parts(output, "output", "text", "image_url", "file"))


def _take_reasoning(conversation: _Conversation, item: _Json) -> None:
    if (block := unsealed(item.get("encrypted_content"))) is not None:
        conversation.think(block)
        return
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "reasoning_text", "text": str() as text}:
                conversation.reason(text)


def _parts(content: Any, param: str, *kinds: str) -> list[_Json]:
    """As parts of a chat's message, of these kinds only."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise Untranslatable("This must be a string or an array of parts.", param=param)
    parts = []
    for position, given in enumerate(content):
        try:
            part = _part(given)
            if part["type"] not in kinds:
                raise Untranslatable("This part is not supported here.", param="type")
        except Untranslatable as refusal:
            raise within(f"{param}[{position}]", refusal) from None
        if (cache_control := given.get("cache_control")) is not None:
            part["cache_control"] = cache_control
        parts.append(part)
    return parts


def _plain(parts: list[_Json]) -> str | list[_Json]:
    """One text, which nearly all contents are, as a string: more vendors know it."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def _part(part: Any) -> _Json:
    if not isinstance(part, dict):
        raise Untranslatable("A part must be an object.")
    match part.get("type"):
        case "input_text" | "output_text":
            return {"type": "text", "text": _text(part, "text", "A text is needed.", empty=True)}
        case "refusal":
            refusal = _text(part, "refusal", "A text is needed.", empty=True)
            return {"type": "refusal", "refusal": refusal}
        case "input_image":
            return _image(part)
        case "input_file":
            return _file(part)
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            raise Untranslatable("This part is not supported for this model.", param="type")


def _image(part: _Json) -> _Json:
    if part.get("image_url") is None and part.get("file_id") is not None:
        raise Untranslatable(_UPLOADED, param="file_id")
    image = {"url": _text(part, "image_url", "An image needs a URL.")}
    detail = part.get("detail")
    if isinstance(detail, str) and detail in _DETAILS:
        image["detail"] = _DETAILS[detail]
    return {"type": "image_url", "image_url": image}


def _file(part: _Json) -> _Json:
    for elsewhere in ("file_id", "file_url"):
        if part.get("file_data") is None and part.get(elsewhere) is not None:
            raise Untranslatable(_UPLOADED, param=elsewhere)
    file = {"file_data": _text(part, "file_data", "A file needs its content.")}
    if isinstance(name := part.get("filename"), str) and name:
        file["filename"] = name
    return {"type": "file", "file": file}


def _text(item: _Json, name: str, message: str, *, empty: bool = False) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not (value or empty):
        raise Untranslatable(message, param=name)
    return value
