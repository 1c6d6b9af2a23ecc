"""Anthropic's Messages API, as it is to providers that speak it and through a chat to others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.base import (
    CHAT,
    Surface,
    Traits,
    check_kinds,
    check_model,
    check_stream,
    text_or_none,
)
from runestone_sidecar.upstream.surfaces.messages_envelope import envelope, error_event
from runestone_sidecar.upstream.surfaces.messages_params import param_of_chat
from runestone_sidecar.upstream.surfaces.messages_reply import read_message
from runestone_sidecar.upstream.surfaces.messages_request import to_chat
from runestone_sidecar.upstream.surfaces.messages_stream import MessagesSink
from runestone_sidecar.upstream.surfaces.preferences import OF_MESSAGES, preferred

FORWARDED: Final = frozenset({b"anthropic-beta", b"anthropic-version"})

_FIELD_NEEDS: Final = (("stream", "Streaming"), ("tools", "Tools"))


class ThroughChat:
    """Messages in terms of OpenAI's chat format."""

    def to_chat(self, request: Request) -> Request:
        return to_chat(request)

    def param_of_chat(self, param: str, request: Request) -> str | None:
        return param_of_chat(param, request.body)

    def read_chat(self, request: Request, completion: Mapping[str, Any]) -> bytes:
        return read_message(request, completion)

    def stream_chat(self, request: Request) -> MessagesSink:
        return MessagesSink(request)


class Messages:
    name: Final = "messages"
    forwarded: Final = FORWARDED
    translator: Final = ThroughChat()

    def check(self, body: Mapping[str, Any]) -> None:
        check_conversation(body)
        check_stream(body)
        limit = body.get("max_tokens")
        if type(limit) is not int or not 0 <= limit < 1 << 31:  # none is to fill a cache
            raise BadRequest("'max_tokens' must be a whole number.", param="max_tokens")

    def traits(self, body: Mapping[str, Any]) -> Traits:
        metadata = body.get("metadata")
        return Traits(
            needs=needs_of(body),
            max_output_tokens=body["max_tokens"],
            user=text_or_none(metadata.get("user_id")) if metadata else None,
            prefers=preferred(body, OF_MESSAGES),
        )

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return True

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_event(error)


def check_conversation(body: Mapping[str, Any]) -> None:
    """What is there to be counted or answered. Raises BadRequest."""
    check_model(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not (messages or _continues_thread(body)):
        raise BadRequest("'messages' must be an array of at least one message.", param="messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(
                f"'messages[{number}]' must be an object with a 'role'.",
                param=f"messages[{number}]",
            )
    check_kinds(body, ("tools", list, "an array"), ("metadata", dict, "an object"))


def _continues_thread(body: Mapping[str, Any]) -> bool:
    """A turn that paused goes on there without a word of the client's."""
    thread = body.get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def needs_of(body: Mapping[str, Any]) -> frozenset[str]:
    """What a model must be able to do."""
    needs = [need for field, need in _FIELD_NEEDS if body.get(field)]
    output = body.get("output_config")
    if isinstance(output, dict) and output.get("format"):
        needs.append("JSONSchema")
    if "image" in _block_types(body):
        needs.append("Vision")
    return CHAT.union(needs) if needs else CHAT


def _block_types(body: Mapping[str, Any]) -> Iterator[Any]:
    for message in body["messages"]:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict):
                yield block.get("type")
                inner = block.get("content")  # of a tool result
                for each in inner if isinstance(inner, list) else ():
                    if isinstance(each, dict):
                        yield each.get("type")


MESSAGES: Final[Surface] = Messages()
