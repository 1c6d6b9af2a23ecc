"""Real sidecars that share a real nats-server, before one scripted provider: for overflow jobs."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from nats.aio.client import Client

from runestone_contract.config import (
    Config,
    Key,
    KeyOverflow,
    Limits,
    Policy,
    PolicyOverflow,
    Webhooks,
)
from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_testing import bundles, canaries
from runestone_testing.nats import NatsServer, nats_server
from runestone_testing.provider import Answer, Provider, json_reply
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

DEADLINE_S = 45
SILENCE_S = 3
OVERFLOW_KEY = base64.b64encode(bytes(range(32))).decode()
ADMIN_KEY = "sk-rs-admin-0123456789abcdefghijklmnopqrstuvwx"
HOOK_ENTRY = "hook-a"
HOOK_SECRET = canaries.WEBHOOK_SECRET
ASYNC = {"prefer": "respond-async"}
ENDS = ("succeeded", "failed", "cancelled", "expired")
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "the-answer-canary"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def question(text: str = "hello", **fields: object) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **fields}


def key(
    name: str = "app",
    *,
    mode: str = "OnRequest",
    rpm: int | None = None,
    webhooks: Webhooks | None = None,
    **more: Any,
) -> Key:
    return bundles.key(
        name,
        overflow=KeyOverflow(mode=mode, webhooks=webhooks),
        limits=Limits(requests_per_minute=rpm),
        **more,
    )


def admin_key(name: str = "root") -> Key:
    return key(name, secret=ADMIN_KEY, tenant="ops", roles=("Admin",))


@dataclass
class JobStand:
    root: Path
    provider: Provider
    nats: NatsServer
    env: dict[str, str]
    bounds: PolicyOverflow
    stack: ExitStack
    sidecars: list[Sidecar] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def publish(self, *keys: Key) -> str:
        config = self.config(*keys)
        credentials = {"cred-a": bundles.PROVIDER_KEY, OVERFLOW_KEY_ENTRY: OVERFLOW_KEY}
        return bundles.publish(self.root, config, credentials | {HOOK_ENTRY: HOOK_SECRET})

    def config(self, *keys: Key) -> Config:
        made = bundles.config(bundles.provider(f"{self.provider.url}/v1"), keys=keys)
        (policy,) = made.policies
        bounded = Policy.model_validate(policy.model_dump() | {"overflow": self.bounds})
        return made.model_copy(update={"policies": (bounded,)})

    async def start(self, **env: str) -> int:
        """One more sidecar, ready to take and to run jobs; its number."""
        context = running_sidecar(self.root, self.root, **{**self.env, **env})
        sidecar = await asyncio.to_thread(self.stack.enter_context, context)
        self.sidecars.append(sidecar)
        self.clients.append(self.client(len(self.sidecars) - 1))
        return len(self.sidecars) - 1

    def client(self, number: int, secret: str = bundles.CLIENT_KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.sidecars[number].api,
            headers={"authorization": f"Bearer {secret}"},
            trust_env=False,
            timeout=90,
        )

    async def is_open(self, number: int) -> bool:
        answer = await asyncio.to_thread(self.sidecars[number].get, "/health/ready")
        return bool(answer[1]["status"] == "ok")

    async def open(self, number: int = 0) -> None:
        await until(lambda: self.is_open(number))

    async def submit(self, number: int = 0, text: str = "hello", **headers: str) -> httpx.Response:
        return await self.clients[number].post(
            "/v1/chat/completions", json=question(text), headers={**ASYNC, **headers}
        )

    async def taken(self, text: str) -> str:
        """The id of a job that is sent until one sidecar or another acknowledges it."""
        found = ""

        async def is_taken() -> bool:
            nonlocal found
            for number in range(len(self.sidecars)):
                answer = await self.submit(number, text, **{"idempotency-key": text})
                if answer.status_code == 202:
                    found = answer.json()["id"]
                    return True
            return False

        await until(is_taken)
        return found

    async def job(self, job_id: str, number: int = 0) -> dict[str, Any]:
        answer = await self.clients[number].get(f"/v1/jobs/{job_id}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def ended(self, job_id: str, number: int = 0) -> dict[str, Any]:
        """The job once it has."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            nonlocal found
            answer = await self.clients[number].get(f"/v1/jobs/{job_id}?wait=10")
            found = answer.json()
            return answer.status_code == 200 and found["status"] in ENDS

        await until(has_ended)
        return found

    async def told(self, event: str, number: int = 0) -> float:
        """How often this sidecar has said so."""
        sidecar = self.sidecars[number]
        count = await asyncio.to_thread(sidecar.metric, "runestone_events_total", type=event)
        assert count is not None
        return count

    async def waiting(self) -> int:
        """Messages in the queue, as NATS has it."""
        return int((await self._stream("jobs"))["messages"])

    async def kept(self, what: str) -> int:
        """How many of the namespace's record, part or request are there."""
        return int((await self._stream("job-records", f"runestone.shop.jobs.{what}.>"))["messages"])

    async def _stream(self, name: str, subjects: str = ">") -> dict[str, Any]:
        """Its state, of these subjects alone."""
        client = Client()
        await client.connect(self.nats.url)
        try:
            asked = f"$JS.API.STREAM.INFO.runestone-{name}-v1-shop"
            body = json.dumps({"subjects_filter": subjects}).encode()
            state = json.loads((await client.request(asked, body)).data)["state"]
        finally:
            await client.close()
        return {"messages": sum((state.get("subjects") or {}).values())}

    async def queued(self, number: int = 0) -> float | None:
        sidecar = self.sidecars[number]
        return await asyncio.to_thread(sidecar.metric, "runestone_jobs_queued")


async def until(happened: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await happened():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def job_stand(
    *keys: Key,
    answer: Answer | None = None,
    sidecars: int = 1,
    bounds: PolicyOverflow | None = None,
    nats_options: tuple[str, ...] = (),
    durable: bool = True,
    **env: str,
) -> AsyncIterator[JobStand]:
    async with AsyncExitStack() as outer:
        stack = outer.enter_context(ExitStack())
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats = stack.enter_context(nats_server(*nats_options, durable=durable))
        provider = await outer.enter_async_context(
            Provider(json_reply(ANSWER) if answer is None else answer)
        )
        settings = {
            "NATS_URL": nats.url,
            "RUNESTONE_JOBS_SILENCE_SECONDS": str(SILENCE_S),
            "RUNESTONE_DRAIN_SECONDS": "5",
        }
        running = stack.enter_context(ExitStack())
        found = JobStand(root, provider, nats, settings | env, bounds or PolicyOverflow(), running)
        found.publish(*(keys or (key(),)))
        try:
            for _ in range(sidecars):
                await found.open(await found.start())
            yield found
        finally:
            for client in found.clients:
                await client.aclose()
            running.close()
