"""A provider that answers each chat request with what it was asked: which configuration sent it?

The content is "MODEL at PATH by KEY"; a stream says it word by word. For faults, see provider.py.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Echo:
    """Runs on a thread of its own, so that tests may block."""

    chunk_delay_s: float = 0.0
    port: int = 0
    calls: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keep_bodies: bool = True
    refused: set[str] = field(default_factory=set)  # keys that are answered 401
    seen: set[str] = field(default_factory=set)  # keys that it was called with
    last_key: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines if line)
                }
                sent = await reader.readexactly(int(headers.get("content-length", 0)))
                body = json.loads(
                    sent or b'{"model": "none"}'
                )  # of its models it is asked with GET
                self.calls += 1
                if self.keep_bodies:
                    self.bodies.append(body)
                key = headers.get("authorization", headers.get("x-api-key", "nobody"))
                self.last_key = key.removeprefix("Bearer ")
                self.seen.add(self.last_key)
                if self.last_key in self.refused:
                    writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}")
                    continue
                path = first.split()[1]
                text = f"{body['model']} at {path} by {key.removeprefix('Bearer ')}"
                await self._answer(
                    writer,
                    text,
                    stream=body.get("stream") is True,
                    anthropic=path.endswith("/messages"),
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, text: str, *, stream: bool, anthropic: bool
    ) -> None:
        if not stream:
            data = json.dumps(message(text) if anthropic else completion(text)).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(data), data)
            )
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for data in message_events(text) if anthropic else completion_events(text):
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(self.chunk_delay_s)
        writer.write(b"0\r\n\r\n")


def completion_events(text: str) -> Iterator[bytes]:
    for event in (*(chunk(word + " ") for word in text.split()), chunk(None)):
        yield b"data: " + json.dumps(event).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def message(text: str) -> dict[str, Any]:
    """A reply of Anthropic's Messages API."""
    return {
        "id": "msg_echo",
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5},
    }


def message_events(text: str) -> Iterator[bytes]:
    start = message("") | {"content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    block = {"type": "text", "text": ""}
    events.append({"type": "content_block_start", "index": 0, "content_block": block})
    for word in text.split():
        delta = {"type": "text_delta", "text": word + " "}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def completion(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-echo",
        "object": "chat.completion",
        "created": 1,
        "model": "echo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def chunk(text: str | None) -> dict[str, Any]:
    """None: the last one, with its finish reason."""
    delta = {} if text is None else {"content": text}
    finish = "stop" if text is None else None
    return {
        "id": "chatcmpl-echo",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "echo",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


@contextmanager
def running_echo(*, chunk_delay_s: float = 0.0, keep_bodies: bool = True) -> Iterator[Echo]:
    echo = Echo(chunk_delay_s=chunk_delay_s, keep_bodies=keep_bodies)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def run() -> None:
        server = await asyncio.start_server(echo.serve, "127.0.0.1", 0, backlog=1024)
        echo.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stopped.wait()

    stopped = asyncio.Event()

    def main() -> None:
        task = loop.create_task(run())
        loop.run_until_complete(task)
        for other in asyncio.all_tasks(loop):
            other.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield echo
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(30)
