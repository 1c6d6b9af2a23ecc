"""The webhook's server over TLS: what it answers whatever it is sent, and how it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_operator.admission.review import Answer, Request
from runestone_operator.admission.server import BODY_LIMIT_BYTES, AdmissionServer
from runestone_operator.certificate.pair import make_pair, now_utc
from runestone_operator.certificate.serving import Serving
from runestone_operator.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAIR = make_pair(["127.0.0.1"], now=now_utc(), life_s=3600)
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "request": {"uid": "u-1", "operation": "CREATE", "kind": {"kind": "Pod"}, "object": {}},
}


@dataclass
class Running:
    server: AdmissionServer
    client: httpx.AsyncClient
    metrics: Metrics
    port: int
    fails: bool = False

    def counted(self, webhook: str, outcome: str) -> float | None:
        labels = {"webhook": webhook, "outcome": outcome}
        name = "runestone_operator_admissions_total"
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    metrics, serving = Metrics(), Serving()
    serving.load(PAIR.cert, PAIR.key)

    async def answer(request: Request) -> Answer:
        if made.fails:
            raise KeyError(request.uid)
        return Answer("unchanged")

    server = AdmissionServer(mutate=answer, validate=answer, metrics=metrics)
    tls = ssl.create_default_context(cadata=PAIR.ca.decode())
    async with (
        server.serve("127.0.0.1", 0, serving.context) as port,
        httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=tls, trust_env=False, timeout=30
        ) as client,
    ):
        made = Running(server, client, metrics, port)
        yield made


@pytest.mark.parametrize(
    ("path", "webhook"), [("/mutate-pods", "mutate-pods"), ("/validate", "validate")]
)
async def test_a_review_is_answered_by_its_uid(running: Running, path: str, webhook: str) -> None:
    answer = await running.client.post(path, params={"timeout": "5s"}, json=REVIEW)
    assert answer.status_code == 200
    assert answer.json()["response"] == {"uid": "u-1", "allowed": True}
    assert running.counted(webhook, "unchanged") == 1


async def test_our_own_failure_stops_nobody_and_tells_nothing(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.fails = True
    answer = await running.client.post("/mutate-pods", json=REVIEW)
    assert answer.status_code == 200
    assert answer.json()["response"] == {
        "uid": "u-1",
        "allowed": True,
        "warnings": ["runestone: internal error, let through as it is"],
    }
    assert running.counted("mutate-pods", "error") == 1
    assert "admission failed" in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{", 400, id="no JSON"),
        pytest.param(b"[" * 100_000, 400, id="nesting"),
        pytest.param(b" " * (BODY_LIMIT_BYTES + 1), 413, id="too large"),
    ],
)
async def test_what_is_no_review_is_refused(running: Running, body: bytes, status: int) -> None:
    assert (await running.client.post("/mutate-pods", content=body)).status_code == status
    assert (await running.client.post("/mutate-pods", json=REVIEW)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/mutate-pods/../healthz"])
async def test_there_is_nothing_else(running: Running, path: str) -> None:
    assert (await running.client.get(path)).status_code in {404, 405}


async def test_clients_that_hang_hold_up_nobody(running: Running) -> None:
    hanging = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(50)]
    answer = await running.client.post("/mutate-pods", json=REVIEW)
    assert answer.status_code == 200
    for _, writer in hanging:
        writer.close()


async def test_who_leaves_answers_and_keeps_no_connection(running: Running) -> None:
    kept = await running.client.post("/mutate-pods", json=REVIEW)
    assert "connection" not in kept.headers
    running.server.leave()
    last = await running.client.post("/mutate-pods", json=REVIEW)
    assert last.status_code == 200
    assert last.headers["connection"] == "close"


async def test_what_is_being_answered_is_answered_before_the_end() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Answer:
        began.set()
        await go_on.wait()
        return Answer("unchanged")

    serving = Serving()
    serving.load(PAIR.cert, PAIR.key)
    server = AdmissionServer(mutate=slow, validate=slow, metrics=Metrics())
    tls = ssl.create_default_context(cadata=PAIR.ca.decode())
    stack = contextlib.AsyncExitStack()
    async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=30) as client:
        port = await stack.enter_async_context(server.serve("127.0.0.1", 0, serving.context))
        asked = asyncio.create_task(
            client.post(f"https://127.0.0.1:{port}/validate", content=json.dumps(REVIEW))
        )
        await began.wait()
        closing = asyncio.create_task(stack.aclose())
        await asyncio.sleep(0)
        go_on.set()
        assert (await asked).status_code == 200
        await closing
