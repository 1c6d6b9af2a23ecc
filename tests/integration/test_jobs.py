"""Requests that become jobs: taken by one sidecar, run by any, told to their owner alone."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import KeyOverflow, Limits, PolicyOverflow
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.job_stand import (
    ANSWER,
    ASYNC,
    DEADLINE_S,
    OVERFLOW_KEY,
    job_stand,
    key,
    question,
    until,
)
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.provider import Script

OTHER_KEY = "sk-rs-other-0123456789abcdefghijklmnopqrstuvwx"
CHAT = "/v1/chat/completions"


async def test_a_job_is_taken_run_and_told() -> None:
    async with job_stand() as stand:
        taken = await stand.submit()
        assert taken.status_code == 202
        body = taken.json()
        assert body["object"] == "runestone.job"
        assert body["status"] == "queued"
        assert body["position"] >= 1
        assert body["eta_seconds"] >= 1
        assert taken.headers["location"] == f"/v1/jobs/{body['id']}"
        assert taken.headers["preference-applied"] == "respond-async"
        job = await stand.ended(body["id"])
        assert job["status"] == "succeeded"
        assert job["attempts"] == 1
        assert job["error"] is None
        assert job["response"]["status_code"] == 200
        assert job["response"]["request_id"] == taken.headers["x-request-id"]
        assert job["response"]["body"] == ANSWER
        listed = (await stand.clients[0].get("/v1/jobs")).json()
        assert [entry["id"] for entry in listed["data"]] == [body["id"]]
        assert len(stand.provider.requests) == 1

        async def is_empty() -> bool:
            return await stand.queued() == 0

        await until(is_empty)


async def test_a_job_is_told_and_audited_as_a_request_is(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    records: dict[str, dict[str, Any]] = {}  # by method

    async def are_written() -> bool:
        lines = audit.read_text().rpartition("\n")[0].splitlines()
        records.update((found.get("method", ""), found) for found in map(json.loads, lines))
        return {"POST", "JOB"} <= records.keys()

    async with job_stand(RUNESTONE_AUDIT=str(audit)) as stand:
        taken = await stand.submit()
        await stand.ended(taken.json()["id"])

        async def is_over() -> bool:
            return await stand.told("overflow.drain_stop") == 1

        await until(is_over)
        for event in ("overflow.enqueue", "overflow.drain_start", "provider.request_stop"):
            assert await stand.told(event) == 1, event
        assert await stand.told("overflow.dead_letter") == 0
        await until(are_written)
        asked, run = records["POST"], records["JOB"]
        assert (asked["status"], run["status"]) == (202, 200)
        assert run["request_id"] == asked["request_id"] == taken.headers["x-request-id"]
        assert (run["decision"], run["api_key"]) == ("allowed", asked["api_key"])
        assert (run["input_tokens"], run["output_tokens"]) == (1, 1)


async def test_the_trace_of_who_submitted_goes_on_to_the_provider_and_into_the_log() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    context = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    async with job_stand(RUNESTONE_JOBS_AT_ONCE="0") as stand:
        taken = await stand.submit(0, **context)
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        await stand.ended(taken.json()["id"])
        (call,) = stand.provider.requests
        assert context.items() <= dict(call.headers).items()

        async def is_logged() -> bool:
            lines = [line for sidecar in stand.sidecars for line in sidecar.lines()]
            told = {line["method"]: line for line in lines if line.get("trace_id") == trace}
            return told.keys() == {"POST", "JOB"}

        await until(is_logged)


@pytest.mark.parametrize(
    ("mode", "prefer", "status"),
    [
        pytest.param("OnRequest", False, 429, id="on-request-not-asked"),
        pytest.param("OnRequest", True, 202, id="on-request-asked"),
        pytest.param("Always", False, 202, id="always"),
        pytest.param("Wait", True, 202, id="wait-asked"),
        pytest.param("Never", True, 429, id="never-though-asked"),
    ],
)
async def test_a_request_over_the_limit_becomes_what_its_key_says(
    mode: str, prefer: bool, status: int
) -> None:
    async with job_stand(key(mode=mode, rpm=1)) as stand:
        first = await stand.clients[0].post(CHAT, json=question())
        assert first.status_code == 200
        over = await stand.clients[0].post(CHAT, json=question(), headers=ASYNC if prefer else None)
        assert over.status_code == status
        assert ("preference-applied" in over.headers) == (prefer and status == 202)
        if status == 429:
            assert over.headers["retry-after"]
        else:
            assert (await stand.job(over.json()["id"]))["status"] == "queued"


async def test_what_one_sidecar_has_no_room_for_another_runs() -> None:
    async with job_stand(RUNESTONE_JOBS_AT_ONCE="0") as stand:
        taken = await stand.submit()
        assert taken.status_code == 202
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="1"))
        job = await stand.ended(taken.json()["id"], number=1)
        assert job["status"] == "succeeded"
        assert (await stand.job(job["id"], number=0))["status"] == "succeeded"


async def test_a_job_runs_once_the_limit_that_all_sidecars_share_has_room() -> None:
    gate = asyncio.Event()
    slow: Script = [scripts.until(gate), json_reply(ANSWER)]
    limits = Limits(concurrent_requests=1)
    one_at_a_time = bundles.key(overflow=KeyOverflow(mode="Always"), limits=limits)
    async with job_stand(one_at_a_time, answer=slow, sidecars=2) as stand:
        running = asyncio.create_task(stand.clients[0].post(CHAT, json=question()))
        await stand.provider.requested(within_s=DEADLINE_S)
        over = await stand.clients[1].post(CHAT, json=question())
        assert over.status_code == 202

        async def was_refused() -> bool:
            counts = [await stand.told("ratelimit.block", number) for number in (0, 1)]
            return sum(counts) >= 3  # the request, and its job twice

        await until(was_refused)
        assert len(stand.provider.requests) == 1
        gate.set()
        assert (await running).status_code == 200
        assert (await stand.ended(over.json()["id"]))["status"] == "succeeded"
        assert len(stand.provider.requests) == 2


async def test_a_stream_is_not_made_a_job() -> None:
    async with job_stand(key(mode="Always", rpm=1)) as stand:
        asked = await stand.clients[0].post(CHAT, json=question(stream=True), headers=ASYNC)
        assert asked.status_code == 400
        assert asked.json()["error"]["param"] == "stream"
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        over = await stand.clients[0].post(CHAT, json=question(stream=True))
        assert over.status_code == 429


async def test_an_answer_of_many_messages_comes_back_whole() -> None:
    large = ANSWER | {"padding": "x" * 3_000_000}
    async with job_stand(answer=json_reply(large)) as stand:
        job = await stand.ended((await stand.submit()).json()["id"])
        assert job["response"]["body"] == large


async def test_a_providers_refusal_is_the_result_and_is_not_retried() -> None:
    refusal = {"error": {"message": "no such thing", "type": "invalid_request_error"}}
    async with job_stand(answer=json_reply(refusal, status=400)) as stand:
        job = await stand.ended((await stand.submit()).json()["id"])
        assert job["status"] == "failed"
        assert job["response"]["status_code"] == 400
        assert job["response"]["body"]["error"]["message"] == "no such thing"
        assert len(stand.provider.requests) == 1


async def test_passing_trouble_is_tried_again_and_given_up_in_the_end() -> None:
    bounds = PolicyOverflow(max_attempts=2)
    async with job_stand(answer=json_reply({"error": {}}, status=500), bounds=bounds) as stand:
        stand.provider.queue(json_reply({"error": {}}, status=500), json_reply(ANSWER))
        mended = await stand.ended((await stand.submit()).json()["id"])
        assert (mended["status"], mended["attempts"]) == ("succeeded", 2)
        given_up = await stand.ended((await stand.submit()).json()["id"])
        assert (given_up["status"], given_up["attempts"]) == ("failed", 2)
        assert given_up["response"]["status_code"] == 502
        assert given_up["error"]["code"] == "upstream_error"
        sidecar, name = stand.sidecars[0], "runestone_jobs_dead_letters_total"
        assert sidecar.metric(name, reason="upstream_error") == 1
        assert await stand.told("overflow.dead_letter") == 1


async def test_E10_the_same_idempotency_key_is_one_job() -> None:
    gate = asyncio.Event()
    async with job_stand(answer=[scripts.until(gate), json_reply(ANSWER)], sidecars=2) as stand:
        headers = {"idempotency-key": "order-17"}
        both = await asyncio.gather(
            stand.submit(0, **headers), stand.submit(1, **headers), stand.submit(1, **headers)
        )
        (job_id,) = {answer.json()["id"] for answer in both}
        gate.set()
        await stand.ended(job_id)
        again = await stand.submit(0, **headers)
        assert again.status_code == 202
        assert (again.json()["id"], again.json()["status"]) == (job_id, "succeeded")
        other = await stand.submit(0, "something else", **headers)
        assert other.status_code == 400
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        assert len(stand.provider.requests) == 1


async def test_a_running_job_is_cancelled_within_a_second_or_so() -> None:
    async with job_stand(answer=[scripts.hang()], sidecars=2) as stand:
        job_id = (await stand.submit(0)).json()["id"]
        request = await stand.provider.requested(within_s=DEADLINE_S)
        cancelled = await stand.clients[1].delete(f"/v1/jobs/{job_id}")
        assert cancelled.json()["status"] == "cancelled"
        await request.peer.closed(within_s=DEADLINE_S)
        assert (await stand.job(job_id))["status"] == "cancelled"

        async def is_empty() -> bool:
            return await stand.queued(0) == 0

        await until(is_empty)
        assert len(stand.provider.requests) == 1


async def test_a_waiting_job_is_cancelled_and_never_run() -> None:
    async with job_stand(key(rpm=1)) as stand:
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        job_id = (await stand.submit()).json()["id"]
        assert (await stand.clients[0].delete(f"/v1/jobs/{job_id}")).json()["status"] == "cancelled"
        assert (await stand.job(job_id))["status"] == "cancelled"
        assert len(stand.provider.requests) == 1


async def test_E18_a_key_revoked_meanwhile_has_its_jobs_cancelled() -> None:
    gate = asyncio.Event()
    slow: Script = [scripts.until(gate), json_reply(ANSWER)]
    watcher = key("watcher", secret=OTHER_KEY)
    async with job_stand(key(), watcher, answer=slow, RUNESTONE_JOBS_AT_ONCE="1") as stand:
        first = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        second = (await stand.submit()).json()["id"]
        digest = stand.publish(key(enabled=False), watcher)
        stand.sidecars[0].wait_for_digest(digest)
        gate.set()

        async def is_empty() -> bool:
            return await stand.queued(0) == 0

        await until(is_empty)
        digest = stand.publish(key(), watcher)
        stand.sidecars[0].wait_for_digest(digest)
        assert (await stand.job(first))["status"] == "succeeded"
        job = await stand.job(second)
        assert (job["status"], job["error"]["code"]) == ("cancelled", "key_revoked")
        assert len(stand.provider.requests) == 1


async def test_B12_anothers_job_is_as_if_there_were_none() -> None:
    async with job_stand(key(), key("other", secret=OTHER_KEY)) as stand:
        job_id = (await stand.submit()).json()["id"]
        await stand.ended(job_id)
        async with stand.client(0, OTHER_KEY) as other:
            foreign = await other.get(f"/v1/jobs/{job_id}")
            missing = await other.get(f"/v1/jobs/job_{'0' * 40}")
            assert foreign.status_code == missing.status_code == 404
            assert foreign.content == missing.content
            assert (await other.delete(f"/v1/jobs/{job_id}")).content == missing.content
            for odd in ("*", "%3E", "job_*", "..", "a.b"):
                assert (await other.get(f"/v1/jobs/{odd}")).status_code == 404, odd
            assert (await other.get("/v1/jobs")).json()["data"] == []


async def test_E7_a_full_queue_refuses() -> None:
    bounds = PolicyOverflow(max_queued=1)
    async with job_stand(key(mode="Always", rpm=1), bounds=bounds) as stand:
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 202
        over = await stand.clients[0].post(CHAT, json=question())
        assert over.status_code == 429
        assert over.json()["error"]["code"] == "rate_limit_exceeded"
        asked = await stand.submit()
        assert asked.status_code == 429
        assert asked.json()["error"]["code"] == "queue_full"
        assert asked.headers["retry-after"]


async def test_E7_a_full_stream_refuses_and_forgets() -> None:
    async with job_stand(key(rpm=1), RUNESTONE_JOBS_MAX_BYTES="65536") as stand:
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        assert (await stand.submit(0, "x" * 40_000)).status_code == 202
        full = await stand.submit(0, "x" * 40_000)
        assert full.status_code == 429
        assert full.json()["error"]["code"] == "queue_full"
        assert len((await stand.clients[0].get("/v1/jobs")).json()["data"]) == 1


async def test_E8_a_request_larger_than_a_message_is_refused() -> None:
    async with job_stand() as stand:
        large = question(user="x" * 1_100_000)
        answer = await stand.clients[0].post(CHAT, json=large, headers=ASYNC)
        assert answer.status_code == 413
        assert (await stand.clients[0].get("/v1/jobs")).json()["data"] == []


async def test_a_job_that_its_limits_never_admit_ends_with_that() -> None:
    async with job_stand(bundles.key(limits=Limits(tokens_per_minute=1))) as stand:
        job = await stand.ended((await stand.submit()).json()["id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "rate_limit_exceeded")
        assert job["response"]["status_code"] == 429
        assert stand.provider.requests == []


async def test_a_job_whose_turn_does_not_come_expires() -> None:
    bounds = PolicyOverflow(max_age_ms=500)
    async with job_stand(key(rpm=1), bounds=bounds) as stand:
        assert (await stand.clients[0].post(CHAT, json=question())).status_code == 200
        job = await stand.ended((await stand.submit()).json()["id"])
        assert (job["status"], job["error"]["code"]) == ("expired", "max_age_reached")
        assert len(stand.provider.requests) == 1


async def test_nothing_readable_is_kept(tmp_path: Path) -> None:
    gate = asyncio.Event()
    slow: Script = [scripts.until(gate), json_reply(ANSWER)]
    async with job_stand(key("app-canary", tenant="tenant-canary"), answer=slow) as stand:
        taken = await stand.submit(0, "prompt-canary", **{"x-note": "header-canary"})

        def stored() -> bytes:
            files = [path for path in stand.nats.store.rglob("*") if path.is_file()]
            return b"".join(path.read_bytes() for path in files)

        await stand.provider.requested(within_s=DEADLINE_S)
        waiting = stored()
        gate.set()
        await stand.ended(taken.json()["id"])
        assert taken.json()["id"].encode() in waiting
        for text in (waiting, stored()):
            for secret in ("canary", bundles.CLIENT_KEY, bundles.PROVIDER_KEY, OVERFLOW_KEY):
                assert secret.encode() not in text
            assert b"gpt-4o" not in text


async def test_H7_a_sidecar_that_stops_gives_its_job_to_another() -> None:
    async with job_stand(
        RUNESTONE_DRAIN_SECONDS="1",
        RUNESTONE_JOBS_SILENCE_SECONDS="600",  # nobody takes it for dead
    ) as stand:
        stand.provider.queue([scripts.hang()])
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        await stand.open(await stand.start())
        stand.sidecars[0].process.send_signal(signal.SIGTERM)
        job = await stand.ended(job_id, number=1)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        assert stand.sidecars[0].process.wait(DEADLINE_S) == 0
