"""A provider that is never the bottleneck: canned OpenAI replies over a raw asyncio protocol.

GET /control?events=50&interval_ms=20 sets how streams run; any GET answers with the counters.
It reads requests as our own load and gateways send them, and no others: it is no HTTP server.
"""

import asyncio
import json
import socket
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

TEXT = "The quick brown fox jumps over the lazy dog. " * 14
WORD = " quick"
CREATED = 1_760_000_000
USAGE = {"prompt_tokens": 200, "completion_tokens": 160, "total_tokens": 360}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _event(choices: list[object], usage: object = None) -> bytes:
    """One `data:` line as one HTTP chunk."""
    value = {
        "id": "chatcmpl-benchmark000000000000000000",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_benchmark",
        "choices": choices,
        "usage": usage,
    }
    return _chunk(b"data: " + _json(value) + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


REPLY = _whole(
    _json(
        {
            "id": "chatcmpl-benchmark000000000000000000",
            "object": "chat.completion",
            "created": CREATED,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_benchmark",
        }
    )
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CONTENT = _event([_choice({"content": WORD})])
FINISH = _event([_choice({}, "stop")])
USAGE_EVENT = _event([], USAGE)
DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class State:
    """Of the whole process."""

    def __init__(self) -> None:
        self.events = 50  # content events of a stream
        self.interval_s = 0.0
        self.calls = 0
        self.chunks = 0  # events sent, in as many writes
        self.streams = 0

    def control(self, query: str) -> bytes:
        for name, (value, *_) in parse_qs(query).items():
            if name == "events":
                self.events = int(value)
            elif name == "interval_ms":
                self.interval_s = float(value) / 1000
        return _whole(_json({"calls": self.calls, "chunks": self.chunks}))


class Exchange(asyncio.Protocol):
    """One connection, one request after the other."""

    transport: asyncio.Transport

    def __init__(self, state: State) -> None:
        self.state = state
        self.received = b""
        self.left = 0  # events of the stream under way
        self.last = b""
        self.writable = True
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.left = 0

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.left:
            self.loop.call_soon(self.next_event)

    def data_received(self, data: bytes) -> None:
        self.received = self.received + data if self.received else data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.received[:end]
        length = head.lower().find(b"content-length:")
        size = int(head[length + 15 :].split(b"\r\n", 1)[0]) if length >= 0 else 0
        if len(self.received) < end + 4 + size:
            return
        body, self.received = self.received[end + 4 :], b""
        self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        state = self.state
        if head.startswith(b"GET"):
            target = head.split(b" ", 2)[1].decode()
            self.transport.write(state.control(urlsplit(target).query))
            return
        state.calls += 1
        if b'"stream":true' not in body:
            self.transport.write(REPLY)
            return
        self.transport.write(STREAM_HEAD)
        self.last = FINISH + (USAGE_EVENT if b'"include_usage":true' in body else b"") + DONE
        self.left = state.events + 1
        state.streams += 1
        # Streams that start together would tick together: the golden ratio spreads them out.
        self.loop.call_later(state.interval_s * (state.streams * 0.618 % 1), self.next_event)

    def next_event(self) -> None:
        """One write a turn of the loop: uvloop joins those of one turn into one packet."""
        if not self.left or not self.writable:
            return
        self.left -= 1
        self.state.chunks += 1
        self.transport.write(CONTENT if self.left else self.last)
        if not self.left:
            return
        if self.state.interval_s:
            self.loop.call_later(self.state.interval_s, self.next_event)
        else:
            self.loop.call_soon(self.next_event)


async def serve(listener: socket.socket) -> None:
    state = State()
    server = await asyncio.get_running_loop().create_server(
        lambda: Exchange(state), sock=listener, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(socket.create_server(("127.0.0.1", int(sys.argv[1])))))
