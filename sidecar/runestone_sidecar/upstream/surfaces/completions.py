"""OpenAI's legacy completions, and their saying as a chat for models that only chat."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.dialects.base import BadReply, Request, Untranslatable
from runestone_sidecar.upstream.surfaces.base import (
    Traits,
    check_choices,
    check_counts,
    check_kinds,
    check_model,
    check_stream,
    count_inputs,
    text_or_none,
)
from runestone_sidecar.upstream.surfaces.completions_fields import carried, param_of_chat
from runestone_sidecar.upstream.surfaces.envelope import envelope, error_frame
from runestone_sidecar.upstream.surfaces.finish_reasons import finish_reason_of

_STREAMING: Final = frozenset({"Streaming"})
_NOTHING: Final[frozenset[str]] = frozenset()
_OBJECT: Final = "text_completion"
_ONE_TEXT: Final = "This model only chats: `prompt` must be one text, not several or tokens."


class ThroughChat:
    """Completions in terms of OpenAI's chat format."""

    def to_chat(self, request: Request) -> Request:
        body = dict(carried(request.body))
        body["messages"] = [{"role": "user", "content": _text_of(request.body.get("prompt"))}]
        if request.stream:
            body["stream_options"] = {"include_usage": True}
        return Request(
            body=body,
            model=request.model,
            stream=request.stream,
            request_id=request.request_id,
            created_s=request.created_s,
        )

    def param_of_chat(self, param: str, request: Request) -> str | None:
        return param_of_chat(param)

    def read_chat(self, request: Request, completion: Mapping[str, Any]) -> bytes:
        choices = completion.get("choices")
        if not isinstance(choices, list) or not choices:
            raise BadReply("the reply has no choices")
        said = [_choice(choice, _part_of(choice, "message")) for choice in choices]
        return orjson.dumps(
            {**_envelope(request, completion), "choices": said} | _usage(completion)
        )

    def stream_chat(self, request: Request) -> "Sink":
        return Sink(request)


class Completions:
    name: Final = "completions"
    forwarded: Final[frozenset[bytes]] = frozenset()
    translator: Final = ThroughChat()

    def check(self, body: Mapping[str, Any]) -> None:
        check_model(body)
        check_stream(body)
        check_choices(body, "n", "best_of")
        if body.get("max_tokens") != 0:  # none is asked for to have a prompt scored
            check_counts(body, "max_tokens")
        check_kinds(body, ("stream_options", dict, "an object"))

    def traits(self, body: Mapping[str, Any]) -> Traits:
        limit, prompts = body.get("max_tokens"), count_inputs(body.get("prompt"))
        choices = max(body.get("n") or 1, body.get("best_of") or 1) * prompts
        return Traits(
            needs=_STREAMING if body.get("stream") else _NOTHING,
            max_output_tokens=None if limit is None else limit * choices,
            user=text_or_none(body.get("user")),
            choices=choices,
            windows=prompts,
        )

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return not capabilities or "Completions" in capabilities

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_frame(error)


COMPLETIONS: Final = Completions()


class Sink:
    """A streamed chat, chunk by chunk, as chunks of text.

    The first goes out though it says nothing: it opens the stream, so that the client is pinged
    while a model thinks.
    """

    __slots__ = ("_begun", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = False

    def feed(self, chunk: Mapping[str, Any]) -> bytes:
        choices = chunk.get("choices")
        said = [
            choice
            for each in (choices if isinstance(choices, list) else ())
            if (choice := _choice(each, _delta_of(each)))["text"]
            or choice["finish_reason"]
            or not self._begun
        ]
        self._begun = self._begun or bool(said)
        events = [self._event(chunk, said, None)] if said else []
        usage = chunk.get("usage")
        if usage and self._request.include_usage:
            events.append(self._event(chunk, [], usage))
        return b"".join(events)

    def finish(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error_frame(self, error: GatewayError) -> bytes:
        return error_frame(error)

    def _event(self, chunk: Mapping[str, Any], choices: list[dict[str, Any]], usage: Any) -> bytes:
        said = {**_envelope(self._request, chunk), "choices": choices}
        if self._request.include_usage:
            said["usage"] = usage
        return b"data: %b\n\n" % orjson.dumps(said)


def _text_of(prompt: Any) -> str:
    """Raises Untranslatable."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Untranslatable(_ONE_TEXT, param="prompt")
    return prompt


def _envelope(request: Request, reply: Mapping[str, Any]) -> dict[str, Any]:
    """The provider's id, by which its support finds the reply."""
    given = reply.get("id")
    return {
        "id": given if isinstance(given, str) and given else f"cmpl-{request.request_id}",
        "object": _OBJECT,
        "created": reply.get("created") or request.created_s,
        "model": reply.get("model") or request.model,
    }


def _delta_of(choice: Any) -> dict[str, Any]:
    """Raises BadReply."""
    if isinstance(choice, dict) and choice.get("delta") is None:
        return {}  # Azure's filter tells so how far it got, and what it found
    return _part_of(choice, "delta")


def _part_of(choice: Any, name: str) -> dict[str, Any]:
    """Raises BadReply."""
    part = choice.get(name) if isinstance(choice, dict) else None
    if not isinstance(part, dict):
        raise BadReply(f"a choice has no {name}")
    return part


def _choice(choice: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """Of a chat, or of a chunk. Raises BadReply."""
    reason = choice.get("finish_reason")
    text = message.get("content") or message.get("refusal")
    return {
        "text": text if isinstance(text, str) else "",
        "index": choice.get("index") or 0,
        "logprobs": None,
        "finish_reason": finish_reason_of(reason) if reason else None,
    }


def _usage(reply: Mapping[str, Any]) -> dict[str, Any]:
    usage = reply.get("usage")
    return {"usage": usage} if usage else {}
