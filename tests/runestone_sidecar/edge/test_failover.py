"""What a provider's trouble means for the client: retried, taken elsewhere, handed on, or told."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from runestone_contract.config import (
    Connections,
    Policy,
    Pool,
    Provider,
    Retry,
    Rule,
    Target,
    Timeouts,
)
from runestone_sidecar.edge import respond
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import gateway, question
from runestone_testing.provider import SSE, chunk, event, head, json_reply, sse_reply

OK = json_reply(completion("fine"))
TWICE = Retry(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=20)


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


STREAM = sse_reply(
    [delta("fi"), {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]"]
)
BROKEN = json_reply({"error": {"message": "secret detail", "type": "server_error"}}, status=500)


def at(found: scripts.Provider, **fields: Any) -> Provider:
    return bundles.provider(f"{found.url}/v1", **fields)


async def test_the_next_provider_stands_in(tmp_path: Path) -> None:
    async with scripts.Provider(BROKEN) as one, scripts.Provider(OK) as two:
        config = bundles.config(at(one, retry=TWICE), at(two, name="spare", priority=1))
        async with gateway(tmp_path, config) as found:
            answer = await found.chat()
    assert answer.status_code == 200
    assert answer.headers["x-runestone-provider"] == "shop/pool/spare"
    assert answer.headers["x-runestone-attempts"] == "3"


async def test_the_last_word_says_whether_there_were_others(tmp_path: Path) -> None:
    async with scripts.Provider(BROKEN) as one:
        async with gateway(tmp_path / "alone", bundles.config(at(one, retry=TWICE))) as found:
            alone = await found.chat()
        config = bundles.config(at(one), at(one, name="spare", priority=1))
        async with gateway(tmp_path / "both", config) as found:
            both = await found.chat()
    assert alone.json()["error"]["message"] == "The provider answered with status 500."
    assert both.json()["error"]["message"].endswith("No other provider could answer either.")
    assert "secret detail" not in alone.text + both.text


async def test_a_full_pool_of_connections_is_a_503(tmp_path: Path) -> None:
    async with scripts.Provider([scripts.hang()]) as one:
        provider = at(one, timeouts=Timeouts(connect_ms=100)).model_copy(
            update={"connections": Connections(max=1)}
        )
        config = bundles.config(pools=(Pool(id="shop/pool", providers=(provider,)),))
        async with gateway(tmp_path, config) as found:
            first = asyncio.create_task(found.chat())
            await one.requested()
            answer = await found.chat()
            first.cancel()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_provider_available"
    assert answer.headers["retry-after"] == "1"


async def test_a_stream_that_ends_before_it_began_goes_to_the_next_provider(
    tmp_path: Path,
) -> None:
    empty = head(content_type=SSE) + scripts.LAST_CHUNK
    async with scripts.Provider(empty) as one, scripts.Provider(STREAM) as two:
        config = bundles.config(at(one), at(two, name="spare", priority=1))
        async with gateway(tmp_path, config) as found:
            answer = await found.chat(stream=True)
    assert answer.headers["x-runestone-provider"] == "shop/pool/spare"


async def test_a_401_on_the_first_credential_falls_to_the_next(tmp_path: Path) -> None:
    def judge(request: scripts.Request) -> bytes:
        good = request.header("authorization") == "Bearer sk-new"
        return OK if good else json_reply({"error": {"message": "no"}}, status=401)

    async with scripts.Provider(judge) as one:
        config = bundles.config(at(one, credentials=("cred-a", "cred-b")))
        credentials = {"cred-a": "sk-old", "cred-b": "sk-new"}
        async with gateway(tmp_path, config, credentials) as found:
            answer = await found.chat()
    assert answer.status_code == 200
    assert len(one.requests) == 2


async def test_C5_a_short_retry_after_is_waited_for(tmp_path: Path) -> None:
    limited = json_reply({"error": {}}, status=429, headers=[("retry-after-ms", "10")])
    async with scripts.Provider(OK) as one:
        one.queue(limited)
        async with gateway(tmp_path, bundles.config(at(one, retry=TWICE))) as found:
            answer = await found.chat()
    assert answer.status_code == 200


async def test_C8_a_long_retry_after_is_not_waited_for_and_told_capped(tmp_path: Path) -> None:
    limited = json_reply({"error": {}}, status=429, headers=[("retry-after", "86400")])
    async with scripts.Provider(limited) as one:
        async with gateway(tmp_path, bundles.config(at(one, retry=TWICE))) as found:
            async with asyncio.timeout(30):
                answer = await found.chat()
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "120"
    assert len(one.requests) == 1


CUTS = [
    pytest.param([scripts.reset()], "lost_mid_body", id="C14-reset"),
    pytest.param([scripts.LAST_CHUNK], "bad_reply", id="C15-clean-end"),
    pytest.param([scripts.close()], "lost_mid_body", id="closed-without-the-last-chunk"),
    pytest.param([scripts.hang()], "idle_timeout", id="C13-hang"),
    pytest.param([chunk(b'data: {"cho'), scripts.close()], "lost_mid_body", id="C16-cut-in-json"),
    pytest.param(
        [chunk(b"data: \xe2\x82"), scripts.reset()], "lost_mid_body", id="C16-cut-in-utf8"
    ),
]


@pytest.mark.parametrize(("rest", "reason"), CUTS)
async def test_a_stream_that_is_lost_is_never_made_to_look_whole(
    tmp_path: Path, rest: list[Any], reason: str
) -> None:
    script = [head(content_type=SSE) + chunk(event(delta("be"))), *rest]
    async with scripts.Provider(script) as one, scripts.Provider(STREAM) as two:
        config = bundles.config(
            at(one, timeouts=Timeouts(idle_ms=150)), at(two, name="spare", priority=1)
        )
        async with gateway(tmp_path, config) as found:
            received = b""
            with pytest.raises(httpx.RemoteProtocolError):
                async with found.client.stream(
                    "POST", "/chat/completions", json=question(stream=True)
                ) as answer:
                    async for part in answer.aiter_raw():
                        received += part
            interrupted = found.parts.traffic.interrupted
    assert b"[DONE]" not in received
    assert b'finish_reason":"stop' not in received
    last = received.rstrip().rpartition(b"\n")[2]
    assert last.startswith(b'data: {"error":{')
    assert f"upstream_{reason}".encode() in last
    assert two.requests == []
    assert interrupted["shop/pool/main", reason] == 1


async def test_a_rules_timeout_bounds_the_whole(tmp_path: Path) -> None:
    async with scripts.Provider([scripts.hang()]) as one, scripts.Provider(OK) as two:
        rule = Rule(name="all", targets=(Target(pool="shop/pool"),), timeout_ms=150)
        config = bundles.config(
            policy=Policy(id="shop/p", default=True, rules=(rule,)),
            pools=(Pool(id="shop/pool", providers=(at(one), at(two, name="spare", priority=1))),),
        )
        async with gateway(tmp_path, config) as found:
            answer = await found.chat()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert two.requests == []


async def test_G9_nothing_of_the_clients_headers_reaches_the_provider(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one, gateway(tmp_path, bundles.config(at(one))) as found:
        await found.client.post(
            "/chat/completions",
            json=question(),
            headers={
                "x-forwarded-for": "1.2.3.4",
                "openai-organization": "org-x",
                "connection": "x-internal",
                "x-internal": "1",
                "cookie": "a=b",
            },
        )
    request = one.requests[0]
    assert request.header("authorization") == f"Bearer {bundles.PROVIDER_KEY}"
    assert {name.lower() for name, _ in request.headers} == {
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    }


async def test_A7_the_model_authorized_is_the_model_sent(tmp_path: Path) -> None:
    body = b'{"model":"forbidden","model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}'
    async with scripts.Provider(OK) as one:
        config = bundles.config(
            at(one, models=("gpt-4o-mini", "forbidden")),
            keys=(bundles.key(allowed_models=["gpt-4o-mini"]),),
        )
        async with gateway(tmp_path, config) as found:
            answer = await found.client.post(
                "/chat/completions", content=body, headers={"content-type": "application/json"}
            )
    assert answer.status_code == 200
    assert one.requests[0].body.count(b'"model"') == 1
    assert one.requests[0].json()["model"] == "gpt-4o-mini"


async def test_pings_fill_silences_between_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respond, "PING_AFTER_S", 0.05)
    inside = chunk(b'data: {"choices":[{"index":0,"delta"')
    rest = chunk(b':{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    script: list[Any] = [
        head(content_type=SSE) + chunk(event(delta("be"))),
        scripts.pause(0.2),
        inside,
        scripts.pause(0.2),
        rest + scripts.LAST_CHUNK,
    ]
    async with scripts.Provider(script) as one:
        async with gateway(tmp_path, bundles.config(at(one))) as found:
            answer = await found.chat(stream=True)
    assert answer.text.count(": ping\n\n") >= 2
    assert answer.text.replace(": ping\n\n", "").endswith("data: [DONE]\n\n")
    assert '"delta":{"content"' in answer.text, "a ping cut an event in two"
