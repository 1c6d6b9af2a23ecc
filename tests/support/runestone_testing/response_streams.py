"""Chats as providers stream them, said as the events of a streamed response."""

from collections.abc import Iterator
from typing import Any

import orjson
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.sse import SSEParser
from runestone_sidecar.upstream.surfaces.codec import TranslatedStream, codec_for
from runestone_sidecar.upstream.surfaces.responses import RESPONSES

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REQUEST = Request({"model": "m", "input": "Hello", "stream": True}, "m", True, "req_1", 1)


def sse(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks)


def stream_of(dialect: OpenAI | Anthropic, request: Request) -> TranslatedStream:
    codec = codec_for(RESPONSES, dialect, frozenset({"Chat"}))
    codec.render(request, ModelTarget("claude-sonnet-4-5", 8192))
    stream = codec.stream(request)
    assert isinstance(stream, TranslatedStream)
    return stream


def read(stream: TranslatedStream, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the client gets, and whether the reply was whole."""
    out = [stream.feed(piece) for piece in pieces]
    try:
        out.append(stream.finish())
    except BadReply:
        return b"".join(out), False
    return b"".join(out), stream.error is None


def events_of(client: bytes) -> Iterator[dict[str, Any]]:
    for number, (name, data) in enumerate(SSEParser().feed(client)):
        event = orjson.loads(data)
        assert event["type"] == name.decode()
        assert event["sequence_number"] == number
        EVENT.validate_json(data, strict=True)
        yield event
