"""Anthropic's SDK before vendors of OpenAI's format that do not write as OpenAI does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway
from runestone_testing.pairs import MODEL, PAIRS
from runestone_testing.provider import json_reply, sse_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anthropic.types import Message

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@asynccontextmanager
async def client_before(root: Path, answer: bytes) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with scripts.Provider(answer) as provider:
        config = PAIRS["messages-openai"].config(f"{provider.url}/v1")
        async with gateway(root, config) as found:
            async with anthropic.AsyncAnthropic(
                base_url=f"http://127.0.0.1:{found.port}", api_key=bundles.CLIENT_KEY, max_retries=0
            ) as client:
                yield client


async def asked(client: anthropic.AsyncAnthropic, *, stream: bool) -> Message:
    fields: Any = {
        "model": MODEL,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    if not stream:
        whole: Message = await client.messages.create(**fields)
        return whole
    async with client.messages.stream(**fields) as events:
        return await events.get_final_message()


def reply(*, stream: bool, **said: Any) -> bytes:
    def told(finish: str | None, **part: Any) -> dict[str, Any]:
        return {"id": "c", "choices": [{"index": 0, **part, "finish_reason": finish}]}

    if not stream:
        return json_reply(told("tool_calls", message=said))
    return sse_reply([told(None, delta=said), told("tool_calls", delta={}), "[DONE]"])


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    return {"index": 0, "id": "t", "type": "function", "function": function}


@STREAMED
async def test_arguments_that_are_no_text_are_not_lost(tmp_path: Path, stream: bool) -> None:
    answer = reply(stream=stream, tool_calls=[call({"x": {"y": [1]}})])
    async with client_before(tmp_path, answer) as client:
        message = await asked(client, stream=stream)
    (block,) = message.content
    assert block.type == "tool_use"
    assert block.input == {"x": {"y": [1]}}


@STREAMED
@pytest.mark.parametrize("half", ["\ud83d", r"\ud83d"], ids=["of-the-vendor", "of-the-model"])
async def test_half_of_a_surrogate_pair_is_no_failure(
    tmp_path: Path, half: str, stream: bool
) -> None:
    """Escaped in the vendor's JSON, or in what the model wrote."""
    answer = reply(stream=stream, content="a\ud83d", tool_calls=[call('{"x":"' + half + '"}')])
    async with client_before(tmp_path, answer) as client:
        message = await asked(client, stream=stream)
    text, use = message.content
    assert text.type == "text"
    assert text.text == "a\ufffd"
    assert use.type == "tool_use"
    assert use.input == {"x": "\ufffd"}
