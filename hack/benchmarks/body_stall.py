"""How long a large body keeps the sidecar's event loop from everything else.

Sends bodies of the largest size and of the most JSON values through a gateway, one after another,
to providers of both formats, while a ticker asks for 1 ms naps: what a nap takes beyond that is
what every stream would have waited. Client and providers are another process.

    PYTHONPATH=hack:tests/support .venv/bin/python -m benchmarks.body_stall
"""

import asyncio
import http.client
import http.server
import json
import multiprocessing
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from benchmarks.reload_stall import Ticker
from runestone_testing import bundles
from runestone_testing.echo import completion, message
from runestone_testing.gateway import gateway

MIB = 1 << 20
BYTES = 31 * MIB
VALUES = 399_000
TEXT = b'{"role":"user","content":"a"}'
CALLS = (
    b'{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},'
    b'{"type":"function_call_output","call_id":"a","output":"x"}'
)
CHAT, MESSAGES, RESPONSES = "chat/completions", "messages", "responses"


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """What it is, its path and the body, but for the model."""
    image = b"data:image/png;base64," + b"iVBORw0K" * (BYTES // 8)
    part = b'{"type":"image_url","image_url":{"url":"%b"}}' % image
    turns = b",".join([TEXT] * (VALUES // 3))
    yield "one image", CHAT, b'"messages":[{"role":"user","content":[%b]}]' % part
    prose = b'Of commas, [brackets] and \\"quotes\\" there are many, as in code.\\n'
    prose *= BYTES // len(prose)
    yield "one text", CHAT, b'"messages":[{"role":"user","content":"%b"}]' % prose
    yield "turns", CHAT, b'"messages":[%b]' % turns
    yield "turns", MESSAGES, b'"max_tokens":9,"messages":[%b]' % turns
    yield "calls", RESPONSES, b'"input":[%b]' % b",".join([CALLS] * (VALUES // 10))
    names = b",".join(b'"k%d":1' % number for number in range(VALUES - 9))
    yield "names", CHAT, b'"messages":[%b],"metadata":{%b}' % (TEXT, names)
    lists = b"[],"
    yield "lists", CHAT, b'"messages":[%b],"x":[%b1]' % (TEXT, lists * (VALUES // 2 - 9))
    yield "too many", CHAT, b'"messages":[%b],"x":[%b1]' % (TEXT, lists * (BYTES // 3))


class Provider(http.server.BaseHTTPRequestHandler):
    """Of both formats: it reads, and says little."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, MIB)))
        said = message("fine") if self.path.endswith("messages") else completion("fine")
        answer = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def outside(pipe: Connection) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_port)
    port = pipe.recv()
    headers = {"content-type": "application/json", "authorization": "Bearer " + bundles.CLIENT_KEY}
    for model in ("openai", "anthropic"):
        for what, path, rest in bodies():
            body = b'{"model":"%b",%b}' % (model.encode(), rest)
            pipe.send(f"{what}, {path}, {len(body) / MIB:.1f} MiB to {model}")
            pipe.recv()
            client = http.client.HTTPConnection("127.0.0.1", port)
            client.request("POST", f"/v1/{path}", body, headers)
            answer = client.getresponse()
            answer.read()
            pipe.send(answer.status)
            pipe.recv()
    pipe.send(None)


async def measure(root: Path) -> None:
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=outside, args=(theirs,))
    process.start()
    receive = asyncio.to_thread
    url = f"http://127.0.0.1:{await receive(pipe.recv)}"
    wide = {"context_window": 1 << 30}
    providers = [
        bundles.provider(f"{url}/v1", name="one", models=("openai",)),
        bundles.provider(url, name="two", models=("anthropic",), dialect="Anthropic"),
    ]
    for number, each in enumerate(providers):
        models = tuple(model.model_copy(update=wide) for model in each.models)
        providers[number] = each.model_copy(update={"models": models})
    ticker = Ticker()
    async with gateway(root, bundles.config(*providers)) as found:
        ticking = asyncio.create_task(ticker.run())
        pipe.send(found.port)
        while (what := await receive(pipe.recv)) is not None:
            ticker.take()
            pipe.send(None)
            status = await receive(pipe.recv)
            late_s, busy_s = ticker.take()
            worst, cpu = max(late_s) * 1e3, max(busy_s) * 1e3
            print(f"{what:55} {status}: stall {worst:5.0f} ms, of it our CPU {cpu:5.0f} ms")
            pipe.send(None)
        ticking.cancel()
    process.join()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(Path(folder)))
