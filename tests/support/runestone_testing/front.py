"""The gateway before two scripted providers, for requests that are handed on as they are."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import openai

from runestone_contract.config import Config, Policy, Rule, Target
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import Gateway, gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    import httpx
    import pytest

FILE = {"id": "file-1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.jsonl"}
FILE |= {"purpose": "batch", "status": "processed"}
BATCH = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1}
BATCH |= {"input_file_id": "file-1", "completion_window": "24h", "status": "validating"}
JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1, "model": "gpt-4o-mini"}
MODERATION = {"id": "modr-1", "model": "omni", "results": []}
TRANSCRIPT = {
    "text": 'he said "usage":{"input_tokens":999}',
    "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59},
}
IMAGES = {"created": 1, "data": [{"b64_json": "aGk="}]}
IMAGES |= {"usage": {"input_tokens": 50, "output_tokens": 60, "input_tokens_details": {}}}
BOUNDARY = "xyz"


@dataclass
class Front:
    """The gateway before two scripted providers; the first is where requests without a model go."""

    gateway: Gateway
    first: scripts.Provider
    second: scripts.Provider

    @property
    def client(self) -> httpx.AsyncClient:
        return self.gateway.client

    @property
    def requests(self) -> list[scripts.Request]:
        return self.first.requests

    def sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{self.gateway.port}/v1",
            api_key=bundles.CLIENT_KEY,
            max_retries=0,
            http_client=httpx2.AsyncClient(trust_env=False, verify=False),
            organization="org-of-the-client",
        )

    def lines(self, capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        self.gateway.parts.lines.flush()
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def config(first: str, second: str, key: Mapping[str, object]) -> Config:
    """`hear` is listed by the first alone, `paint` (as `paint-v2`) and `hear-2` by the second."""
    one = bundles.provider(f"{first}/v1", name="one", models=("hear", "speak"))
    two = bundles.provider(f"{second}/v1", name="two", models=("hear-2",), priority=1)
    two = two.model_copy(
        update={"models": (*two.models, bundles.model("paint", upstream="paint-v2"))}
    )
    rule = Rule(name="all", targets=(Target(pool="shop/pool"),))
    return bundles.config(
        one,
        two,
        keys=(bundles.key(fields=key),),
        policy=Policy(id="shop/-", default=True, rules=(rule,), aliases={"art": "paint"}),
    )


@asynccontextmanager
async def front(root: Path, key: Mapping[str, object] | None = None) -> AsyncIterator[Front]:
    async with scripts.Provider(scripts.json_reply({})) as first:
        async with scripts.Provider(scripts.json_reply({})) as second:
            async with gateway(root, config(first.url, second.url, key or {})) as served:
                yield Front(served, first, second)


def form(*parts: tuple[str, bytes], file_name: str | None = "a.wav") -> bytes:
    """A body whose part `file` has a file's name."""
    body = b""
    for name, value in parts:
        named = f'; filename="{file_name}"' if name == "file" else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}'.encode()
        body += b"\r\n\r\n" + value + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def refused(answer: httpx.Response, status: int, code: str | None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    return error
