"""Deliveries out of a real queue to real receivers: who waits for whom, and until when."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from runestone_contract.config import KeyOverflow, Webhooks
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.overflow.principals import Principals
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.webhooks.courier import Courier, Pacing
from runestone_sidecar.overflow.webhooks.deliver import Delivering
from runestone_sidecar.overflow.webhooks.event import KIND, Webhook
from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.overflow.webhooks.metrics import Outcome, WebhookMetrics
from runestone_sidecar.overflow.webhooks.post import Poster
from runestone_sidecar.overflow.webhooks.resolve import Resolver
from runestone_sidecar.overflow.webhooks.rules import Rules
from runestone_sidecar.settings import read_settings
from runestone_sidecar.telemetry.events import Events, EventType
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.tunnel import ProxySettings
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.job_stand import HOOK_ENTRY, HOOK_SECRET
from runestone_testing.job_store import job_store
from runestone_testing.job_webhooks import TAKEN, verified
from runestone_testing.provider import Provider, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from runestone_sidecar.config.snapshot import Snapshot
    from runestone_sidecar.overflow.store import Store

DEADLINE_S = 30
QUICK = Pacing(first_s=0.02, longest_s=0.1)
SOON = Pacing(first_s=0.02, longest_s=0.1, span_s=60)


def snapshot(*, secret: str = HOOK_SECRET, **urls: str) -> Snapshot:
    """Keys by name, each with where it may have webhooks."""
    keys = tuple(
        bundles.key(
            name,
            secret=f"sk-{name}",
            overflow=KeyOverflow(webhooks=Webhooks(allowed_urls=(f"{url}/*",), secret=HOOK_ENTRY)),
        )
        for name, url in urls.items()
    )
    return bundles.snapshot(bundles.config(keys=keys), Credentials("", {HOOK_ENTRY: secret}))


class Office:
    """A courier before a queue of its own."""

    def __init__(self, store: Store, courier: Courier, holder: Holder) -> None:
        self.store = store
        self.courier = courier
        self.holder = holder

    async def put(self, url: str, key: str = "app", *, age_s: float = 0.0, id_: str = "1") -> None:
        ended_ms = int((time.time() - age_s) * 1000)
        webhook = Webhook(f"msg_{id_}", f"shop/{key}", "job_1", "req_1", url, ended_ms, b"{}")
        sealed = self.store.sealer.seal(KIND, webhook.id, webhook.encode())
        await self.put_sealed(key, webhook.id, sealed)

    async def put_sealed(self, key: str, id_: str, sealed: bytes) -> None:
        await self.store.put_webhook(self.store.owner_of(f"shop/{key}"), id_, sealed)
        await self.store.streams.tell(self.store.names.webhook_wake)

    async def waiting(self) -> int:
        return int((await self.store.webhooks_waiting())["messages"])

    async def is_empty(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await self.waiting():
                await asyncio.sleep(0.01)

    def count(self, outcome: Outcome) -> float:
        value: float = self.courier.metrics.attempts.labels(outcome.value)._value.get()
        return value

    async def counted(self, outcome: Outcome, count: int = 1) -> None:
        await until(lambda: self.count(outcome) >= count)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def office(
    found: Snapshot, *, at_once: int = 4, pacing: Pacing = QUICK
) -> AsyncIterator[Office]:
    allowed = read_settings({"RUNESTONE_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8"}).webhook_allow
    guard = Guard(allowed)
    holder = Holder(Metrics())
    holder.swap(found)
    async with job_store() as store:
        rules = Rules(holder, guard)
        poster = Poster(Dialer(ProxySettings()), guard, Resolver(), total_s=DEADLINE_S)
        courier = Courier(
            space=Space(store.streams, holder, 0, store=store),
            delivering=Delivering(Principals(holder), rules, poster),
            metrics=WebhookMetrics(CollectorRegistry()),
            events=Events(),
            at_once=4,
            rng=random.Random(1),
            pacing=pacing,
        )
        task = asyncio.create_task(courier.run())
        try:
            yield Office(store, courier, holder)
        finally:
            courier.leave()
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1)


async def test_G5_who_hangs_holds_up_no_other_key() -> None:
    async with Provider([scripts.hang()]) as slow, Provider(TAKEN) as quick:
        async with office(snapshot(slow=slow.url, app=quick.url)) as at:
            for number in range(8):
                await at.put(f"{slow.url}/x", "slow", id_=f"slow-{number}")
            await slow.requested()
            await at.put(f"{quick.url}/x")
            verified(await quick.requested(within_s=DEADLINE_S))
            await at.counted(Outcome.DELIVERED)
            assert len(slow.requests) == 1  # a fourth of four places


async def test_what_is_refused_for_a_day_is_given_up() -> None:
    async with Provider(reply(b"", 503)) as receiver:
        async with office(snapshot(app=receiver.url), pacing=SOON) as at:
            await at.put(f"{receiver.url}/x", age_s=61)
            await at.is_empty()
            assert len(receiver.requests) == 1
            assert at.courier.metrics.given_up.labels("late")._value.get() == 1
            assert at.courier.events.counts[EventType.OVERFLOW_WEBHOOK] == 1


async def test_trouble_passes_and_it_is_delivered() -> None:
    async with Provider(TAKEN) as receiver:
        receiver.queue(reply(b"", 503), [scripts.reset()], b"no HTTP\r\n\r\n")
        async with office(snapshot(app=receiver.url)) as at:
            await at.put(f"{receiver.url}/x")
            await at.is_empty()
            assert len({request.header("webhook-id") for request in receiver.requests}) == 1
            assert len(receiver.requests) == 4
            assert (at.count(Outcome.REFUSED), at.count(Outcome.BROKEN)) == (1, 2)
            assert at.count(Outcome.DELIVERED) == 1


async def test_what_the_key_may_no_more_waits_and_is_not_sent() -> None:
    async with Provider(TAKEN) as receiver:
        async with office(snapshot(app="https://other.example")) as at:
            await at.put(f"{receiver.url}/x")
            await at.counted(Outcome.NOT_ALLOWED)
            at.holder.swap(snapshot(other=receiver.url))
            await at.counted(Outcome.UNSIGNED)
            at.holder.swap(snapshot(app=receiver.url, secret="no secret"))
            await at.counted(Outcome.UNSIGNED, 3)
            assert receiver.peers == []
            at.holder.swap(snapshot(app=receiver.url))
            await at.is_empty()
            assert len(receiver.requests) == 1


async def test_what_cannot_be_read_is_dropped_and_counted() -> None:
    async with Provider(TAKEN) as receiver:
        async with office(snapshot(app=receiver.url)) as at:
            await at.put_sealed("app", "msg_0", b"?" * 60)
            await at.put(f"{receiver.url}/x")
            await at.is_empty()
            assert at.courier.metrics.given_up.labels("unreadable")._value.get() == 1
            assert len(receiver.requests) == 1


async def test_a_stopping_courier_gives_back_what_it_holds() -> None:
    async with Provider([scripts.hang()]) as receiver:
        async with office(snapshot(app=receiver.url)) as at:
            await at.put(f"{receiver.url}/x")
            await receiver.requested()
            at.courier.leave()
            await at.courier.finish(0)
            owner = at.store.owner_of("shop/app")
            consumer = await at.store.ensure_webhook_consumer(owner)
            async with asyncio.timeout(DEADLINE_S / 2):  # less than the queue's own patience
                while await at.store.streams.next(at.store.names.webhooks, consumer) is None:
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("age_s", "asked_s", "least_s", "most_s"),
    [
        (0, None, 2.5, 5),
        (40, None, 20, 40),
        (100_000, None, 1800, 3600),
        (0, 60, 60, 60),
        (0, 86_400, 3600, 3600),
        (40, 1, 20, 40),
    ],
)
def test_a_pause_grows_with_the_age(
    age_s: float, asked_s: float | None, least_s: float, most_s: float
) -> None:
    rng = random.Random(1)
    pauses = [Pacing().pause_s(age_s, asked_s, rng) for _ in range(200)]
    assert least_s <= min(pauses) <= max(pauses) <= most_s
    assert len(set(pauses)) > 1 or least_s == most_s
