"""Providers in a cluster: OpenAI's and Anthropic's APIs, answered with what was asked and by whom.

The text of an answer is "MODEL at PATH by KEY"; the stream of a model called `breaks-off` does so.
Behind /e2e is what the tests say and ask: which keys are refused, how long an answer takes, what
was called, and what the applications report.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class World:
    def __init__(self) -> None:
        self.refused: set[str] = set()  # keys
        self.delay_s = 0.0
        self.chunk_s = 0.0
        self.orders: dict[str, Any] = {"rate": 0.0}  # what applications are to do
        self.calls: Counter[str] = Counter()  # by key
        self.bodies: Counter[str] = Counter()  # by the text of the last message
        self.reports: dict[str, dict[str, Any]] = {}  # by application


world = World()


async def answer(request: Request) -> Response:
    key = request.headers.get("authorization", request.headers.get("x-api-key", "nobody"))
    key = key.removeprefix("Bearer ")
    world.calls[key] += 1
    body = json.loads(await request.body())
    if key in world.refused:
        error = {"message": "Incorrect API key provided", "type": "invalid_request_error"}
        return JSONResponse({"error": error | {"code": "invalid_api_key"}}, 401)
    world.bodies[str(body["messages"][-1]["content"])] += 1
    await asyncio.sleep(world.delay_s)
    text = f"{body['model']} at {request.url.path} by {key}"
    anthropic = request.url.path.endswith("/messages")
    if not body.get("stream"):
        return JSONResponse(message(text) if anthropic else completion(text))
    events = message_events(text) if anthropic else completion_events(text)
    breaks_off = body["model"] == "breaks-off"
    return StreamingResponse(paced(events, breaks_off), media_type="text/event-stream")


async def paced(events: list[bytes], breaks_off: bool) -> AsyncIterator[bytes]:
    for number, event in enumerate(events):
        if breaks_off and number == 2:
            raise ConnectionAbortedError("as was asked for")
        yield event
        await asyncio.sleep(world.chunk_s)


def completion(text: str) -> dict[str, Any]:
    reply = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-e2e",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "e2e",
        "choices": [reply],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def completion_events(text: str) -> list[bytes]:
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"content": f"{word} "}, None) for word in text.split()
    ]
    chunks = [
        completion(text)
        | {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        for delta, finish in [*deltas, ({}, "stop")]
    ]
    return [
        *(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks),
        b"data: [DONE]\n\n",
    ]


def message(text: str) -> dict[str, Any]:
    return {
        "id": "msg_e2e",
        "type": "message",
        "role": "assistant",
        "model": "e2e",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5},
    }


def message_events(text: str) -> list[bytes]:
    start = message("") | {"content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    for word in text.split():
        delta = {"type": "text_delta", "text": f"{word} "}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


# --- what the tests say and ask


async def settings(request: Request) -> Response:
    given = json.loads(await request.body())
    world.refused = set(given.get("refused", world.refused))
    world.delay_s = given.get("delay_s", world.delay_s)
    world.chunk_s = given.get("chunk_s", world.chunk_s)
    world.orders |= given.get("orders", {})
    if given.get("forget"):
        world.calls.clear()
        world.bodies.clear()
        world.reports.clear()
    return JSONResponse({})


async def orders(_: Request) -> Response:
    return JSONResponse(world.orders)


async def report(request: Request) -> Response:
    """An application's counts so far; it says them again and again, under its pod's name."""
    given = json.loads(await request.body())
    latest = world.reports.get(given["pod"])
    if latest is None or latest["at_s"] < given["at_s"]:  # one may overtake another
        world.reports[given["pod"]] = given
    return JSONResponse(world.orders)


async def seen(_: Request) -> Response:
    return JSONResponse({"calls": world.calls, "bodies": world.bodies, "reports": world.reports})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", answer, methods=["POST"]),
        Route("/v1/messages", answer, methods=["POST"]),
        Route("/e2e/settings", settings, methods=["POST"]),
        Route("/e2e/orders", orders),
        Route("/e2e/report", report, methods=["POST"]),
        Route("/e2e/seen", seen),
    ]
)
