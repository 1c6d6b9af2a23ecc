"""A provider that behaves like a model, for suites of real clients: OpenAI's and Anthropic's APIs.

It answers by rule (model_mind) and refuses what the vendor would (model_openai, model_anthropic),
so that a wrong translation is a 400 and no silent success. Model.refuse scripts the next answers;
for faults on the wire see provider.py.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from runestone_testing import bundles, model_anthropic, model_openai
from runestone_testing.model_vendor import Json, Refusal
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from starlette.requests import Request

    Answer: TypeAlias = "Callable[[Received], Response]"
    Serve: TypeAlias = "Callable[[Request], Awaitable[Response]]"


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass
class Model:
    """Runs on a thread of its own, so that tests may block."""

    key: str = bundles.PROVIDER_KEY
    received: list[Received] = field(default_factory=list)
    refusals: deque[Refusal] = field(default_factory=deque)
    scripts: deque[Json] = field(default_factory=deque)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self, status: int, message: str, *, type_: str, code: str | None = None) -> None:
        """The next request not refused yet is refused so, whatever it asks."""
        self.refusals.append(Refusal(message, status=status, type=type_, code=code))

    def say(self, message: Json) -> None:
        """The next request for a message gets this one, whatever it asks and however wrongly."""
        self.scripts.append(message)

    def app(self) -> Starlette:
        routes = {
            "/v1/chat/completions": self._openai(_chat),
            "/v1/messages": self._anthropic(self._messages),
            "/v1/messages/count_tokens": self._anthropic(_count_tokens),
        }
        return Starlette(
            routes=[Route(path, serve, methods=["POST"]) for path, serve in routes.items()]
        )

    def _openai(self, answer: Answer) -> Serve:
        async def serve(request: Request) -> Response:
            try:
                received = await self._receive(request)
                if received.headers.get("authorization") != f"Bearer {self.key}":
                    raise Refusal("Incorrect API key.", status=401, code="invalid_api_key")
                response = answer(received)
            except Refusal as refusal:
                response = _openai_error(refusal)
            response.headers["x-request-id"] = f"req_openai_{len(self.received)}"
            return response

        return serve

    def _anthropic(self, answer: Answer) -> Serve:
        async def serve(request: Request) -> Response:
            request_id = f"req_anthropic_{len(self.received)}"
            try:
                received = await self._receive(request)
                bearer = received.headers.get("authorization") == f"Bearer {self.key}"
                if not bearer and received.headers.get("x-api-key") != self.key:
                    raise Refusal("invalid x-api-key", status=401, type="authentication_error")
                if received.headers.get("anthropic-version") not in model_anthropic.VERSIONS:
                    raise Refusal("anthropic-version: header is required")
                response = answer(received)
            except Refusal as refusal:
                response = _anthropic_error(refusal, request_id)
            response.headers["request-id"] = request_id
            return response

        return serve

    def _messages(self, received: Received) -> Response:
        if self.scripts:
            reply = self.scripts.popleft()
            streams = received.body.get("stream") is True
            return (
                _message_stream(model_anthropic.events_of(reply))
                if streams
                else JSONResponse(reply)
            )
        message = model_anthropic.Message(received.body, received.headers["anthropic-version"])
        return (
            _message_stream(message.events()) if message.streams else JSONResponse(message.reply())
        )

    async def _receive(self, request: Request) -> Received:
        try:
            body = json.loads(await request.body())
        except ValueError:
            raise Refusal("We could not parse the JSON body of your request.") from None
        received = Received(request.url.path, dict(request.headers), body)
        self.received.append(received)
        if self.refusals:
            raise self.refusals.popleft()
        return received


def _chat(received: Received) -> Response:
    chat = model_openai.Chat(received.body)
    if chat.streams:
        return _stream(f"data: {event}\n\n" for event in chat.events())
    return JSONResponse(chat.reply())


def _message_stream(events: Iterable[Json]) -> Response:
    return _stream(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _count_tokens(received: Received) -> Response:
    return JSONResponse(model_anthropic.count_tokens(received.body))


def _stream(events: Iterable[str]) -> Response:
    return StreamingResponse(_each(list(events)), media_type="text/event-stream")


async def _each(events: list[str]) -> AsyncIterator[str]:
    for event in events:
        yield event


def _openai_error(refusal: Refusal) -> Response:
    error = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
    }
    return JSONResponse({"error": error}, refusal.status)


def _anthropic_error(refusal: Refusal, request_id: str) -> Response:
    error = {"type": refusal.type, "message": refusal.message}
    return JSONResponse({"type": "error", "error": error, "request_id": request_id}, refusal.status)


@contextmanager
def running_model(key: str = bundles.PROVIDER_KEY) -> Iterator[Model]:
    model = Model(key)
    config = uvicorn.Config(model.app(), http="h11", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        model.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            wait_until("the model listens", lambda: server.started)
            yield model
        finally:
            server.should_exit = True
            thread.join(30)
