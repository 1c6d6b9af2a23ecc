"""What a request costs, counted: no clock is asked, so what is dear on any machine fails on all.

A profile hook counts the calls that the gateway's own code and its server make for one request
after a few others; a coroutine that goes on counts like one that begins. The bounds are a little
above what was counted when they were set.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from runestone_contract.config import Budget, Limits
from runestone_sidecar.edge.cycle import Cycle
from runestone_sidecar.edge.respond import Pinger
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion, message, message_events
from runestone_testing.gateway import Gateway, gateway, raw_request
from runestone_testing.provider import SSE, chunk, event, head, json_reply
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from runestone_contract.config import Config

OURS: Final = ("/runestone_sidecar/", "/runestone_contract/", "/uvicorn/", "/starlette/")
WARM: Final = 5
CHUNKS: Final = 50


class Counts:
    """Of one request: Python calls, coroutines entered, and calls of built-in functions by name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.coroutines = 0
        self.builtins: Counter[str] = Counter()

    def see(self, frame: FrameType, what: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if "/tests/" in path or not any(folder in path for folder in OURS):
            return
        if what == "call":
            self.calls[f"{Path(path).name}:{frame.f_code.co_name}"] += 1
            self.coroutines += bool(frame.f_code.co_flags & inspect.CO_COROUTINE)
        elif what == "c_call":
            self.builtins[argument.__name__] += 1


@contextmanager
def counted() -> Iterator[Counts]:
    counts = Counts()
    sys.setprofile(counts.see)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def everything_on(url: str, *, dialect: str = "OpenAI") -> Config:
    limits = Limits(
        requests_per_minute=100_000,
        requests_per_hour=100_000,
        tokens_per_minute=100_000_000,
        concurrent_requests=1_000,
        budget=Budget(picodollars=10**18, period="Day"),
    )
    key = bundles.key(limits=limits.model_dump())
    return bundles.config(bundles.provider(url, dialect=dialect), keys=(key,))


async def counts_of(found: Gateway, **fields: object) -> Counts:
    request = raw_request(**fields)
    wire = await Wire.connect(found.port)
    try:
        for _ in range(WARM):
            wire.send(request)
            assert (await wire.answer()).status_code == 200
            await asyncio.sleep(0)
        with counted() as counts:
            wire.send(request)
            await wire.answer()
            await asyncio.sleep(0)
    finally:
        await wire.close()
    return counts


@pytest.mark.parametrize(
    ("dialect", "reply", "loads", "calls", "coroutines"),
    [
        # The request once, and the reply's usage.
        pytest.param("OpenAI", completion("fine"), 2, 302, 18, id="same-dialect"),
        pytest.param("Anthropic", message("fine"), 2, 396, 18, id="translated"),
    ],
)
async def test_a_whole_reply(
    tmp_path: Path, dialect: str, reply: dict[str, Any], loads: int, calls: int, coroutines: int
) -> None:
    async with scripts.Provider(json_reply(reply)) as one:
        url = f"{one.url}/v1" if dialect == "OpenAI" else one.url
        async with gateway(tmp_path, everything_on(url, dialect=dialect)) as found:
            counts = await counts_of(found)
    assert counts.builtins["loads"] == loads
    assert counts.calls["protocol.py:_start_asgi_task"] == 1  # the one task there is
    assert counts.calls["transport.py:write_whole"] == 1  # and no other
    assert counts.calls["transport.py:write"] == 0
    assert counts.calls["events.py:emit"] == 6  # known, routed, held against limits, called
    assert counts.calls["events.py:tell"] == 0
    assert sum(counts.calls.values()) + sum(counts.builtins.values()) <= calls
    assert counts.coroutines <= coroutines


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_nothing_of_a_request_waits_for_the_collector(tmp_path: Path, stream: bool) -> None:
    """What refers to itself is kept until then, and its body with it."""
    script = paced(deltas(1)) if stream else json_reply(completion("fine"))
    async with scripts.Provider(script) as one:
        async with gateway(tmp_path, everything_on(f"{one.url}/v1")) as found:
            gc.collect()
            gc.disable()
            try:
                before = kept()
                await counts_of(found, stream=stream)
                assert kept() <= before + 1  # of the connection's last one
            finally:
                gc.enable()


def kept() -> int:
    return sum(isinstance(each, Cycle | Pinger) for each in gc.get_objects())


def paced(events: list[bytes]) -> list[bytes | scripts.Action]:
    """Each in a piece of its own."""
    steps: list[bytes | scripts.Action] = [head(content_type=SSE)]
    for each in events:
        steps += [chunk(each), scripts.pause(0.002)]
    return [*steps, scripts.LAST_CHUNK]


def deltas(count: int) -> list[bytes]:
    piece = {"choices": [{"index": 0, "delta": {"content": "word"}, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": completion("")["usage"]}  # which the gateway asked for
    return [*([event(piece)] * count), event(end), event(usage), event("[DONE]")]


@pytest.mark.parametrize(
    ("dialect", "script", "loads", "calls"),
    [
        # The request, the chunk that ends the reply and the usage: no other chunk is looked into.
        pytest.param("OpenAI", deltas, 3, 15, id="same-dialect"),
        # The request and each event.
        pytest.param(
            "Anthropic",
            lambda count: [*message_events("word " * count)],
            1 + 5 + CHUNKS,
            18,
            id="translated",
        ),
    ],
)
async def test_a_streamed_chunk(
    tmp_path: Path, dialect: str, script: Any, loads: int, calls: int
) -> None:
    async with scripts.Provider() as one:
        url = f"{one.url}/v1" if dialect == "OpenAI" else one.url
        async with gateway(tmp_path, everything_on(url, dialect=dialect)) as found:
            one.answer = paced(script(0))
            none = await counts_of(found, stream=True)
            one.answer = paced(script(CHUNKS))
            counts = await counts_of(found, stream=True)
    assert counts.builtins["loads"] == loads
    writes = counts.calls["transport.py:write"] - none.calls["transport.py:write"]
    assert writes == CHUNKS  # one for each, at once
    assert counts.coroutines - none.coroutines < CHUNKS / 10  # and no task wakes for it
    assert counts.calls["events.py:emit"] == none.calls["events.py:emit"]
    assert sum(counts.calls.values()) - sum(none.calls.values()) <= calls * CHUNKS
