"""OpenAI's SDK on /v1/responses: natively, by way of a chat, and when a stream is lost."""

from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.responses import ResponseTextDeltaEvent

from runestone_contract.config import Provider
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.provider import SSE, chunk, event, head, json_reply, sse_reply

NATIVE = ("Chat", "Streaming", "Responses")
CHATS = ("Chat", "Streaming")
MODEL = "gpt-4o-mini"


def at(found: scripts.Provider, capabilities: tuple[str, ...], **fields: Any) -> Provider:
    model = bundles.model(MODEL).model_copy(update={"capabilities": capabilities})
    provider = bundles.provider(f"{found.url}/v1", **fields)
    return provider.model_copy(update={"models": (model,)})


def sdk(found: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=bundles.CLIENT_KEY,
        base_url=f"http://127.0.0.1:{found.port}/v1",
        max_retries=0,
        http_client=httpx2.AsyncClient(trust_env=False),
    )


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
RESPONSE = {
    "id": "resp_theirs",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-4o-mini-2024-07-18",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": None,
}
CREATED = {"type": "response.created", "sequence_number": 0, "response": RESPONSE}
TEXT = {
    "type": "response.output_text.delta",
    "sequence_number": 1,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "Hi",
    "logprobs": [],
}
LAST = {"type": "response.completed", "sequence_number": 2, "response": RESPONSE}


async def test_a_model_that_only_chats_answers(tmp_path: Path) -> None:
    async with (
        scripts.Provider(json_reply(completion("fine"))) as one,
        gateway(tmp_path, bundles.config(at(one, CHATS))) as found,
        sdk(found) as client,
    ):
        response = await client.responses.create(model=MODEL, instructions="Be kind", input="Hi")
    assert response.output_text == "fine"
    assert (response.status, response.model) == ("completed", MODEL)
    (asked,) = one.requests
    assert asked.target == "/v1/chat/completions"
    assert asked.json()["messages"] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
    ]


async def test_a_model_that_only_chats_streams(tmp_path: Path) -> None:
    stream = sse_reply([delta("fi"), delta("ne"), FINISH, USAGE, "[DONE]"])
    async with (
        scripts.Provider(stream) as one,
        gateway(tmp_path, bundles.config(at(one, CHATS))) as found,
        sdk(found) as client,
        client.responses.stream(model=MODEL, input="Hi") as events,
    ):
        texts = [each.delta async for each in events if isinstance(each, ResponseTextDeltaEvent)]
        response = await events.get_final_response()
    assert texts == ["fi", "ne"]
    assert response.output_text == "fine"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


async def test_a_model_that_has_the_api_is_asked_in_it(tmp_path: Path) -> None:
    body = orjson.dumps(RESPONSE, option=orjson.OPT_INDENT_2)
    async with (
        scripts.Provider(scripts.reply(body, content_type="application/json")) as one,
        gateway(tmp_path, bundles.config(at(one, NATIVE))) as found,
    ):
        asked = {"model": MODEL, "input": "Hi", "previous_response_id": "resp_0", "new": [1.10]}
        answer = await found.client.post("/responses", json=asked, headers={"openai-beta": "x=y"})
    assert answer.content == body
    (request,) = one.requests
    assert request.target == "/v1/responses"
    assert request.json() == asked
    assert request.header("openai-beta") == "x=y"


async def test_a_stream_of_the_api_passes_unchanged(tmp_path: Path) -> None:
    events = [event(each, str(each["type"])) for each in (CREATED, TEXT, LAST)]
    async with (
        scripts.Provider(scripts.chunked(*events, content_type=SSE)) as one,
        gateway(tmp_path, bundles.config(at(one, NATIVE))) as found,
    ):
        asked = {"model": MODEL, "input": "Hi", "stream": True}
        answer = await found.client.post("/responses", json=asked)
    assert answer.content == b"".join(events)


async def test_what_a_chat_cannot_say_goes_where_it_can_be_said(tmp_path: Path) -> None:
    async with (
        scripts.Provider(json_reply(completion("fine"))) as one,
        scripts.Provider(json_reply(RESPONSE)) as two,
    ):
        asked = {"model": MODEL, "input": "Hi", "previous_response_id": "resp_0"}
        config = bundles.config(at(one, CHATS), at(two, NATIVE, name="spare", priority=1))
        async with gateway(tmp_path / "both", config) as found:
            answer = await found.client.post("/responses", json=asked)
        assert answer.json()["id"] == "resp_theirs"
        async with gateway(tmp_path / "one", bundles.config(at(one, CHATS))) as found:
            answer = await found.client.post("/responses", json=asked)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "previous_response_id"
        assert one.requests == []


LOST = {
    "native": (NATIVE, event(CREATED, "response.created") + event(TEXT, str(TEXT["type"]))),
    "by way of a chat": (CHATS, event(delta("Hi"))),
}


@pytest.mark.parametrize(("capabilities", "begun"), LOST.values(), ids=LOST)
async def test_c15_a_stream_that_is_lost_raises_in_the_sdk(
    tmp_path: Path, capabilities: tuple[str, ...], begun: bytes
) -> None:
    script: list[Any] = [head(content_type=SSE) + chunk(begun), scripts.reset()]
    async with (
        scripts.Provider(script) as one,
        gateway(tmp_path, bundles.config(at(one, capabilities))) as found,
        sdk(found) as client,
    ):
        stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
        texts: list[str] = []
        with pytest.raises(openai.APIError, match="lost before it was whole"):
            async for each in stream:
                texts += [each.delta] if isinstance(each, ResponseTextDeltaEvent) else []
    assert texts == ["Hi"]


@pytest.mark.parametrize("capabilities", [NATIVE, CHATS], ids=["native", "chat"])
async def test_a_response_in_the_background_is_refused(
    tmp_path: Path, capabilities: tuple[str, ...]
) -> None:
    """It would outlive the request, and its usage the limits."""
    async with scripts.Provider(json_reply(RESPONSE)) as one:
        async with (
            gateway(tmp_path, bundles.config(at(one, capabilities))) as found,
            sdk(found) as client,
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model=MODEL, input="x", background=True)
            assert refused.value.param == "background"
            assert one.requests == []
