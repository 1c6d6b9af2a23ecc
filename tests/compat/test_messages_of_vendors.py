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


def reply(*, stream: bool, finish: str = "tool_calls", **said: Any) -> bytes:
    part = "delta" if stream else "message"
    choice = {"index": 0, part: {"role": "assistant", **said}, "finish_reason": finish}
    document = {"id": "c", "choices": [choice]}
    return sse_reply([document, "[DONE]"]) if stream else json_reply(document)


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
