"""Same dialect in and out: what the client wrote is what the provider reads, but for the model."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runestone_contract.config import Pool
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import CHAT, Gateway, gateway, question

JSON = {"content-type": "application/json"}
REPLY = b'{ "choices":[{"index":0,"message":{"content":"\xc3\xa9"}}],"id":1e2 ,"usage":null}'


@dataclass
class Both:
    gateway: Gateway
    provider: scripts.Provider

    async def post(self, body: bytes) -> httpx.Response:
        return await self.gateway.client.post(CHAT, content=body, headers=JSON)


@pytest_asyncio.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    reply = scripts.reply(REPLY, content_type="application/json")
    async with scripts.Provider(reply) as one:
        provider = bundles.provider(f"{one.url}/v1").model_copy(
            update={"models": (bundles.model("gpt-4o-mini", upstream='their "name"'),)}
        )
        config = bundles.config(pools=(Pool(id="shop/pool", providers=(provider,)),))
        async with gateway(tmp_path, config) as found:
            yield Both(found, one)


async def test_bytes_are_those_of_the_client_and_of_the_provider(both: Both) -> None:
    body = (
        b'{"seed": 123456789012345678901234567890,\n "model" : "gpt-4o-mini",'
        b'"temperature":1.10,"messages":[{"role":"user","content":"\xc3\xa9 \\"model\\": 1"}] }'
    )
    answer = await both.post(body)
    assert answer.content == REPLY
    sent = both.provider.requests[0].body
    assert sent == body.replace(b'"gpt-4o-mini"', b'"their \\"name\\""')


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"a","model":"gpt-4o-mini"', id="A7-twice"),
        pytest.param(b'{"mod\\u0065l":"a","model":"gpt-4o-mini"', id="A7-spelled-differently"),
        pytest.param(b'{"model":"a","mod\\u0065l":"gpt-4o-mini"', id="A7-spelled-after"),
        pytest.param(b'{"x":{"model":"a"},"model":"gpt-4o-mini"', id="inside-another-object"),
        pytest.param(b'{"x":"model","model":"gpt-4o-mini"', id="as-a-value"),
    ],
)
async def test_the_model_that_was_authorized_is_the_only_one_sent(both: Both, body: bytes) -> None:
    await both.post(body + b',"messages":[{"role":"user","content":"x"}]}')
    request = both.provider.requests[0]
    assert request.json()["model"] == 'their "name"'
    keys: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys[:] = [key for key, _ in pairs]  # the outermost object comes last
        return dict(pairs)

    json.loads(request.body, object_pairs_hook=collect)
    assert keys.count("model") == 1


async def test_an_error_inside_a_stream_is_told_once(tmp_path: Path) -> None:
    error = {"error": {"message": "overloaded", "type": "server_error"}}
    first = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
    script: scripts.Script = [
        scripts.head(content_type=scripts.SSE) + scripts.chunk(scripts.event(first)),
        scripts.pause(0.05),
        scripts.chunk(scripts.event(error)) + scripts.LAST_CHUNK,
    ]
    async with scripts.Provider(script) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config) as found:
            received = b""
            with pytest.raises(httpx.RemoteProtocolError):
                async with found.client.stream("POST", CHAT, json=question(stream=True)) as answer:
                    async for part in answer.aiter_raw():
                        received += part
            interrupted = found.parts.traffic.interrupted
    assert received.count(b'"error"') == 1
    assert b"overloaded" in received
    assert interrupted["shop/pool/main", "provider_error"] == 1
