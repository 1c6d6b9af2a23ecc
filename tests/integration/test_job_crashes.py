"""Jobs while what runs them dies, stands still, or loses NATS: each ends, and once as a rule."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import PolicyOverflow
from runestone_testing import provider as scripts
from runestone_testing.job_stand import (
    ANSWER,
    ASYNC,
    DEADLINE_S,
    SILENCE_S,
    JobStand,
    job_stand,
    key,
    question,
    until,
)
from runestone_testing.nats import free_port
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from runestone_testing.provider import Request, Script

CHAT = "/v1/chat/completions"


def kill(stand: JobStand, number: int) -> None:
    stand.sidecars[number].process.kill()
    stand.sidecars[number].process.wait()


async def empty(stand: JobStand, number: int) -> None:
    async def is_empty() -> bool:
        return await stand.queued(number) == 0

    await until(is_empty)


async def test_P1_E12_both_die_who_took_it_and_who_ran_it() -> None:
    async with job_stand(RUNESTONE_JOBS_AT_ONCE="0") as stand:
        taken = await stand.submit()
        kill(stand, 0)
        stand.provider.queue([scripts.hang()])
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        await stand.provider.requested(within_s=DEADLINE_S)
        kill(stand, 1)
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        job = await stand.ended(taken.json()["id"], number=2)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        assert len(stand.provider.requests) == 2
        await empty(stand, 2)


async def test_E12_a_worker_dies_between_the_answer_and_its_keeping() -> None:
    """The provider has answered, and the worker stood still before it could read that."""
    async with job_stand(RUNESTONE_JOBS_AT_ONCE="0") as stand:
        gate = asyncio.Event()
        stand.provider.queue([scripts.until(gate), json_reply(ANSWER)])
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        job_id = (await stand.submit()).json()["id"]
        request = await stand.provider.requested(within_s=DEADLINE_S)
        stand.sidecars[1].process.send_signal(signal.SIGSTOP)
        gate.set()
        async with asyncio.timeout(DEADLINE_S):
            while request.peer.sent_bytes < len(json_reply(ANSWER)):
                await asyncio.sleep(0.01)
        kill(stand, 1)
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        job = await stand.ended(job_id, number=0)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        assert len(stand.provider.requests) == 2


async def test_E11_poison_ends_as_failed_and_others_flow() -> None:
    """A request that kills whoever runs it: here the test does."""
    bounds = PolicyOverflow(max_attempts=3)
    poisoned: list[Request] = []

    def answer(request: Request) -> Script:
        if b"poison" in request.body:
            poisoned.append(request)
            return [scripts.hang()]
        return json_reply(ANSWER)

    async with job_stand(answer=answer, bounds=bounds, RUNESTONE_JOBS_AT_ONCE="0") as stand:
        poison = (await stand.submit(0, "poison")).json()["id"]
        for attempt in range(1, 4):
            number = await stand.start(RUNESTONE_JOBS_AT_ONCE="2")
            async with asyncio.timeout(DEADLINE_S):
                while len(poisoned) < attempt:
                    await asyncio.sleep(0.02)
            kill(stand, number)
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="2"))
        fine = (await stand.submit()).json()["id"]
        assert (await stand.ended(fine))["status"] == "succeeded"
        job = await stand.ended(poison)
        assert (job["status"], job["error"]["code"]) == ("failed", "attempts_exhausted")
        assert job["attempts"] == 3
        assert len(poisoned) == 3
        await empty(stand, len(stand.sidecars) - 1)


async def test_E13_a_late_result_overwrites_nothing() -> None:
    late = json_reply(ANSWER | {"id": "late"})
    async with job_stand() as stand:
        gate = asyncio.Event()
        stand.provider.queue([scripts.until(gate), late])
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        stand.sidecars[0].process.send_signal(signal.SIGSTOP)
        await stand.open(await stand.start())
        job = await stand.ended(job_id, number=1)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        gate.set()
        stand.sidecars[0].process.send_signal(signal.SIGCONT)

        async def is_dropped() -> bool:
            fenced = await asyncio.to_thread(
                stand.sidecars[0].metric, "runestone_jobs_fenced_total"
            )
            return fenced == 1

        await until(is_dropped)
        assert (await stand.job(job_id, number=1))["response"]["body"] == ANSWER


async def test_E14_a_call_longer_than_silence_is_made_once() -> None:
    async with job_stand(
        answer=[scripts.pause(SILENCE_S * 2.5), json_reply(ANSWER)], sidecars=2
    ) as stand:
        job = await stand.ended((await stand.submit()).json()["id"])
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert len(stand.provider.requests) == 1


async def test_E4_a_job_is_left_to_its_worker_when_nats_comes_back_late() -> None:
    """NATS was away for longer than a worker may be silent, and brings the job once more."""
    gate = asyncio.Event()
    async with job_stand(answer=[scripts.until(gate), json_reply(ANSWER)], sidecars=2) as stand:
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        stand.nats.stop()
        late_s = time.monotonic() + 1.5 * SILENCE_S

        async def is_late() -> bool:
            return time.monotonic() > late_s

        await until(is_late)
        stand.nats.start()

        async def comes_again() -> bool:
            counts = [
                await asyncio.to_thread(sidecar.metric, "runestone_jobs_redeliveries_total")
                for sidecar in stand.sidecars
            ]
            return any(counts)

        await until(comes_again)
        gate.set()
        job = await stand.ended(job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert len(stand.provider.requests) == 1


async def test_E1_without_nats_all_is_as_without_a_queue() -> None:
    async with job_stand(key(mode="Always", rpm=2)) as stand:
        stand.nats.stop()

        async def is_degraded() -> bool:
            return not await stand.is_open(0)

        await until(is_degraded)
        asked = await stand.submit()
        assert asked.status_code == 200
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        over = await stand.clients[0].post(CHAT, json=question(), headers=ASYNC)
        assert over.status_code == 429
        assert (await stand.clients[0].get("/v1/jobs")).status_code == 503
        status, ready = await asyncio.to_thread(stand.sidecars[0].get, "/health/ready")
        assert (status, ready["status"]) == (200, "degraded")
        stand.nats.start()
        await stand.open()
        assert (await stand.submit()).status_code == 202


async def test_E6_no_word_is_no_promise_and_asking_again_makes_one_job() -> None:
    async with job_stand() as stand:
        headers = {"idempotency-key": "order-18"}
        stand.nats.send_signal(signal.SIGSTOP)
        unsure = await stand.submit(0, **headers)
        assert unsure.status_code == 503
        assert unsure.headers["retry-after"]
        stand.nats.send_signal(signal.SIGCONT)
        await stand.open()
        taken = await stand.submit(0, **headers)
        assert taken.status_code == 202
        assert (await stand.ended(taken.json()["id"]))["status"] == "succeeded"
        await empty(stand, 0)
        assert len((await stand.clients[0].get("/v1/jobs")).json()["data"]) == 1
        assert len(stand.provider.requests) == 1


async def test_E6_what_may_be_a_job_already_is_not_answered_at_once_as_well() -> None:
    """Not while NATS is away, and not where the key has room again by then."""
    gate = asyncio.Event()
    answer: Script = [scripts.until(gate), json_reply(ANSWER)]
    async with job_stand(key(mode="Always", rpm=1), answer=answer) as stand:
        stand.provider.queue(json_reply(ANSWER))
        assert (await stand.clients[0].post(CHAT, json=question("fill"))).status_code == 200
        headers = {"idempotency-key": "order-19"}
        taken = await stand.clients[0].post(CHAT, json=question(), headers=headers)
        assert taken.status_code == 202
        stand.nats.stop()

        async def is_degraded() -> bool:
            return not await stand.is_open(0)

        await until(is_degraded)
        assert (await stand.submit(0, **headers)).status_code == 503
        stand.nats.start()
        await stand.open()
        stand.sidecars[0].wait_for_digest(stand.publish(key(mode="Always")))
        again = await stand.clients[0].post(CHAT, json=question(), headers=headers)
        assert (again.status_code, again.json()["id"]) == (202, taken.json()["id"])
        gate.set()
        assert (await stand.ended(taken.json()["id"]))["status"] == "succeeded"
        assert len(stand.provider.requests) == 2


@pytest.mark.parametrize("wiped", [False, True], ids=["E4-store-kept", "E5-store-wiped"])
async def test_nats_starts_again(wiped: bool) -> None:
    async with job_stand(key(rpm=1)) as stand:
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        job_id = (await stand.submit()).json()["id"]
        stand.nats.stop()
        if wiped:
            stand.nats.wipe()
        stand.nats.start()
        await stand.open()
        found = await stand.clients[0].get(f"/v1/jobs/{job_id}")
        if wiped:
            assert found.status_code == 404
        else:
            assert found.json()["status"] == "queued"
            stand.publish(key())
            assert (await stand.ended(job_id))["status"] == "succeeded"
        stand.publish(key())
        assert (await stand.ended((await stand.submit()).json()["id"]))["status"] == "succeeded"


@pytest.mark.parametrize("durable", [True, False], ids=["synced", "not-synced"])
async def test_jobs_that_a_crash_of_the_machine_may_lose_are_told_of(durable: bool) -> None:
    port = free_port()
    options = ("--http_port", str(port))
    url = f"http://127.0.0.1:{port}"
    async with job_stand(
        sidecars=0, nats_options=options, durable=durable, NATS_MONITOR_URL=url
    ) as stand:
        sidecar = stand.sidecars[await stand.start()]

        async def is_told() -> bool:
            return await asyncio.to_thread(sidecar.metric, "runestone_jobs_durable") == durable

        await until(is_told)

        async def says_so() -> bool:
            _, ready = await asyncio.to_thread(sidecar.get, "/health/ready")
            return ready["status"] == "ok" if durable else "not synced" in ready["reason"]

        await until(says_so)
        taken = await stand.submit(0, **{"idempotency-key": "order-21"})
        again = await stand.submit(0, **{"idempotency-key": "order-21"})
        for answer in (taken, again):
            assert answer.status_code == 202
            assert answer.json().get("durable") is (None if durable else False)


async def test_E2_an_answer_is_kept_though_nats_was_away_when_it_came() -> None:
    gate = asyncio.Event()
    async with job_stand(answer=[scripts.until(gate), json_reply(ANSWER)]) as stand:
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        stand.nats.stop()
        gate.set()

        async def is_degraded() -> bool:
            return not await stand.is_open(0)

        await until(is_degraded)
        stand.nats.start()
        await stand.open()
        job = await stand.ended(job_id)
        assert job["status"] == "succeeded"
        assert len(stand.provider.requests) == job["attempts"] <= 2
