"""A scripted set of requests to a real sidecar, one for each thing that may become of one.

Each is known by its request id, so that what the sidecar tells of it can be looked up by name.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from runestone_contract.config import CircuitBreaker, Limits
from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import CHAT, question
from runestone_testing.provider import SSE, chunk, event, head, json_reply, sse_reply
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_contract.config import Config

PATIENCE_S: Final = 30.0
UNKNOWN_KEY: Final = "sk-rs-nobody-0123456789abcdefghijklmnopqrstuvw"
SMALL_KEY: Final = "sk-rs-small-0123456789abcdefghijklmnopqrstuvwxy"
DISABLED_KEY: Final = "sk-rs-disabled-0123456789abcdefghijklmnopqrstu"
RESTRICTED_KEY: Final = "sk-rs-restricted-0123456789abcdefghijklmnopqrs"
REFUSAL: Final = {"error": {"message": "no", "type": "invalid_request_error", "code": "bad"}}
PIECE: Final = {"choices": [{"index": 0, "delta": {"content": canaries.ANSWER}}]}
END: Final = {
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}
FINE: Final = json_reply(completion(canaries.ANSWER))
STREAM: Final = sse_reply([PIECE, PIECE, END, "[DONE]"])
CUT: Final[scripts.Script] = [head(content_type=SSE), chunk(event(PIECE)), scripts.reset()]


@dataclass
class Told:
    """What was told of it all."""

    digest: str
    statuses: dict[str, int]
    events: dict[str, float]  # runestone_events_total, before the sidecar was stopped
    outputs: dict[str, str]  # the sidecar's log, its metrics, its audit records

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.outputs["audit"].splitlines()]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record.get("request_id") == request_id]


def config(steady: str, frail: str) -> Config:
    limits = Limits(requests_per_minute=1000).model_dump()
    breakers = {
        "steady": CircuitBreaker(failure_threshold=1000),
        "frail": CircuitBreaker(failure_threshold=1, open_for_ms=100),
    }
    providers = [
        bundles.provider(f"{steady}/v1", name="steady"),
        bundles.provider(f"{frail}/v1", name="frail", models=("gpt-4o",), priority=1),
    ]
    return bundles.config(
        *(each.model_copy(update={"circuit_breaker": breakers[each.name]}) for each in providers),
        keys=(
            bundles.key(limits=limits),
            bundles.key(
                "small", secret=SMALL_KEY, limits=Limits(requests_per_minute=1).model_dump()
            ),
            bundles.key("disabled", secret=DISABLED_KEY, enabled=False),
            bundles.key("restricted", secret=RESTRICTED_KEY, allowed_models=("gpt-4o*",)),
        ),
    )


class Story:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.statuses: dict[str, int] = {}

    async def send(
        self, name: str, method: str, path: str, key: str | None = bundles.CLIENT_KEY, **more: Any
    ) -> None:
        headers = {"x-request-id": name} | ({"authorization": f"Bearer {key}"} if key else {})
        headers |= more.pop("headers", {})
        try:
            answer = await self.client.request(method, path, headers=headers, **more)
            self.statuses[name] = answer.status_code
        except httpx.RemoteProtocolError:  # its stream was cut
            self.statuses[name] = 0

    async def chat(self, name: str, key: str | None = bundles.CLIENT_KEY, **fields: Any) -> None:
        said = [{"role": "user", "content": canaries.PROMPT}]
        await self.send(name, "POST", CHAT, key, json=question(messages=said, **fields))

    async def leave(self, name: str, provider: scripts.Provider) -> None:
        """While the provider thinks."""
        called = len(provider.requests)
        asking = asyncio.create_task(self.chat(name))
        await provider.requested(called + 1, within_s=PATIENCE_S)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def play(story: Story, steady: scripts.Provider) -> None:
    steady.queue(FINE, STREAM)
    await story.chat("whole")
    await story.chat("stream", stream=True)
    await story.chat("unknown-key", UNKNOWN_KEY)
    await story.chat("disabled-key", DISABLED_KEY)
    await story.chat("no-key", None)
    await story.chat("no-model", model="gpt-9")
    await story.send("forbidden", "GET", "/files", RESTRICTED_KEY)
    await story.send("wrong-method", "GET", CHAT)
    await story.send("nowhere", "GET", "/nowhere")
    await story.send("models", "GET", "/models")
    as_json = {"content-type": "application/json"}
    await story.send("no-json", "POST", CHAT, content=canaries.PROMPT, headers=as_json)
    steady.queue(FINE)
    await story.chat("last-allowed", SMALL_KEY)
    await story.chat("over-limit", SMALL_KEY)
    steady.queue(json_reply(REFUSAL, status=400), json_reply({}, status=500), CUT)
    await story.chat("refused")
    await story.chat("failed")
    await story.chat("cut", stream=True)
    steady.queue([scripts.hang()])
    await story.leave("gone", steady)
    steady.queue(json_reply({"id": "file-1", "object": "file"}))
    file = {"file": ("notes.jsonl", canaries.PROMPT.encode()), "purpose": (None, "batch")}
    await story.send("upload", "POST", "/files", files=file)


async def play_outage(story: Story, sidecar: Sidecar, frail: scripts.Provider) -> None:
    frail.queue(json_reply({}, status=500), FINE)
    await story.chat("opens", model="gpt-4o")
    await eventually(lambda: "half_open" in breakers(sidecar))
    await story.chat("closes", model="gpt-4o")


async def told_by(root: Path, **env: str) -> Told:
    """Plays it all; what the sidecar said is complete, since it was drained."""
    async with AsyncExitStack() as stack:
        steady = await stack.enter_async_context(scripts.Provider())
        frail = await stack.enter_async_context(scripts.Provider())
        digest = bundles.publish(root, config(steady.url, frail.url))
        started = running_sidecar(root, root, **env)
        sidecar = await asyncio.to_thread(started.__enter__)
        stack.push_async_callback(asyncio.to_thread, started.__exit__, None, None, None)
        client = httpx.AsyncClient(
            base_url=sidecar.base_url, trust_env=False, verify=False, timeout=PATIENCE_S
        )
        story = Story(await stack.enter_async_context(client))
        await play(story, steady)
        await play_outage(story, sidecar, frail)
        bundles.swap(root / "config", {"index.json": b"{}"})
        await eventually(lambda: sidecar.metric("runestone_config_stale") == 1)
        await eventually(lambda: sidecar.metric("runestone_requests_in_flight") == 0)
        metrics = (await asyncio.to_thread(sidecar.get, "/metrics"))[1]
        assert await asyncio.to_thread(sidecar.stop, within_s=PATIENCE_S) == 0
    outputs = {"log": sidecar.log.read_text(), "metrics": metrics}
    return Told(digest, story.statuses, events_in(metrics), outputs)


async def eventually(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(happened):
            await asyncio.sleep(0.02)


def breakers(sidecar: Sidecar) -> set[str]:
    return {each["breaker"] for each in sidecar.get("/health/providers")[1]["providers"]}


def events_in(metrics: str) -> dict[str, float]:
    return {
        sample.labels["type"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "runestone_events_total"
    }
