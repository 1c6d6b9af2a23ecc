"""A job within its key's limits: who waits for these hears when it has ended."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from runestone_contract.config import Limits
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.local_limits import LocalLimiter
from runestone_sidecar.admit.route import Router
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.config.holder import Holder
from runestone_sidecar.edge.generate import SURFACES
from runestone_sidecar.overflow.admission import HEAVY_BYTES, Admission, Admitted
from runestone_sidecar.overflow.attempt import Tools
from runestone_sidecar.overflow.envelope import Envelope, encode_request
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.presence import Presence
from runestone_sidecar.overflow.principals import Principals
from runestone_sidecar.overflow.webhooks.metrics import WebhookMetrics
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.telemetry.events import Events
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_sidecar.upstream.pool import Client
from runestone_testing import bundles
from runestone_testing.job_store import OWNER, job_record, job_store
from runestone_testing.routing import CREDENTIALS

if TYPE_CHECKING:
    from runestone_sidecar.admit.limits import Reservation


def request(text: str) -> bytes:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    path = "/v1/chat/completions"
    return encode_request(
        Envelope("shop/app", "team", path, "req_1", (), json.dumps(body).encode())
    )


@pytest.mark.parametrize("size", [5, HEAVY_BYTES], ids=["small", "heavy"])
async def test_the_end_of_a_job_is_news_to_its_keys_waiters(size: int) -> None:
    ended: list[str] = []

    class Watched:
        """What the room of those who wait makes of a reservation: here it notes the end."""

        def __init__(self, reservation: Reservation, key: str) -> None:
            self._reservation, self._key = reservation, key
            self.lines = reservation.lines

        def commit(self, *, tokens: int, cost_picodollars: int) -> None:
            self._reservation.commit(tokens=tokens, cost_picodollars=cost_picodollars)
            ended.append(self._key)

        def refund(self) -> None:
            self._reservation.refund()
            ended.append(self._key)

    holder, rng = Holder(Metrics()), random.Random(1)
    limited = bundles.key(limits=Limits(concurrent_requests=1))
    config = bundles.config(bundles.provider("http://127.0.0.1:9/v1"), keys=(limited,))
    holder.current = bundles.snapshot(config, CREDENTIALS)
    tools = Tools(
        executor=Executor(Client(), LoadStore(), Metrics().traffic, rng=rng),
        metrics=OverflowMetrics(CollectorRegistry()),
        close=lambda _: None,
        events=Events(),
        rng=rng,
        outbox=Outbox(WebhookMetrics(CollectorRegistry())),
        presence=Presence(Streams(Link(())), holder, 3),
        took=lambda _: None,
    )
    router = Router(load=LoadStore(), random=rng)
    principals = Principals(holder)
    admission = Admission(holder, router, LocalLimiter(), SURFACES, tools, principals, Watched)
    async with job_store() as store:
        job = job_record()
        await store.create(OWNER, job)
        await store.enqueue(OWNER, job, store.seal_request(job.id, request("x" * size)))
        consumer = await store.ensure_consumer(OWNER)
        delivery = await store.streams.next(store.names.queue, consumer)
        assert delivery is not None
        admitted = await admission.admit(store, OWNER, delivery)
        assert isinstance(admitted, Admitted)
        reservation = admitted.attempt.record.reservation
        assert reservation is not None
        assert ended == []
        reservation.refund()
        assert ended == ["shop/app"]
