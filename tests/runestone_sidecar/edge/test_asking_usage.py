"""A key's limit in tokens or money has streams tell what they used, and the client sees no more.

A stream that its client did not ask for usage is asked for it by the gateway, and what tells it is
taken out; all of it through a real server and, where a program would be, OpenAI's own SDK.
"""

from __future__ import annotations

import json
import tracemalloc
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import openai
import pytest

from runestone_contract.config import Budget, Limits
from runestone_sidecar.upstream.dialects.splice import splice_asking
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import chunk as delta
from runestone_testing.gateway import Gateway, gateway, question
from runestone_testing.pairs import text_completion
from runestone_testing.provider import SSE, chunk, event, head, json_reply, sse_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from runestone_sidecar.admit.load import LoadStore

MAIN: Final = "shop/pool/main"
MANY: Final = 10**9
COUNTED: Final = {
    "prompt_tokens": 1_000,
    "completion_tokens": 700,
    "total_tokens": 1_700,
    "prompt_tokens_details": {"cached_tokens": 800},
    "completion_tokens_details": {"reasoning_tokens": 690},
}
# In: 200 at $0.15 a million and 800 cached at half of it; out: 700 at $0.60.
COST_USD: Final = Decimal("0.00051")
BUDGET: Final = Limits(budget=Budget(picodollars=10**15, period="Day"))
TOKENS: Final = Limits(tokens_per_minute=MANY)
UNCOUNTED: Final = Limits(requests_per_minute=MANY, concurrent_requests=1_000)
UNKNOWN: Final = {
    "openai": {
        "error": {
            "message": "Unrecognized request argument supplied: stream_options",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    },
    "pydantic": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]},
}


def streamed(request: scripts.Request) -> scripts.Script:
    """As OpenAI does: usage where it is asked for, and a null in all other chunks."""
    asked = request.json()
    told = (asked.get("stream_options") or {}).get("include_usage") is True
    texts = "prompt" in asked
    words = [text_completion(each, None) for each in "abc"] if texts else [*map(delta, "abc")]
    chunks = [*words, text_completion("", "stop") if texts else delta(None)]
    for each in chunks:
        each.pop("usage", None)
        if told:
            each["usage"] = None
    last = [{**chunks[0], "choices": [], "usage": COUNTED}] if told else []
    return sse_reply([*chunks, *last, "[DONE]"])


@asynccontextmanager
async def asked(root: Path, answer: scripts.Answer, limits: Limits) -> AsyncIterator[Seen]:
    async with scripts.Provider(answer) as one:
        key = bundles.key(limits=limits.model_dump())
        config = bundles.config(bundles.provider(f"{one.url}/v1"), keys=(key,))
        async with gateway(root, config) as found:
            yield Seen(one, found)


class Seen:
    def __init__(self, provider: scripts.Provider, found: Gateway) -> None:
        self.provider = provider
        self.gateway = found

    @property
    def load(self) -> LoadStore:
        return self.gateway.parts.health.load

    def options(self) -> list[Any]:
        """Of each request that the provider got."""
        return [each.json().get("stream_options") for each in self.provider.requests]

    async def stream(self, **fields: object) -> httpx.Response:
        return await self.gateway.chat(stream=True, **fields)

    async def used(self) -> dict[str, Any]:
        report: dict[str, Any] = (await self.gateway.client.get("/usage")).json()
        return report

    async def charged(self) -> tuple[int, int, Decimal]:
        report = await self.used()
        (model,) = report["models"]
        return model["input_tokens"], model["output_tokens"], Decimal(model["cost_usd"])

    def sdk(self) -> openai.AsyncOpenAI:
        url = str(self.gateway.client.base_url)
        return openai.AsyncOpenAI(base_url=url, api_key=bundles.CLIENT_KEY, max_retries=0)


def data_of(stream: httpx.Response) -> list[Any]:
    events = stream.text.split("\n\n")[:-1]
    assert events[-1] == "data: [DONE]"
    return [json.loads(each.removeprefix("data: ")) for each in events[:-1]]


# --- with OpenAI's SDK

LIMITED = pytest.mark.parametrize("limits", [BUDGET, TOKENS], ids=["budget", "tokens-a-minute"])


@LIMITED
async def test_a_stream_is_charged_as_counted_and_shows_no_usage(
    tmp_path: Path, limits: Limits
) -> None:
    async with asked(tmp_path, streamed, limits) as seen, seen.sdk() as client:
        stream = await client.chat.completions.create(stream=True, **question())  # type: ignore[call-overload]
        chunks = [each async for each in stream]
        assert [each.choices[0].delta.content for each in chunks] == ["a", "b", "c", None]
        assert [each.usage for each in chunks] == [None] * 4
        assert seen.options() == [{"include_usage": True}]
        assert await seen.charged() == (1_000, 700, COST_USD)
        (limit,) = (await seen.used())["limits"]
        spent = COST_USD if limits is BUDGET else 1_700
        assert Decimal(limit["max"]) - Decimal(limit["remaining"]) == spent


async def test_the_stream_helper(tmp_path: Path) -> None:
    async with asked(tmp_path, streamed, BUDGET) as seen, seen.sdk() as client:
        async with client.chat.completions.stream(**question()) as stream:  # type: ignore[arg-type]
            texts = [each.delta async for each in stream if each.type == "content.delta"]
        whole = await stream.get_final_completion()
        assert texts == ["a", "b", "c"]
        assert whole.usage is None
        assert whole.choices[0].finish_reason == "stop"
        assert await seen.charged() == (1_000, 700, COST_USD)


async def test_legacy_completions(tmp_path: Path) -> None:
    async with asked(tmp_path, streamed, BUDGET) as seen, seen.sdk() as client:
        stream = await client.completions.create(model="gpt-4o-mini", prompt="hello", stream=True)
        chunks = [each async for each in stream]
        assert [each.choices[0].text for each in chunks] == ["a", "b", "c", ""]
        assert seen.provider.requests[0].target == "/v1/completions"
        assert await seen.charged() == (1_000, 700, COST_USD)


async def test_a_client_that_asks_sees_what_it_asked_for(tmp_path: Path) -> None:
    options = {"include_usage": True}
    async with asked(tmp_path, streamed, BUDGET) as seen, seen.sdk() as client:
        stream = await client.chat.completions.create(  # type: ignore[call-overload]
            stream=True, stream_options=options, **question()
        )
        chunks = [each async for each in stream]
        assert chunks[-1].usage.completion_tokens == 700
        assert chunks[-1].choices == []
        assert seen.options() == [options]
        assert await seen.charged() == (1_000, 700, COST_USD)


# --- byte by byte


@pytest.mark.parametrize("limits", [Limits(), UNCOUNTED], ids=["none", "of-requests"])
async def test_without_such_limits_all_bytes_are_as_they_were(
    tmp_path: Path, limits: Limits
) -> None:
    body = b'{ "model":"gpt-4o-mini", "stream":true ,"messages":[{"role":"user","content":"hi"}]}'
    usage = event({"id": "x", "choices": [], "usage": COUNTED})  # though nobody asked
    sent = event(delta("a")) + event(delta(None)) + usage + event("[DONE]")
    reply = head(content_type=SSE) + chunk(sent) + scripts.LAST_CHUNK
    async with asked(tmp_path, reply, limits) as seen:
        got = await seen.gateway.client.post(
            "/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert got.content == sent
        assert seen.provider.requests[0].body == body


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param(None, {"include_usage": True}, id="null"),
        pytest.param({"include_usage": False}, {"include_usage": True}, id="false"),
        pytest.param(
            {"include_obfuscation": False},
            {"include_obfuscation": False, "include_usage": True},
            id="obfuscation",
        ),
    ],
)
async def test_other_options_stay(tmp_path: Path, options: Any, sent: Any) -> None:
    async with asked(tmp_path, streamed, TOKENS) as seen:
        assert len(data_of(await seen.stream(stream_options=options))) == 4
        assert seen.options() == [sent]


async def test_what_is_not_streamed_asks_for_nothing(tmp_path: Path) -> None:
    reply = {"id": "x", "choices": [{"index": 0, "message": {}}], "usage": COUNTED}
    async with asked(tmp_path, json_reply(reply), BUDGET) as seen:
        assert (await seen.gateway.chat()).json() == reply
        assert seen.options() == [None]


# --- providers that refuse to be asked


def refusing(refusal: Any = UNKNOWN["openai"], status: int = 400) -> scripts.Answer:
    def answer(request: scripts.Request) -> scripts.Script:
        if "stream_options" in request.json():
            return json_reply(refusal, status=status)
        return streamed(request)

    return answer


REFUSALS = pytest.mark.parametrize(
    ("refusal", "status"),
    [
        pytest.param(UNKNOWN["openai"], 400, id="400"),
        pytest.param(UNKNOWN["pydantic"], 422, id="422"),
    ],
)


@REFUSALS
async def test_a_provider_that_refuses_is_asked_without_and_then_left_alone(
    tmp_path: Path, refusal: Any, status: int
) -> None:
    async with asked(tmp_path, refusing(refusal, status), TOKENS) as seen:
        answers = [await seen.stream() for _ in range(3)]
        assert [len(data_of(answer)) for answer in answers] == [4, 4, 4]
        assert [answer.headers["x-runestone-attempts"] for answer in answers] == ["2", "1", "1"]
        assert seen.options() == [{"include_usage": True}, None, None, None]
        load = seen.load.of(MAIN)
        assert load.score == 1.0
        assert load.breaker.closed
        assert (await seen.used())["output_tokens"] == 3 * 5  # an event each, for want of a count


async def test_what_is_estimated_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(tmp_path, refusing(), TOKENS) as seen:
        await seen.stream()
        seen.gateway.parts.lines.flush()
    (line,) = [json.loads(each) for each in capfd.readouterr().out.splitlines()]
    assert line["usage_estimated"] is True
    assert line["tried"] == [f"{MAIN}: status_400"]
    assert "gpt-4o-mini refuses `stream_options`" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "whole"),
    [
        pytest.param("/messages", {"max_tokens": 9}, "message_stop", id="messages"),
        pytest.param("/responses", {"input": "hello"}, "response.completed", id="responses"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(), BUDGET], ids=["no-limits", "budget"])
async def test_a_translation_does_without_as_well(
    tmp_path: Path, path: str, body: Any, whole: str, limits: Limits
) -> None:
    async with asked(tmp_path, refusing(), limits) as seen:
        fields = question(stream=True, **body)
        if "input" in body:
            del fields["messages"]
        for _ in range(2):
            answer = await seen.gateway.client.post(path, json=fields)
            assert answer.status_code == 200, answer.text
            assert whole in answer.text
        assert seen.options() == [{"include_usage": True}, None, None]


async def test_a_refusal_of_the_clients_own_options_is_the_clients(tmp_path: Path) -> None:
    async with asked(tmp_path, refusing(), BUDGET) as seen:
        answer = await seen.stream(stream_options={"include_obfuscation": False})
        assert answer.status_code == 400
        assert answer.json() == UNKNOWN["openai"]
        assert len(seen.provider.requests) == 1
        assert not seen.load.of(MAIN).unasked


async def test_nothing_is_learnt_from_a_request_that_is_refused_all_the_same(
    tmp_path: Path,
) -> None:
    """A client can have the words in an error, but no answer to what is wrong."""
    said = {"error": {"message": "'stream_options' is no role", "type": "invalid_request_error"}}
    async with asked(tmp_path, json_reply(said, status=400), BUDGET) as seen:
        assert (await seen.stream()).status_code == 400
        assert len(seen.provider.requests) == 2
        assert not seen.load.of(MAIN).unasked
        seen.provider.answer = streamed
        await seen.stream()
        assert seen.options()[-1] == {"include_usage": True}
        assert await seen.charged() == (1_000, 700, COST_USD)


@pytest.mark.parametrize("status", [401, 404, 413, 500], ids=str)
async def test_other_refusals_are_what_they_are(tmp_path: Path, status: int) -> None:
    async with asked(tmp_path, refusing(status=status), BUDGET) as seen:
        assert (await seen.stream()).status_code == {401: 502, 500: 502}.get(status, status)
        assert len(seen.provider.requests) == 1


def test_options_of_any_length_take_no_more_memory_than_the_body() -> None:
    body = {"model": "m", "stream_options": {}}
    raw = b'{"model":"m","stream_options":{%b}}' % (b" " * 1_000_000)
    tracemalloc.start()
    try:
        spliced = splice_asking(raw, body)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spliced == b'{"model":"m","stream_options":{"include_usage":true}}'
    assert most_bytes < 2 * len(raw)
