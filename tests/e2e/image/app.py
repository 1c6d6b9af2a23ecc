"""An application as its developers wrote it: the stock SDK, no word about where it goes.

It asks at the rate it is told, and reports what became of each request: how many were answered, and
of those that were not, why. At SIGTERM it finishes what it has begun, as applications should.
"""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections import Counter
from typing import Any

from openai import AsyncOpenAI, OpenAIError

STANDIN = os.environ["STANDIN"]  # the tests' own: orders come from there, reports go there
POD = os.environ["HOSTNAME"]
REPORT_EVERY_S = 0.25


class Application:
    def __init__(self) -> None:
        self.client = AsyncOpenAI(max_retries=0)  # what fails is to be seen
        self.rate = 0.0
        self.model, self.stream_share = "gpt-4o-mini", 0.0
        self.stopping = asyncio.Event()
        self.asked = 0
        self.ended: Counter[str] = Counter()
        self.latest_text = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        reporting = asyncio.create_task(self.report_always())
        async with asyncio.TaskGroup() as requests:
            due = loop.time()
            while not self.stopping.is_set():
                if self.rate <= 0:
                    due = loop.time() + REPORT_EVERY_S
                else:
                    requests.create_task(self.ask(self.asked))
                    self.asked += 1
                    due = max(due + 1 / self.rate, loop.time() - 1)
                try:
                    async with asyncio.timeout_at(due):
                        await self.stopping.wait()
                except TimeoutError:
                    pass
        reporting.cancel()
        await self.report(stopped=True)

    async def ask(self, number: int) -> None:
        stream = number % 100 < self.stream_share * 100
        try:
            self.latest_text = await self.text(f"request {number} of {POD}", stream=stream)
            self.ended["ok"] += 1
        except OpenAIError as error:
            self.ended[f"{type(error).__name__}: {str(error)[:200]}"] += 1
        except Exception as error:  # nothing may be lost without a word
            self.ended[f"{type(error).__name__}: {error!r}"] += 1

    async def text(self, prompt: str, *, stream: bool) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        if not stream:
            reply = await self.client.chat.completions.create(model=self.model, messages=messages)
            return reply.choices[0].message.content or ""
        parts: list[str] = []
        finish = None
        async for chunk in await self.client.chat.completions.create(
            model=self.model, messages=messages, stream=True
        ):
            for choice in chunk.choices:
                parts.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
        if finish != "stop":
            raise RuntimeError(f"the stream ended with {finish}")
        return "".join(parts)

    async def report_always(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(REPORT_EVERY_S)

    async def report(self, *, stopped: bool = False) -> None:
        counts = {
            "pod": POD,
            "at_s": time.time(),
            "rate": self.rate,
            "asked": self.asked,
            "ended": self.ended,
            "latest_text": self.latest_text,
            "stopped": stopped,
        }
        try:
            orders = await asyncio.to_thread(told, counts)
        except (OSError, ValueError):
            return  # of the tests' own way; the next one says it again
        self.rate = orders.get("rate", 0.0)
        self.model = orders.get("model", self.model)
        self.stream_share = orders.get("stream_share", 0.0)


def told(counts: dict[str, Any]) -> dict[str, Any]:
    """The orders that the tests answer with."""
    body = json.dumps(counts).encode()
    request = urllib.request.Request(f"{STANDIN}/e2e/report", body)
    with urllib.request.urlopen(request, timeout=10) as answer:
        orders: dict[str, Any] = json.load(answer)
    return orders


if __name__ == "__main__":
    asyncio.run(Application().run())
