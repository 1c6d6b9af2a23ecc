"""OpenAI's Responses API: natively to models that state it, by way of a chat to all others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.base import (
    CHAT,
    Traits,
    check_counts,
    check_kinds,
    check_model,
    check_stream,
    text_or_none,
)
from runestone_sidecar.upstream.surfaces.envelope import envelope
from runestone_sidecar.upstream.surfaces.preferences import OF_RESPONSES, preferred
from runestone_sidecar.upstream.surfaces.responses_events import error_event
from runestone_sidecar.upstream.surfaces.responses_fields import NOT_SERVED
from runestone_sidecar.upstream.surfaces.responses_params import param_of_chat
from runestone_sidecar.upstream.surfaces.responses_reply import read_completion
from runestone_sidecar.upstream.surfaces.responses_request import chat_request
from runestone_sidecar.upstream.surfaces.responses_stream import ResponsesSink

_FIELD_NEEDS: Final = (("stream", "Streaming"), ("tools", "Tools"), ("top_logprobs", "Logprobs"))
_PART_NEEDS: Final = {"input_image": "Vision", "input_audio": "Audio"}
_LOGPROBS: Final = "message.output_text.logprobs"


class Responses:
    name: Final = "responses"
    forwarded: Final = frozenset({b"openai-beta"})

    def __init__(self) -> None:
        self.translator: Final = ThroughChat()

    def check(self, body: Mapping[str, Any]) -> None:
        check_model(body)
        check_stream(body)
        check_counts(body, "max_output_tokens")
        check_kinds(
            body,
            ("tools", list, "an array"),
            ("text", dict, "an object"),
            ("include", list, "an array"),
        )
        _check_input(body.get("input"))
        _check_served(body)

    def traits(self, body: Mapping[str, Any]) -> Traits:
        return Traits(
            needs=CHAT.union(_needs(body)),
            max_output_tokens=body.get("max_output_tokens"),
            user=text_or_none(body.get("safety_identifier")) or text_or_none(body.get("user")),
            prefers=preferred(body, OF_RESPONSES),
        )

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return "Responses" in capabilities

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_event(error, events)


class ThroughChat:
    """Responses in terms of OpenAI's chat format."""

    def to_chat(self, request: Request) -> Request:
        return chat_request(request)

    def param_of_chat(self, param: str, request: Request) -> str | None:
        return param_of_chat(param, request.body)

    def read_chat(self, request: Request, completion: Mapping[str, Any]) -> bytes:
        return read_completion(request, completion)

    def stream_chat(self, request: Request) -> ResponsesSink:
        return ResponsesSink(request)


def _check_input(given: Any) -> None:
    """A stored prompt may stand for the input, where the provider has one."""
    if given is None or isinstance(given, str):
        return
    if not isinstance(given, list):
        raise BadRequest("'input' must be a string or an array of items.", param="input")
    for number, item in enumerate(given):
        if not isinstance(item, dict):
            raise BadRequest(f"'input[{number}]' must be an object.", param=f"input[{number}]")


def _check_served(body: Mapping[str, Any]) -> None:
    for name, field in NOT_SERVED.items():
        value = body.get(name)
        if value is not None and value not in field.neutral:
            raise BadRequest(field.reason, param=name)


def _needs(body: Mapping[str, Any]) -> Iterator[str]:
    for field, need in _FIELD_NEEDS:
        if body.get(field):
            yield need
    if _LOGPROBS in (body.get("include") or ()):
        yield "Logprobs"
    answer = (body.get("text") or {}).get("format")
    if isinstance(answer, dict) and answer.get("type") == "json_schema":
        yield "JSONSchema"
    for kind in _part_types(body.get("input")):
        if kind in _PART_NEEDS:
            yield _PART_NEEDS[kind]


def _part_types(given: Any) -> Iterator[str]:
    for item in given if isinstance(given, list) else ():
        # A message's parts, or those of a call's result.
        content = item.get("content") or item.get("output")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(kind := part.get("type"), str):
                yield kind


RESPONSES: Final = Responses()
