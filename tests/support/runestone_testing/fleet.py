"""Several real sidecars of one namespace, joined by a real nats-server, before one provider."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import nats

from runestone_contract.names import limits_bucket
from runestone_sidecar.admit.members import ALIVE
from runestone_sidecar.admit.record import decode
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import CHAT, question
from runestone_testing.nats import NatsServer, nats_server
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from runestone_contract.config import Key, Limits

DEADLINE_S = 60
LEASE_S = 3
INPUT_TOKENS, OUTPUT_TOKENS = 25, 10  # of each answer: a little less than is thought
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    },
}


def secret_of(name: str) -> str:
    return f"sk-rs-{name}-{bundles.CLIENT_KEY[-30:]}"


def keys(**limits: Limits) -> tuple[Key, ...]:
    return tuple(
        bundles.key(name, secret=secret_of(name), limits=each.model_dump())
        for name, each in limits.items()
    )


@dataclass
class Fleet:
    root: Path
    provider: scripts.Provider
    nats: NatsServer
    sidecars: list[Sidecar]
    client: httpx.AsyncClient
    stack: AsyncExitStack
    lasts_s: float = 0.0  # each answer
    arrived: dict[str, list[float]] = field(default_factory=dict)  # at the provider, by key
    running: Counter[str] = field(default_factory=Counter)
    most_running: Counter[str] = field(default_factory=Counter)
    held: asyncio.Event = field(default_factory=asyncio.Event)  # set: those that hang go on

    async def start(self, **env: str) -> Sidecar:
        settings = {"NATS_URL": self.nats.url, "RUNESTONE_LEASE_SECONDS": str(LEASE_S)} | env
        sidecar = await asyncio.to_thread(
            self.stack.enter_context, running_sidecar(self.root, self.root, **settings)
        )
        self.sidecars.append(sidecar)
        return sidecar

    async def ask(self, sidecar: Sidecar, key: str, **fields: object) -> httpx.Response:
        return await self.client.post(
            f"{sidecar.base_url}{CHAT}",
            json=question(user=key, max_tokens=OUTPUT_TOKENS, **fields),
            headers={"authorization": f"Bearer {secret_of(key)}"},
        )

    def answer(self, request: scripts.Request) -> scripts.Script:
        key = request.json()["user"]
        self.arrived.setdefault(key, []).append(time.monotonic())
        self.running[key] += 1
        self.most_running[key] = max(self.most_running[key], self.running[key])

        async def finish(_: object) -> None:
            if request.json().get("seed"):  # one that hangs
                await self.held.wait()
            await asyncio.sleep(self.lasts_s)
            self.running[key] -= 1

        return [finish, scripts.json_reply(ANSWER)]

    async def until_shared(self) -> None:
        for sidecar in self.sidecars:
            await self.until_metric(sidecar, "runestone_limits_shared", 1)

    async def until_heard(self, key: str, limit: int, *, used: int) -> None:
        """All know what the ledger says of a key with a limit on requests, of which all have used
        so many: each counts what it has used, and what the others hold."""
        count = len(self.sidecars)

        async def remaining(sidecar: Sidecar) -> int:
            answer = await self.client.get(
                f"{sidecar.base_url}/usage", headers={"authorization": f"Bearer {secret_of(key)}"}
            )
            return int(answer.json()["limits"][0]["remaining"])

        async with asyncio.timeout(DEADLINE_S):
            while True:
                left = [await remaining(sidecar) for sidecar in self.sidecars]
                if sum(left) == count * limit - used - (count - 1) * await self._held():
                    return
                await asyncio.sleep(0.02)

    async def _held(self) -> int:
        """By all together, of the first limit on requests of the only key."""
        client = await nats.connect(self.nats.url)
        try:
            bucket = await client.jetstream().key_value(limits_bucket("shop"))
            for name in await bucket.keys():
                if not name.startswith(ALIVE):
                    found = decode((await bucket.get(name)).value or b"")
                    return sum(each.held[0] for each in found.holders.values())
        finally:
            await client.close()
        return 0

    async def until_metric(self, sidecar: Sidecar, name: str, value: float) -> None:
        await until(lambda: sidecar.metric(name) == value)

    def most(self, key: str, length_s: float) -> int:
        """That came to the provider in any stretch of time so long."""
        times = sorted(self.arrived.get(key, ()))
        return max(
            (sum(first <= at <= first + length_s for at in times) for first in times), default=0
        )


async def until(happened: Callable[[], bool], *, within_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(happened):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def fleet(
    root: Path, count: int, served: Sequence[Key], *, with_nats: bool = True, **env: str
) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(scripts.Provider())
        server = stack.enter_context(nats_server(started=False))
        if with_nats:
            await asyncio.to_thread(server.start)
        bundles.publish(
            root, bundles.config(bundles.provider(f"{provider.url}/v1"), keys=tuple(served))
        )
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                trust_env=False,
                verify=False,
                timeout=DEADLINE_S,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
            )
        )
        made = Fleet(root, provider, server, [], client, stack)
        provider.answer = made.answer
        await asyncio.gather(*(made.start(**env) for _ in range(count)))
        if with_nats:
            await made.until_shared()
        yield made
