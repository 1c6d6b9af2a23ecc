"""Legacy completions and embeddings through OpenAI's SDK, to models of every kind."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import Gateway, gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOLD = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHAT = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 7,
    "model": "served",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": " a time"},
            "finish_reason": "length",
        }
    ],
    "usage": TOLD,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "served",
    "content": [{"type": "text", "text": " a time"}],
    "stop_reason": "max_tokens",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
COMPLETION = {
    "id": "cmpl-9",
    "object": "text_completion",
    "created": 7,
    "model": "served",
    "choices": [{"index": 0, "text": " a time", "finish_reason": "length", "logprobs": None}],
    "usage": TOLD,
}


@asynccontextmanager
async def fronted(
    root: Path, answer: scripts.Answer, dialect: str, *capabilities: str
) -> AsyncIterator[tuple[Gateway, scripts.Provider, openai.AsyncOpenAI]]:
    async with scripts.Provider(answer) as one:
        model = bundles.model("m").model_copy(update={"capabilities": capabilities})
        made = bundles.provider(f"{one.url}/v1", dialect=dialect)
        made = made.model_copy(update={"models": (model,)})
        async with gateway(root, bundles.config(made)) as served:
            async with openai.AsyncOpenAI(
                base_url=f"http://127.0.0.1:{served.port}/v1",
                api_key=bundles.CLIENT_KEY,
                max_retries=0,
                http_client=httpx2.AsyncClient(trust_env=False, verify=False),
            ) as sdk:
                yield served, one, sdk


@pytest.mark.parametrize(
    ("dialect", "capabilities", "answer", "target"),
    [
        pytest.param("OpenAI", ["Completions"], COMPLETION, "/v1/completions", id="completes"),
        pytest.param("OpenAI", [], COMPLETION, "/v1/completions", id="states-nothing"),
        pytest.param("OpenAI", ["Chat"], CHAT, "/v1/chat/completions", id="chats"),
        pytest.param("Anthropic", ["Chat"], MESSAGE, "/v1/v1/messages", id="anthropic"),
    ],
)
async def test_completion(
    tmp_path: Path, dialect: str, capabilities: list[str], answer: Any, target: str
) -> None:
    scripted = scripts.json_reply(answer)
    async with fronted(tmp_path, scripted, dialect, *capabilities) as (served, one, sdk):
        said = await sdk.completions.create(model="m", prompt="Once upon", max_tokens=2)
        spent = served.parts.traffic.spent["shop/app", "m", "shop/pool/main"]
    assert said.object == "text_completion"
    assert (said.choices[0].text, said.choices[0].finish_reason) == (" a time", "length")
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (3, 2)
    assert (spent.input_tokens, spent.output_tokens) == (3, 2)
    assert one.requests[0].target == target


@pytest.mark.parametrize("capabilities", [["Chat", "Streaming"], []], ids=["chats", "natively"])
async def test_streamed_completion(tmp_path: Path, capabilities: list[str]) -> None:
    def chunk(text: str, reason: str | None = None) -> dict[str, Any]:
        part: dict[str, Any] = {"delta": {"content": text}} if capabilities else {"text": text}
        choice = {"index": 0, "finish_reason": reason, **part}
        return {"id": "x", "object": "y", "created": 7, "model": "served", "choices": [choice]}

    answer = scripts.sse_reply([chunk(" a"), chunk(" time", "stop"), "[DONE]"])
    async with fronted(tmp_path, answer, "OpenAI", *capabilities) as (_, _, sdk):
        stream = await sdk.completions.create(model="m", prompt="Once upon", stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(each.choices[0].text for each in chunks) == " a time"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_what_a_chat_cannot_say_is_refused_and_named(tmp_path: Path) -> None:
    async with fronted(tmp_path, b"", "OpenAI", "Chat") as (_, one, sdk):
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.completions.create(model="m", prompt="x", suffix="y")
        assert caught.value.param == "suffix"
        assert one.peers == []


@pytest.mark.parametrize("given", ["hello", ["hello", "world"], [1, 2], [[1], [2]]], ids=repr)
async def test_embeddings(tmp_path: Path, given: Any) -> None:
    vector = base64.b64encode(b"\x00\x00\x80\x3f" * 4).decode()  # the SDK asks for base64
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    answer = scripts.json_reply({"object": "list", "data": data, "model": "x", "usage": usage})
    async with fronted(tmp_path, answer, "OpenAI", "Embeddings") as (served, one, sdk):
        found = await sdk.embeddings.create(model="m", input=given, dimensions=4)
        spent = served.parts.traffic.spent["shop/app", "m", "shop/pool/main"]
    assert found.data[0].embedding == [1.0] * 4
    assert found.usage.prompt_tokens == 8
    assert (spent.input_tokens, spent.output_tokens) == (8, 0)
    sent = one.requests[0]
    assert sent.target == "/v1/embeddings"
    assert sent.json() == {
        "model": "m",
        "input": given,
        "dimensions": 4,
        "encoding_format": "base64",
    }


async def test_many_inputs_need_not_share_a_window(tmp_path: Path) -> None:
    answer = scripts.json_reply({"object": "list", "data": [], "model": "x"})
    texts = ["word " * 20_000] * 40  # of 128,000 tokens each may have its own
    async with fronted(tmp_path, answer, "OpenAI", "Embeddings") as (_, one, sdk):
        await sdk.with_raw_response.embeddings.create(model="m", input=texts)
        assert len(one.requests) == 1
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.embeddings.create(model="m", input="word " * 800_000)
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("dialect", "capabilities"),
    [
        pytest.param("OpenAI", ["Chat"], id="chats"),
        pytest.param("Anthropic", [], id="anthropic"),
    ],
)
async def test_chats_do_not_embed(tmp_path: Path, dialect: str, capabilities: list[str]) -> None:
    async with fronted(tmp_path, b"", dialect, *capabilities) as (_, one, sdk):
        with pytest.raises(openai.APIStatusError) as caught:
            await sdk.embeddings.create(model="m", input="x")
        assert caught.value.status_code in {400, 503}
        assert one.peers == []
