"""llmock's own verdict on the gateway as a client of its, fault after fault.

llmock sees each attempt and its timing, and fails a client that retries too soon, retries what
cannot succeed, storms, or takes a stream that was cut for a whole one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

from runestone_contract.config import Retry, Timeouts
from runestone_testing import bundles
from runestone_testing.gateway import gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from runestone_testing.gateway import Gateway

DIALECTS = ("OpenAI", "Anthropic")
MODELS = {"OpenAI": "gpt-4o-mini", "Anthropic": "claude-haiku-4-5"}
TIMEOUTS = Timeouts(idle_ms=1_000)
RETRY = Retry(max_attempts=3, initial_backoff_ms=20, max_backoff_ms=2_000)


@pytest.fixture(scope="module")
def server() -> Iterator[LLMockServer]:
    with LLMockServer() as found:
        yield found


@pytest.fixture
def llmock(server: LLMockServer) -> Iterator[LLMock]:
    yield LLMock(server).reset()


@pytest.fixture(params=DIALECTS, ids="onto-{}".format)
async def served(
    request: pytest.FixtureRequest, server: LLMockServer, tmp_path: Path
) -> AsyncIterator[Gateway]:
    dialect = request.param
    url = server.base_url(dialect.lower())
    provider = bundles.provider(
        url, dialect=dialect, models=(MODELS[dialect],), retry=RETRY, timeouts=TIMEOUTS
    )
    async with gateway(tmp_path, bundles.config(provider)) as found:
        yield found


class BrokenStreamError(Exception):
    pass


async def ask(served: Gateway, *, stream: bool = False) -> str:
    """The whole reply; a stream that does not come to its end in order is an error."""
    (model,) = (await served.client.get("/models")).json()["data"]
    response = await served.chat(model=model["id"], stream=stream)
    response.raise_for_status()
    if not stream:
        return str(response.json()["choices"][0]["message"]["content"])
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    if events[-1] != "[DONE]":
        raise BrokenStreamError
    try:
        chunks: list[Any] = [json.loads(event) for event in events[:-1]]
    except ValueError:  # a provider's bytes pass as they are
        raise BrokenStreamError from None
    if any("error" in chunk for chunk in chunks):
        raise BrokenStreamError
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


RETRIED = [
    pytest.param(lambda mock: mock.fail(500), id="500"),
    pytest.param(lambda mock: mock.fail(503, times=2), id="503-twice"),
    pytest.param(lambda mock: mock.fail(529), id="529"),
    pytest.param(lambda mock: mock.fail(408), id="408"),
    pytest.param(lambda mock: mock.rate_limit(retry_after=0.3), id="429-retry-after"),
]
BROKEN = [
    pytest.param(lambda mock: mock.truncate(after_chunks=1), id="P9-truncated-at-once"),
    pytest.param(lambda mock: mock.truncate(after_chunks=3), id="P9-truncated"),
    pytest.param(lambda mock: mock.disconnect(after_chunks=3), id="P9-disconnected"),
    pytest.param(lambda mock: mock.corrupt(after_chunks=3), id="P9-corrupted"),
    pytest.param(lambda mock: mock.stall(after_chunks=3, seconds=20), id="P9-stalled"),
]
FINAL = [pytest.param(status, id=str(status)) for status in (400, 401, 403, 404, 422)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", RETRIED)
async def test_what_passes_is_tried_again(
    served: Gateway, llmock: LLMock, fault: Callable[[LLMock], LLMock], *, stream: bool
) -> None:
    fault(llmock)
    assert await ask(served, stream=stream)
    verdict = llmock.verdict()
    assert verdict.faults >= 1
    assert verdict.findings == (), verdict.render()


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_is_never_taken_for_a_whole_one(
    served: Gateway, llmock: LLMock, fault: Callable[[LLMock], LLMock]
) -> None:
    fault(llmock)
    with pytest.raises((BrokenStreamError, httpx.RemoteProtocolError)):
        await ask(served, stream=True)
    assert await ask(served, stream=True)  # told, the program asks again
    verdict = llmock.verdict()
    assert verdict.faults == 1
    assert verdict.errors == (), verdict.render()


@pytest.mark.parametrize("status", FINAL)
async def test_what_cannot_pass_is_not_tried_again(
    served: Gateway, llmock: LLMock, status: int
) -> None:
    llmock.fail(status)
    with pytest.raises(httpx.HTTPStatusError):
        await ask(served)
    assert len(llmock.requests) == 1
    llmock.assert_resilient()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_outage_raises_no_storm(served: Gateway, llmock: LLMock, *, stream: bool) -> None:
    llmock.outage()
    for _ in range(3):
        with pytest.raises(httpx.HTTPStatusError):
            await ask(served, stream=stream)
    assert len(llmock.requests) <= 3 * RETRY.max_attempts
    llmock.assert_resilient()
