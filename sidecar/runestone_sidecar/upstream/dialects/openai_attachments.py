"""Images and files of tool results, which OpenAI takes from users only: "[attachment N]" stands in
for one, and it follows in a user message behind the results, after that text.
"""

from typing import Any, NamedTuple

_Message = dict[str, Any]
_Part = dict[str, Any]


class Apart(NamedTuple):
    messages: list[Any]
    # Which of the messages given each of these was; None: it holds attachments.
    origins: tuple[int | None, ...]


def attachments_apart(messages: Any) -> Apart | None:
    """None where all of them can stay as they are."""
    if not isinstance(messages, list) or not any(map(_has_attachments, messages)):
        return None
    said: list[Any] = []
    origins: list[int | None] = []
    attached: list[_Part] = []
    for number, message in enumerate(messages):
        if _is_result(message):
            said.append(_result(message, attached))
            origins.append(number)
            continue
        if not attached:
            said.append(message)
            origins.append(number)
        elif _is_of_user(message):
            parts = [*attached, *_parts_of(message.get("content"))]
            said.append({**message, "content": parts})
            origins.append(None)
        else:
            said += [{"role": "user", "content": attached}, message]
            origins += [None, number]
        attached = []
    if attached:
        said.append({"role": "user", "content": attached})
        origins.append(None)
    return Apart(said, tuple(origins))


def _has_attachments(message: Any) -> bool:
    return _is_result(message) and not all(map(_is_text, _parts_of(message.get("content"))))


def _is_result(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "tool"


def _is_of_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"


def _parts_of(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def _result(message: _Message, attached: list[_Part]) -> _Message:
    if not _has_attachments(message):
        return message
    texts = [
        part["text"] if _is_text(part) else _attach(part, attached)
        for part in _parts_of(message.get("content"))
    ]
    return {**message, "content": "\n\n".join(filter(None, texts))}


def _attach(part: _Part, attached: list[_Part]) -> str:
    """Its name."""
    name = f"[attachment {len(attached) // 2 + 1}]"
    attached += [{"type": "text", "text": name}, part]
    return name
