"""OpenAI's chat completions: the surface that all others are said through."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.surfaces.base import (
    CHAT,
    Traits,
    check_choices,
    check_counts,
    check_kinds,
    check_model,
    check_stream,
)
from runestone_sidecar.upstream.surfaces.envelope import envelope, error_frame
from runestone_sidecar.upstream.surfaces.preferences import OF_CHAT, preferred

_FIELD_NEEDS: Final = (("stream", "Streaming"), ("tools", "Tools"), ("logprobs", "Logprobs"))
_FORMAT: Final = "response_format"
_COUNTS: Final = ("max_tokens", "max_completion_tokens")
_KINDS: Final = (("stream_options", dict, "an object"), ("tools", list, "an array"))
_CHECKED: Final = frozenset({"stream", "n", *_COUNTS, *(name for name, _, _ in _KINDS)})
_NEEDING: Final = frozenset({_FORMAT, *(field for field, _ in _FIELD_NEEDS)})
_PREFERRING: Final = frozenset(each.field for each in OF_CHAT)
_PART_NEEDS: Final = {"image_url": "Vision", "input_audio": "Audio"}


class Chat:
    name: Final = "chat"
    forwarded: Final[frozenset[bytes]] = frozenset()
    translator: Final = None  # all others are translated to this

    def check(self, body: Mapping[str, Any]) -> None:
        check_model(body)
        _check_messages(body)
        if _CHECKED.isdisjoint(body):
            return
        check_stream(body)
        check_counts(body, *_COUNTS)
        check_choices(body, "n")
        check_kinds(body, *_KINDS)

    def traits(self, body: Mapping[str, Any]) -> Traits:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        user = body.get("user")
        choices = (body["n"] or 1) if "n" in body else 1
        traits = Traits(
            needs_of(body),
            limit * choices if limit else None,
            user if isinstance(user, str) else None,
        )
        if choices != 1:
            traits.choices = choices
        if not _PREFERRING.isdisjoint(body):
            traits.prefers = preferred(body, OF_CHAT)
        return traits

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return True

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_frame(error)


OPENAI_CHAT: Final = Chat()


def _check_messages(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be an array of at least one message.", param="messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(
                f"'messages[{number}]' must be an object with a 'role'.",
                param=f"messages[{number}]",
            )


def needs_of(body: Mapping[str, Any]) -> frozenset[str]:
    """What a chat cannot do without."""
    needs = [] if _NEEDING.isdisjoint(body) else _needs_of_fields(body)
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            needs += _needs_of_parts(content)
    return CHAT.union(needs) if needs else CHAT


def _needs_of_fields(body: Mapping[str, Any]) -> list[str]:
    needs = [need for field, need in _FIELD_NEEDS if body.get(field)]
    response_format = body.get(_FORMAT)
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        needs.append("JSONSchema")
    return needs


def _needs_of_parts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _PART_NEEDS:
            yield _PART_NEEDS[kind]
