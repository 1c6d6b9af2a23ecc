"""A stream of Messages' events, as Anthropic's SDK reads it."""

from typing import Any, Final

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from runestone_sidecar.upstream.sse import SSEParser

EVENT: Final[TypeAdapter[Any]] = TypeAdapter(RawMessageStreamEvent)


def events_of(client: bytes) -> list[Any]:
    events = []
    for name, data in SSEParser().feed(client):
        event = orjson.loads(data)
        assert event["type"] == name.decode()
        if name != b"error":
            EVENT.validate_json(data, strict=True)
        events.append(event)
    return events


def check_order(events: list[Any]) -> None:
    """One block at a time, with dense indices, between the message's own events."""
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    index, is_open = -1, False
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert not is_open
            index, is_open = index + 1, True
        assert is_open
        assert event["index"] == index
        if event["type"] == "content_block_stop":
            is_open = False
    assert not is_open


def accumulated(events: list[Any]) -> Any:
    """What the SDK makes of them."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        parsed = EVENT.validate_python(event)
        message = accumulate_event(event=parsed, current_snapshot=message, json_bufs=buffers)
    return orjson.loads(message.to_json())


def whole_of(provider: bytes) -> dict[str, Any]:
    """The completion of which the chunks are the stream."""
    completion: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    choice: dict[str, Any] = {"index": 0, "message": message}
    chunks = [orjson.loads(data) for _, data in SSEParser().feed(provider) if data != b"[DONE]"]
    for each in chunks:
        completion |= {name: each[name] for name in ("id", "usage") if each.get(name)}
        for part in each["choices"]:
            delta = part.pop("delta")
            choice |= {key: value for key, value in part.items() if value is not None}
            join(message, delta)
    return completion | {"choices": [choice]}


def join(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        if delta.get(name):
            message[name] = message.get(name, "") + delta[name]
    for piece in delta.get("tool_calls", []):
        calls = message.setdefault("tool_calls", [])
        if piece["index"] == len(calls):
            calls.append(piece)
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    for piece in delta.get("thinking_blocks", []):
        blocks = message.setdefault("thinking_blocks", [])
        if piece.pop("index") == len(blocks):
            blocks.append(piece)
        else:
            for name, text in piece.items():
                blocks[-1][name] = blocks[-1].get(name, "") + text
