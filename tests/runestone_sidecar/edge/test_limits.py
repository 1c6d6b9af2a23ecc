"""An ApiKey's limits over HTTP: refused with words, headers, a time; settled to what was used."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from runestone_contract.config import Budget, Limits
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway, question, raw_request
from runestone_testing.provider import SSE, chunk, event, hang, head, json_reply

OK = json_reply(completion("fine"))  # 7 tokens in, 5 out
BROKEN = json_reply({"error": {"message": "no"}}, status=500)


def limited(one: scripts.Provider, **limits: Any) -> Any:
    key = bundles.key(limits=Limits(**limits).model_dump())
    return bundles.config(bundles.provider(f"{one.url}/v1"), keys=(key,))


async def usage(found: Gateway) -> dict[str, Any]:
    answer: dict[str, Any] = (await found.client.get("/usage")).json()
    return answer


def left(report: dict[str, Any], limit: str) -> int:
    found: int = next(each["remaining"] for each in report["limits"] if each["limit"] == limit)
    return found


async def test_requests_beyond_the_limit_are_429_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, limited(one, requests_per_minute=3)) as found,
    ):
        answers = [await found.chat() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:4]] == [
        "2",
        "1",
        "0",
        "0",
    ]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    error = answers[3].json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "3 requests a minute" in error["message"]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 61
    assert len(one.requests) == 3


async def test_the_openai_sdk_sees_a_rate_limit_error(tmp_path: Path) -> None:
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, limited(one, requests_per_minute=1)) as found,
    ):
        client = openai.AsyncOpenAI(
            base_url=str(found.client.base_url), api_key=bundles.CLIENT_KEY, max_retries=0
        )
        async with client:
            asked = question()
            await client.chat.completions.create(**asked)  # type: ignore[call-overload]
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(**asked)  # type: ignore[call-overload]


async def test_what_the_provider_refused_is_given_back(tmp_path: Path) -> None:
    async with (
        scripts.Provider(BROKEN) as one,
        gateway(tmp_path, limited(one, requests_per_minute=5, tokens_per_minute=10_000)) as found,
    ):
        assert (await found.chat()).status_code == 502
        report = await usage(found)
    assert left(report, "requests_per_minute") == 5
    assert left(report, "tokens_per_minute") == 10_000


async def test_tokens_are_settled_to_what_the_provider_counted(tmp_path: Path) -> None:
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, limited(one, tokens_per_minute=10_000)) as found,
    ):
        await found.chat(max_tokens=5_000)
        report = await usage(found)
    assert left(report, "tokens_per_minute") == 10_000 - 12
    assert report["models"] == [
        {
            "model": "gpt-4o-mini",
            "requests": 1,
            "input_tokens": 7,
            "output_tokens": 5,
            "cost_usd": "0.00000405",
        }
    ]


async def test_a_budget_is_reserved_at_worst_and_never_overspent(tmp_path: Path) -> None:
    # 4,096 tokens of output at 0.6 dollars a million: 0.0024576 dollars at worst, 0.000004 in fact.
    budget = Budget(picodollars=4_000_000_000, period="Day")
    gate = asyncio.Event()
    async with scripts.Provider([scripts.until(gate), OK]) as one:
        async with gateway(tmp_path, limited(one, budget=budget.model_dump())) as found:
            first = asyncio.create_task(found.chat())
            await one.requested()
            second = await found.chat()
            gate.set()
            assert (await first).status_code == 200
            third = await found.chat()
    assert second.status_code == 429
    assert second.json()["error"]["code"] == "insufficient_quota"
    assert second.headers["x-should-retry"] == "false"
    assert third.status_code == 200


async def test_a_budget_is_reserved_for_each_answer_that_is_asked_for(tmp_path: Path) -> None:
    budget = Budget(picodollars=7_000_000_000, period="Day")  # for two answers at worst
    gate = asyncio.Event()
    async with scripts.Provider([scripts.until(gate), OK]) as one:
        async with gateway(tmp_path, limited(one, budget=budget.model_dump())) as found:
            first = asyncio.create_task(found.chat(n=2))
            await one.requested()
            second = await found.chat()
            gate.set()
            assert (await first).status_code == 200
    assert second.json()["error"]["code"] == "insufficient_quota"


async def test_what_writes_nothing_reserves_nothing_to_write(tmp_path: Path) -> None:
    embedded = json_reply({"object": "list", "data": [{"embedding": [0.5]}], "usage": {}})
    asked = {"model": "gpt-4o-mini", "input": "hello"}
    gate = asyncio.Event()
    async with scripts.Provider([scripts.until(gate), embedded]) as one:
        async with gateway(tmp_path, limited(one, tokens_per_minute=100)) as found:
            both = [
                asyncio.create_task(found.client.post("/embeddings", json=asked)) for _ in range(2)
            ]
            while len(one.requests) < 2 and not any(each.done() for each in both):
                await asyncio.sleep(0.005)
            gate.set()
            assert [(await each).status_code for each in both] == [200, 200]


async def test_a_slot_is_free_once_its_client_has_left(tmp_path: Path) -> None:
    async with scripts.Provider([hang()]) as one:
        async with gateway(tmp_path, limited(one, concurrent_requests=1)) as found:
            reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
            writer.write(raw_request())
            await one.requested()
            refused = await found.chat()
            assert refused.status_code == 429
            assert refused.headers["x-ratelimit-remaining-concurrent"] == "0"
            one.answer = OK
            writer.transport.abort()
            while (answer := await found.chat()).status_code == 429:
                await asyncio.sleep(0.005)
            assert answer.status_code == 200
            assert left(await usage(found), "concurrent_requests") == 1
            del reader


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
async def test_H5_a_stream_cut_before_its_usage_is_charged_for_what_was_sent(
    tmp_path: Path, end: bytes
) -> None:
    word = event({"choices": [{"index": 0, "delta": {"content": "w"}}]})
    words = [chunk(word.replace(b"\n", end))] * 100
    async with scripts.Provider([head(content_type=SSE), *words, scripts.close()]) as one:
        async with gateway(tmp_path, limited(one, tokens_per_minute=10_000)) as found:
            with pytest.raises(httpx.RemoteProtocolError):
                await found.chat(stream=True)
            spent = 10_000 - left(await usage(found), "tokens_per_minute")
    assert 100 < spent < 140  # the words, and the question's own few


async def test_without_limits_no_header_is_sent(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config) as found:
            answer = await found.chat()
            report = await usage(found)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert report["limits"] == []
    assert report["requests"] == 1


@pytest.mark.parametrize("count", [2**64 - 1, 2**62, 10**15, -1, 1e30, "9", None], ids=repr)
async def test_a_count_that_is_none_is_estimated_and_breaks_no_report(
    tmp_path: Path, count: object
) -> None:
    told = {"prompt_tokens": count, "completion_tokens": count}
    async with (
        scripts.Provider(json_reply(completion("fine") | {"usage": told})) as one,
        gateway(tmp_path, limited(one, tokens_per_minute=10_000)) as found,
    ):
        assert (await found.chat()).status_code == 200
        assert (await found.chat()).status_code == 200
        assert (await usage(found))["output_tokens"] < 10_000
