"""Every API that clients speak, with every provider dialect: what is asked, and what comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runestone_contract.config import Budget, CircuitBreaker, Limits, Retry, Timeouts
from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.echo import completion, completion_events, message, message_events
from runestone_testing.provider import SSE, chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_contract.config import Config

MODEL: Final = "gpt-4o-mini"
WORDS: Final = "fünf Wörter über € 😀 sky"
NEVER_OPEN: Final = CircuitBreaker(failure_threshold=10**9)
LIMITS: Final = Limits(budget=Budget(picodollars=10**18, period="Day"))
TURNS: Final = [{"role": "user", "content": canaries.PROMPT}]


@dataclass(frozen=True, slots=True)
class Api:
    """A client's API. `whole` and `finished` are what only a complete stream may hold."""

    path: str
    asked: dict[str, Any]
    whole: bytes
    finished: tuple[bytes, ...]


APIS: Final = {
    "chat": Api(
        "/chat/completions",
        {"model": MODEL, "messages": TURNS},
        b"data: [DONE]",
        (b'"finish_reason":"', b'"finish_reason": "'),
    ),
    "messages": Api(
        "/messages",
        {"model": MODEL, "max_tokens": 100, "messages": TURNS},
        b"event: message_stop",
        (b'"stop_reason":"', b'"stop_reason": "'),
    ),
    "responses": Api(
        "/responses",
        {"model": MODEL, "input": canaries.PROMPT},
        b"event: response.completed",
        (b'"status":"completed"', b'"status": "completed"'),
    ),
    "completions": Api(
        "/completions",
        {"model": MODEL, "prompt": canaries.PROMPT},
        b"data: [DONE]",
        (b'"finish_reason":"', b'"finish_reason": "'),
    ),
}


USAGE_EVENT: Final = scripts.event({"choices": [], "usage": completion("")["usage"]})


@dataclass(frozen=True, slots=True)
class Pair:
    api: Api
    dialect: str  # of the provider
    native: str | None = None  # the capability that a model states to be asked in this API itself
    counted: bool = False  # for a key with a budget: the gateway asks for usage, and takes it out

    def config(self, *urls: str, **fields: Any) -> Config:
        """Providers in their order, each tried once, with breakers that never open."""
        given = {"retry": Retry(max_attempts=1), **fields}
        capabilities = ("Chat", "Streaming", "Tools", *filter(None, [self.native]))
        made = []
        for number, url in enumerate(urls):
            base = url if self.dialect == "OpenAI" else url.removesuffix("/v1")
            one = bundles.provider(
                base, name=f"p{number}", dialect=self.dialect, priority=number, models=(MODEL,)
            )
            model = one.models[0].model_copy(update={"capabilities": capabilities})
            updated = {"models": (model,), "circuit_breaker": NEVER_OPEN, **given}
            made.append(one.model_copy(update=updated))
        limits = LIMITS if self.counted else Limits()
        return bundles.config(*made, keys=(bundles.key(limits=limits.model_dump()),))

    def request(self, *, stream: bool) -> bytes:
        """As it goes over the wire; one for each connection."""
        body = json.dumps({**self.api.asked, "stream": stream}).encode()
        lines = [
            f"POST /v1{self.api.path} HTTP/1.1",
            "host: x",
            "connection: close",
            "content-type: application/json",
            f"authorization: Bearer {bundles.CLIENT_KEY}",
            f"content-length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def events(self, text: str = WORDS) -> list[bytes]:
        """The provider's stream of this text."""
        if self.dialect == "Anthropic":
            return [*message_events(text)]
        if self.native == "Responses":
            return [*response_events(text)]
        if self.native == "Completions":
            return [*text_events(text)]
        *said, done = completion_events(text)
        return [*said, USAGE_EVENT, done] if self.counted else [*said, done]

    def finish(self) -> int:
        """The position of the event that says why the model stopped."""
        tells = (b'"finish_reason": "stop"', b'"stop_reason": "end_turn"', b"response.completed")
        return next(
            at for at, event in enumerate(self.events()) if any(tell in event for tell in tells)
        )

    def stream(self, text: str = WORDS) -> bytes:
        """A whole streamed answer of the provider's."""
        pieces = b"".join(map(chunk, self.events(text)))
        return scripts.head(content_type=SSE) + pieces + scripts.LAST_CHUNK

    def whole(self, text: str = WORDS) -> bytes:
        """A whole plain answer of the provider's."""
        if self.dialect == "Anthropic":
            return scripts.json_reply(message(text))
        if self.native == "Responses":
            return scripts.json_reply(response(text, "completed"))
        if self.native == "Completions":
            return scripts.json_reply(text_completion(text, "stop"))
        return scripts.json_reply(completion(text))

    def chat(self, text: str = WORDS) -> bytes:
        """A whole plain answer to a chat, which any of these models can be asked for."""
        return scripts.json_reply(
            message(text) if self.dialect == "Anthropic" else completion(text)
        )


PAIRS: Final = {
    "chat-openai": Pair(APIS["chat"], "OpenAI"),
    "chat-openai-counted": Pair(APIS["chat"], "OpenAI", counted=True),
    "chat-anthropic": Pair(APIS["chat"], "Anthropic"),
    "messages-anthropic": Pair(APIS["messages"], "Anthropic"),
    "messages-openai": Pair(APIS["messages"], "OpenAI"),
    "responses-openai": Pair(APIS["responses"], "OpenAI", "Responses"),
    "responses-chat": Pair(APIS["responses"], "OpenAI"),
    "responses-anthropic": Pair(APIS["responses"], "Anthropic"),
    "completions-openai": Pair(APIS["completions"], "OpenAI", "Completions"),
    "completions-chat": Pair(APIS["completions"], "OpenAI"),
    "completions-anthropic": Pair(APIS["completions"], "Anthropic"),
}


def response(text: str, status: str) -> dict[str, Any]:
    """Of OpenAI's Responses API."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": status}
    return {
        "id": "resp_echo",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "echo",
        "output": [{**item, "content": [part]}] if status == "completed" else [],
        "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12},
    }


def response_events(text: str) -> Iterator[bytes]:
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("", "in_progress")}
    ]
    for word in text.split():
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        told.append({"type": "response.output_text.delta", **place, "delta": word})
    told.append({"type": "response.completed", "response": response(text, "completed")})
    for number, event in enumerate(told):
        event["sequence_number"] = number
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def text_completion(text: str, finish_reason: str | None) -> dict[str, Any]:
    """Of OpenAI's legacy completions."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "cmpl-echo",
        "object": "text_completion",
        "created": 1,
        "model": "echo",
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def text_events(text: str) -> Iterator[bytes]:
    for word in text.split():
        yield scripts.event(text_completion(word, None) | {"usage": None})
    yield b"data: " + json.dumps(text_completion("", "stop") | {"usage": None}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def slow(timeouts_ms: int) -> Timeouts:
    return Timeouts(first_byte_ms=timeouts_ms, idle_ms=timeouts_ms)
