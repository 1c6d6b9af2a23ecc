"""What the metrics tell of jobs and of shared limits, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import math

from runestone_contract.config import PolicyOverflow
from runestone_testing import provider as scripts
from runestone_testing.job_stand import (
    ADMIN_KEY,
    ANSWER,
    DEADLINE_S,
    JobStand,
    admin_key,
    job_stand,
    key,
    until,
)
from runestone_testing.provider import json_reply

BROKEN = json_reply({"error": {}}, status=500)


async def metric(stand: JobStand, name: str, number: int = 0, **labels: str) -> float:
    found = await asyncio.to_thread(stand.sidecars[number].metric, f"runestone_{name}", **labels)
    assert found is not None, name
    return found


async def becomes(
    stand: JobStand, wanted: float, name: str, number: int = 0, **labels: str
) -> None:
    async def is_so() -> bool:
        return await metric(stand, name, number, **labels) == wanted

    await until(is_so)


async def test_they_tell_what_became_of_jobs() -> None:
    gate = asyncio.Event()
    bounds = PolicyOverflow(max_attempts=2)
    async with job_stand(key(), admin_key(), bounds=bounds) as stand:
        for state in ("succeeded", "failed", "cancelled", "expired"):
            assert await metric(stand, "jobs_ended_total", state=state) == 0
        stand.provider.queue(BROKEN, BROKEN, [scripts.until(gate), json_reply(ANSWER)])
        job_id = (await stand.submit()).json()["id"]
        await stand.ended(job_id)
        await becomes(stand, 1, "jobs_ended_total", state="failed")
        for reason, count in {"upstream_error": 1, "attempts_exhausted": 0, "other": 0}.items():
            assert await metric(stand, "jobs_dead_letters_total", reason=reason) == count
        assert await metric(stand, "jobs_attempts_total") == 2
        assert await metric(stand, "jobs_redeliveries_total") >= 1
        assert await metric(stand, "jobs_attempts_at_end_bucket", le="1.0") == 0
        assert await metric(stand, "jobs_attempts_at_end_bucket", le="2.0") == 1
        assert await metric(stand, "jobs_publish_seconds_count") == 1
        assert await metric(stand, "jobs_queue_seconds_count") == 1
        assert await metric(stand, "jobs_lease_age_seconds") == 0
        assert await metric(stand, "jobs_attempt_age_seconds") == 0
        assert await metric(stand, "jobs_taken_over_total") == 0  # its own worker tried it again

        async with stand.client(0, ADMIN_KEY) as admin:
            await admin.post(f"/v1/jobs/{job_id}/retry")
            await stand.provider.requested(within_s=DEADLINE_S)
            await becomes(stand, 1, "jobs_running")
            await becomes(stand, 1, "jobs_queued")
            assert await metric(stand, "jobs_retried_total") == 1
            assert await metric(stand, "jobs_oldest_seconds") < DEADLINE_S
            gate.set()
            await becomes(stand, 1, "jobs_ended_total", state="succeeded")
            await becomes(stand, 0, "jobs_queued")
            assert (await admin.delete("/v1/jobs?state=succeeded")).json()["purged"] == 1
            assert await metric(stand, "jobs_purged_total") == 1


async def test_they_tell_that_jobs_and_limits_are_without_nats() -> None:
    async with job_stand(sidecars=2, RUNESTONE_LEASE_SECONDS="3") as stand:
        await becomes(stand, 2, "limits_members", 1)
        assert await metric(stand, "limits_sign_age_seconds") < 3
        await becomes(stand, 1, "jobs_open")
        await becomes(stand, 1, "jobs_worker_state", state="serving")
        stand.nats.stop()
        await becomes(stand, 0, "jobs_open")
        await becomes(stand, 1, "jobs_worker_state", state="away")
        assert await metric(stand, "jobs_worker_state", state="serving") == 0
        assert math.isnan(await metric(stand, "jobs_queued"))

        async def is_dead_to_others() -> bool:
            return await metric(stand, "limits_sign_age_seconds") > 3

        await until(is_dead_to_others)
        await becomes(stand, 1, "limits_members")


async def grows(stand: JobStand, name: str, beyond: float) -> None:
    async def is_old() -> bool:
        return await metric(stand, name) > beyond

    await until(is_old)


async def test_a_lease_that_cannot_be_kept_shows_its_age() -> None:
    async with job_stand(answer=[scripts.hang()], RUNESTONE_JOBS_SILENCE_SECONDS="3") as stand:
        await stand.submit()
        await stand.provider.requested(within_s=DEADLINE_S)
        await grows(stand, "jobs_attempt_age_seconds", 3.5)
        assert await metric(stand, "jobs_lease_age_seconds") < await metric(
            stand, "jobs_attempt_age_seconds"
        )
        stand.nats.stop()
        await grows(stand, "jobs_lease_age_seconds", 3)


async def test_how_long_ago_jobs_were_looked_for_is_told_of_who_runs_some() -> None:
    async with job_stand() as stand:
        none = await stand.start(RUNESTONE_JOBS_AT_ONCE="0")
        await stand.open(none)
        await grows(stand, "jobs_look_age_seconds", 2)
        assert await metric(stand, "jobs_look_age_seconds", none) == 0
        stand.nats.stop()
        await becomes(stand, 0, "jobs_look_age_seconds")
