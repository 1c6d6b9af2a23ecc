"""Webhooks of jobs: signed, sent at least once under one id, whoever dies in between."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import PolicyOverflow
from runestone_testing import canaries
from runestone_testing import provider as scripts
from runestone_testing.job_stand import (
    ANSWER,
    DEADLINE_S,
    key,
    question,
    until,
)
from runestone_testing.job_webhooks import HEADER, TAKEN, hook_stand, hooked, url_of, verified
from runestone_testing.provider import json_reply, reply

if TYPE_CHECKING:
    from runestone_testing.job_stand import JobStand
    from runestone_testing.sidecar import Sidecar

CHAT = "/v1/chat/completions"


async def undelivered(stand: JobStand, number: int = 0) -> float | None:
    sidecar = stand.sidecars[number]
    return await asyncio.to_thread(sidecar.metric, "runestone_webhooks_waiting")


async def all_delivered(stand: JobStand, number: int = 0) -> None:
    async def is_empty() -> bool:
        return await undelivered(stand, number) == 0

    await until(is_empty)


def told_by(sidecar: Sidecar) -> list[str]:
    """Which secrets are where anybody may look: the log, the health port, the command line."""
    paths = ("/metrics", "/health/ready", "/health/config", "/health/providers")
    said = [str(sidecar.get(path)[1]) for path in paths]
    said.append(Path(f"/proc/{sidecar.process.pid}/cmdline").read_text())
    return canaries.found_in("\n".join([*said, sidecar.log.read_text()]))


async def test_what_became_of_a_job_is_posted_and_signed() -> None:
    async with hook_stand(LOG_LEVEL="debug") as (stand, receiver):
        taken = await stand.submit(0, canaries.PROMPT, **{HEADER: url_of(receiver)})
        assert taken.status_code == 202
        request = await receiver.requested(within_s=DEADLINE_S)
        event = verified(request)
        job = await stand.ended(taken.json()["id"])
        assert (event["type"], event["data"]) == ("job.succeeded", job)
        assert event["data"]["response"]["body"] == ANSWER
        assert request.target == f"/hooks/done?token={canaries.WEBHOOK_TOKEN}"
        assert request.method == "POST"
        assert request.header("content-type") == "application/json"
        await all_delivered(stand)
        assert await stand.told("overflow.webhook") == 1
        assert len(receiver.requests) == 1
        assert job["id"] in stand.sidecars[0].log.read_text()
        assert await asyncio.to_thread(told_by, stand.sidecars[0]) == []


async def test_G7_nothing_that_the_client_sends_is_in_what_is_posted() -> None:
    forged = {
        "x-note": "mine",
        "authorization-2": "mine",
        "user-agent": "mine",
        "cookie": "mine=1",
        "x-forwarded-host": "mine.example",
    }
    async with hook_stand() as (stand, receiver):
        taken = await stand.submit(
            0, **{HEADER: url_of(receiver), **forged, "host": "mine.example"}
        )
        assert taken.status_code == 202
        request = await receiver.requested(within_s=DEADLINE_S)
        verified(request)
        assert sorted(name.lower() for name, _ in request.headers) == [
            *("accept", "connection", "content-length", "content-type", "host", "user-agent"),
            *("webhook-id", "webhook-signature", "webhook-timestamp"),
        ]
        assert "mine" not in request.raw_head.decode()
        assert request.header("host") == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("name", ["webhook-signature", "webhook-id", "Webhook-Timestamp"])
async def test_G7_what_signs_a_webhook_is_not_the_clients(name: str) -> None:
    async with hook_stand() as (stand, receiver):
        refused = await stand.submit(0, **{HEADER: url_of(receiver), name: "v1,bWluZQ=="})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == name.lower()
        assert (await stand.clients[0].get("/v1/jobs")).json()["data"] == []


async def test_every_end_of_a_job_is_posted() -> None:
    async with hook_stand() as (stand, receiver):
        headers = {HEADER: url_of(receiver)}
        at_once = await stand.clients[0].post(CHAT, json=question(), headers=headers)
        assert at_once.status_code == 200  # no job, no webhook
        stand.provider.queue(json_reply({"error": {"message": "no"}}, status=400))
        await stand.submit(0, **headers)
        event = verified(await receiver.requested(1, within_s=DEADLINE_S))
        assert event["type"] == "job.failed"
        assert event["data"]["response"]["status_code"] == 400
        stand.provider.queue([scripts.hang()])
        running = await stand.submit(0, **headers)
        await stand.provider.requested(3, within_s=DEADLINE_S)
        await stand.clients[0].delete(f"/v1/jobs/{running.json()['id']}")
        event = verified(await receiver.requested(2, within_s=DEADLINE_S))
        assert event["type"] == "job.cancelled"
        assert event["data"]["error"]["code"] == "cancelled_by_client"
        await all_delivered(stand)


async def test_a_job_that_expires_is_posted_too() -> None:
    bounds = PolicyOverflow(max_age_ms=500)
    own = {"rpm": 1, "mode": "Always"}
    async with hook_stand(own=own, bounds=bounds) as (stand, receiver):
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        headers = {HEADER: url_of(receiver)}
        late = await stand.clients[0].post(CHAT, json=question(), headers=headers)
        assert late.status_code == 202
        event = verified(await receiver.requested(1, within_s=DEADLINE_S))
        assert event["type"] == "job.expired"
        assert event["data"] == await stand.job(late.json()["id"])


async def test_a_result_too_large_for_a_webhook_is_told_without_its_body() -> None:
    large = json_reply(ANSWER | {"padding": "x" * 900_000})
    async with hook_stand(answer=large) as (stand, receiver):
        await stand.submit(0, **{HEADER: url_of(receiver)})
        event = verified(await receiver.requested(within_s=DEADLINE_S))
        assert event["type"] == "job.succeeded"
        assert event["data"]["response"]["status_code"] == 200
        assert event["data"]["response"]["body"] is None


async def test_G5_G6_a_failed_delivery_comes_again_with_its_id_and_a_new_signature() -> None:
    async with hook_stand() as (stand, receiver):
        receiver.queue(reply(b"not now", 500))
        await stand.submit(0, **{HEADER: url_of(receiver)})
        first = await receiver.requested(1, within_s=DEADLINE_S)
        second = await receiver.requested(2, within_s=DEADLINE_S)
        assert verified(first) == verified(second)
        assert first.body == second.body
        assert first.header("webhook-id") == second.header("webhook-id")
        assert first.header("webhook-timestamp") != second.header("webhook-timestamp")
        await all_delivered(stand)
        assert len(receiver.requests) == 2


async def test_G5_a_receiver_that_hangs_holds_up_no_job() -> None:
    async with hook_stand(RUNESTONE_WEBHOOKS_AT_ONCE="1") as (stand, receiver):
        receiver.queue([scripts.hang()])
        for count in (1, 2):
            taken = await stand.submit(0, **{HEADER: url_of(receiver)})
            assert (await stand.ended(taken.json()["id"]))["status"] == "succeeded"
            assert len(stand.provider.requests) == count
        await receiver.requested(1, within_s=DEADLINE_S)
        assert len(receiver.requests) == 1  # the other waits for the one place


async def test_G5_gone_is_the_end_of_it() -> None:
    async with hook_stand(reply(b"", 410)) as (stand, receiver):
        await stand.submit(0, **{HEADER: url_of(receiver)})
        await receiver.requested(1, within_s=DEADLINE_S)
        await all_delivered(stand)
        given_up = await asyncio.to_thread(
            stand.sidecars[0].metric, "runestone_webhooks_given_up_total", reason="gone"
        )
        assert given_up == 1
        assert len(receiver.requests) == 1


async def test_nothing_readable_of_a_webhook_is_kept() -> None:
    gate = asyncio.Event()
    async with hook_stand([scripts.until(gate), TAKEN]) as (stand, receiver):
        await stand.submit(0, canaries.PROMPT, **{HEADER: url_of(receiver)})
        await receiver.requested(within_s=DEADLINE_S)
        files = [path for path in stand.nats.store.rglob("*") if path.is_file()]
        stored = b"".join(path.read_bytes() for path in files)
        gate.set()
        assert b"webhook" in stored
        for secret in (
            "Saffron-Gantry",
            "Quixotic",
            "the-answer-canary",
            "SpindleOrchard",
            "hooks/",
        ):
            assert secret.encode() not in stored, secret


async def test_E12_P3_a_sidecar_dies_between_the_end_and_the_webhook() -> None:
    """It has posted, nobody knows whether that came, and it is gone before it could say so."""
    async with hook_stand([scripts.hang()]) as (stand, receiver):
        receiver.queue([scripts.hang()])
        job_id = (await stand.submit(0, **{HEADER: url_of(receiver)})).json()["id"]
        first = await receiver.requested(1, within_s=DEADLINE_S)
        receiver.answer = TAKEN
        await stand.open(await stand.start())
        stand.sidecars[0].process.kill()
        second = await receiver.requested(2, within_s=DEADLINE_S)
        assert verified(first) == verified(second)
        assert first.header("webhook-id") == second.header("webhook-id")
        assert verified(second)["data"] == await stand.job(job_id, number=1)
        await all_delivered(stand, 1)
        assert len(stand.provider.requests) == 1


async def test_H7_a_sidecar_that_stops_gives_its_webhook_to_another() -> None:
    async with hook_stand(
        RUNESTONE_DRAIN_SECONDS="1",
        RUNESTONE_JOBS_SILENCE_SECONDS="600",  # nobody takes it for dead
    ) as (stand, receiver):
        receiver.queue([scripts.hang()])
        await stand.submit(0, **{HEADER: url_of(receiver)})
        await receiver.requested(1, within_s=DEADLINE_S)
        await stand.open(await stand.start())
        stand.sidecars[0].process.send_signal(signal.SIGTERM)
        verified(await receiver.requested(2, within_s=DEADLINE_S))
        assert stand.sidecars[0].process.wait(DEADLINE_S) == 0


async def test_the_same_idempotency_key_with_another_webhook_is_another_request() -> None:
    async with hook_stand() as (stand, receiver):
        once = {"idempotency-key": "order-19"}
        taken = await stand.submit(0, **once, **{HEADER: url_of(receiver)})
        again = await stand.submit(0, **once, **{HEADER: url_of(receiver)})
        assert taken.json()["id"] == again.json()["id"]
        other = await stand.submit(0, **once, **{HEADER: url_of(receiver, "other")})
        assert other.status_code == 400
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        await receiver.requested(within_s=DEADLINE_S)
        await all_delivered(stand)
        assert len(receiver.requests) == 1


async def test_without_webhooks_in_the_key_none_is_promised() -> None:
    async with hook_stand() as (stand, receiver):
        digest = stand.publish(key())
        await asyncio.to_thread(stand.sidecars[0].wait_for_digest, digest)
        refused = await stand.submit(0, **{HEADER: url_of(receiver)})
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "webhook_not_allowed"
        assert refused.json()["error"]["param"] == "Runestone-Webhook-URL"
        digest = stand.publish(hooked(f"{receiver.url}/hooks/*", secret="hook-missing"))
        await asyncio.to_thread(stand.sidecars[0].wait_for_digest, digest)
        unsigned = await stand.submit(0, **{HEADER: url_of(receiver)})
        assert unsigned.status_code == 400
        assert unsigned.json()["error"]["code"] == "webhook_unsigned"
