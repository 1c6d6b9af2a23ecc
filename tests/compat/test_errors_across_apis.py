"""What the real SDKs make of a provider's refusal of a request that was translated."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway
from runestone_testing.pairs import MODEL, PAIRS
from runestone_testing.provider import SSE, chunk, event, head, json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INVALID = "invalid_request_error"


@asynccontextmanager
async def refusing(root: Path, pair: str, answer: scripts.Answer) -> AsyncIterator[str]:
    """The address of a gateway before a provider that gives this answer."""
    async with scripts.Provider(answer) as provider:
        async with gateway(root, PAIRS[pair].config(f"{provider.url}/v1")) as found:
            yield f"http://127.0.0.1:{found.port}"


def openai_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=bundles.CLIENT_KEY, max_retries=0)


def anthropic_client(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=bundles.CLIENT_KEY, max_retries=0)


def refusal(param: str) -> bytes:
    error = {"message": f"Bad '{param}'.", "type": INVALID, "param": param, "code": "bad_value"}
    return json_reply({"error": error}, status=400)


def begun(pair: str, *last: bytes) -> bytes:
    """A stream whose first events are well."""
    pieces = b"".join(map(chunk, [*PAIRS[pair].events()[:3], *last]))
    return head(content_type=SSE) + pieces


RATE = event({"error": {"message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded"}})
FULL = event({"type": "error", "error": {"type": "overloaded_error", "message": "Full."}}, "error")


async def test_messages_are_refused_in_their_words(tmp_path: Path) -> None:
    async with refusing(tmp_path, "messages-openai", refusal("messages[1].content")) as url:
        async with anthropic_client(url) as client:
            with pytest.raises(anthropic.BadRequestError) as caught:
                await client.messages.create(
                    model=MODEL,
                    max_tokens=9,
                    system="Be brief.",
                    messages=[{"role": "user", "content": "Hello"}],
                )
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == {"type": INVALID, "message": "Bad 'messages[0].content'."}


async def test_a_stream_of_messages_fails_in_their_words(tmp_path: Path) -> None:
    gate = asyncio.Event()  # nothing that was handed on can be asked for elsewhere
    rest = chunk(RATE) + scripts.LAST_CHUNK
    answer: scripts.Script = [begun("messages-openai"), scripts.until(gate), rest]
    async with refusing(tmp_path, "messages-openai", answer) as url:
        async with anthropic_client(url) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                async with client.messages.stream(
                    model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
                ) as stream:
                    async for _ in stream:
                        gate.set()
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == {"type": "rate_limit_error", "message": "Slow down."}


async def test_a_response_is_refused_in_its_words(tmp_path: Path) -> None:
    async with refusing(tmp_path, "responses-chat", refusal("max_tokens")) as url:
        async with openai_client(url) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model=MODEL, input="Hello", max_output_tokens=99)
    error = caught.value
    assert (error.param, error.code, error.type) == ("max_output_tokens", "bad_value", INVALID)
    assert "Bad 'max_output_tokens'." in error.message


async def test_a_streamed_response_fails_in_its_words(tmp_path: Path) -> None:
    answer = begun("responses-anthropic", FULL) + scripts.LAST_CHUNK
    async with refusing(tmp_path, "responses-anthropic", answer) as url:
        async with openai_client(url) as client:
            with pytest.raises(openai.APIError, match=r"Full\.") as caught:
                async for _ in await client.responses.create(
                    model=MODEL, input="Hello", stream=True
                ):
                    pass
    assert (caught.value.code, caught.value.type) == ("overloaded", "server_error")


async def test_a_completion_is_refused_in_its_words(tmp_path: Path) -> None:
    """By the gateway itself: the provider's format has no such field."""
    async with refusing(tmp_path, "completions-anthropic", b"") as url:
        async with openai_client(url) as client:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.completions.create(model=MODEL, prompt=" ")
    assert caught.value.param == "prompt"


async def test_a_streamed_completion_fails_in_its_words(tmp_path: Path) -> None:
    answer = begun("completions-anthropic", FULL) + scripts.LAST_CHUNK
    async with refusing(tmp_path, "completions-anthropic", answer) as url:
        async with openai_client(url) as client:
            said: list[Any] = []
            with pytest.raises(openai.APIError, match=r"Full\.") as caught:
                async for each in await client.completions.create(
                    model=MODEL, prompt="Once", stream=True
                ):
                    said.append(each)  # noqa: PERF401 - what came before the error is wanted
    assert (caught.value.code, caught.value.type) == ("overloaded", "server_error")
    assert said
