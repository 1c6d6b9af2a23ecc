"""All jobs of a namespace, for a key with the role Admin: seen, cancelled, tried anew, purged."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.overflow.seal import parse_key
from runestone_testing import provider as scripts
from runestone_testing.job_stand import (
    ADMIN_KEY,
    ANSWER,
    DEADLINE_S,
    OVERFLOW_KEY,
    JobStand,
    admin_key,
    job_stand,
    key,
    until,
)
from runestone_testing.job_store import connected
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

ALL = "/v1/jobs?scope=namespace"
BROKEN = json_reply({"error": {"message": "canary"}}, status=500)
ONCE = PolicyOverflow(max_attempts=1)
MISSING = f"/v1/jobs/job_{'0' * 40}"


@asynccontextmanager
async def admin_stand(
    **options: Any,
) -> AsyncIterator[tuple[JobStand, httpx.AsyncClient]]:
    async with job_stand(key(), admin_key(), **options) as stand:
        async with stand.client(0, ADMIN_KEY) as admin:
            yield stand, admin


async def failed(stand: JobStand, **headers: str) -> str:
    job = await stand.ended((await stand.submit(0, **headers)).json()["id"])
    assert job["status"] == "failed"
    return str(job["id"])


async def listed(admin: httpx.AsyncClient, **filters: str) -> list[str]:
    answer = await admin.get(ALL, params={"scope": "namespace", **filters})
    answer.raise_for_status()
    return [entry["id"] for entry in answer.json()["data"]]


async def test_an_admin_sees_every_job_and_of_none_what_was_said() -> None:
    async with admin_stand() as (stand, admin):
        job_id = (await stand.submit()).json()["id"]
        await stand.ended(job_id)
        (entry,) = (await admin.get(ALL)).json()["data"]
        assert entry == (await admin.get(f"/v1/jobs/{job_id}")).json()
        assert entry["id"] == job_id
        assert (entry["status"], entry["api_key"], entry["tenant"]) == ("succeeded", "app", "team")
        assert (entry["attempts"], entry["retries"], entry["retryable"]) == (1, 0, False)
        assert "response" not in entry
        assert (await admin.get("/v1/jobs")).json()["data"] == []  # its own


async def test_to_a_client_there_are_no_others() -> None:
    async with job_stand(
        key(), key("other", secret=ADMIN_KEY), bounds=ONCE, answer=BROKEN
    ) as stand:
        job_id = await failed(stand)
        async with stand.client(0, ADMIN_KEY) as other:
            answers = [
                await other.get(ALL),
                await other.post(f"/v1/jobs/{job_id}/retry"),
                await other.post(f"{MISSING}/retry"),
                await other.delete("/v1/jobs?state=failed"),
            ]
            assert {answer.status_code for answer in answers} == {403}
            assert len({answer.content for answer in answers}) == 1
            foreign, missing = await other.get(f"/v1/jobs/{job_id}"), await other.get(MISSING)
            assert (foreign.status_code, foreign.content) == (404, missing.content)
        assert (await stand.clients[0].post(f"/v1/jobs/{job_id}/retry")).status_code == 403
        assert (await stand.job(job_id))["status"] == "failed"


async def test_pages_and_filters_find_every_job_once() -> None:
    async with admin_stand(bounds=ONCE) as (stand, admin):
        stand.provider.queue(BROKEN)
        bad = await failed(stand)
        good = [(await stand.submit()).json()["id"] for _ in range(4)]
        for job_id in good:
            await stand.ended(job_id)
        found: list[str] = []
        params = {"scope": "namespace", "limit": "2"}
        while True:
            page = (await admin.get("/v1/jobs", params=params)).json()
            found += [entry["id"] for entry in page["data"]]
            if not page["has_more"]:
                break
            params["after"] = page["next"]
        assert sorted(found) == sorted([bad, *good])
        assert await listed(admin, state="failed") == [bad]
        assert await listed(admin, state="failed,queued") == [bad]
        assert sorted(await listed(admin, state="succeeded", key="app")) == sorted(good)
        assert len(await listed(admin, tenant="team", newer_than="1h")) == 5
        for nothing in ({"key": "nobody"}, {"tenant": "nobody"}, {"older_than": "1h"}):
            assert await listed(admin, **nothing) == []


async def test_what_is_not_known_is_refused() -> None:
    """Above all where it would widen what is purged."""
    refused = [
        ("GET", "scope=all", "scope"),
        ("GET", "scope=namespace&stat=failed", "stat"),
        ("GET", "scope=namespace&state=fail", "state"),
        ("GET", "scope=namespace&limit=0", "limit"),
        ("GET", "scope=namespace&after=x", "after"),
        ("GET", "scope=namespace&older_than=1w", "older_than"),
        ("DELETE", "", "state"),
        ("DELETE", "state=running", "state"),
        ("DELETE", "state=failed&newer_than=1h", "newer_than"),
    ]
    async with admin_stand() as (_, admin):
        for method, query, param in refused:
            answer = await admin.request(method, f"/v1/jobs?{query}")
            assert answer.status_code == 400, query
            assert answer.json()["error"]["param"] == param, query


async def test_a_failed_job_is_tried_anew_once_however_often_it_is_asked() -> None:
    gate = asyncio.Event()
    async with admin_stand(bounds=ONCE) as (stand, admin):
        stand.provider.queue(BROKEN, [scripts.until(gate), json_reply(ANSWER)])
        job_id = await failed(stand)
        before = (await admin.get(f"/v1/jobs/{job_id}")).json()
        assert (before["retryable"], before["error"]["code"]) == (True, "upstream_error")
        both = await asyncio.gather(*(admin.post(f"/v1/jobs/{job_id}/retry") for _ in range(3)))
        assert {answer.status_code for answer in both} == {200}
        assert {answer.json()["retries"] for answer in both} == {1}
        await until(lambda: _calls(stand, 2))
        assert (await admin.post(f"/v1/jobs/{job_id}/retry")).json()["status"] == "running"
        gate.set()
        job = await stand.ended(job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert job["response"]["body"] == ANSWER
        await until(lambda: _is_empty(stand))
        assert len(stand.provider.requests) == 2
        again = await admin.post(f"/v1/jobs/{job_id}/retry")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "job_succeeded")


async def test_one_that_fails_anew_has_all_its_attempts_and_can_be_tried_again() -> None:
    bounds = PolicyOverflow(max_attempts=2)
    async with admin_stand(bounds=bounds, answer=BROKEN) as (stand, admin):
        job_id = await failed(stand)
        assert (await admin.post(f"/v1/jobs/{job_id}/retry")).status_code == 200
        job = await stand.ended(job_id)
        assert (job["status"], job["attempts"]) == ("failed", 2)
        assert len(stand.provider.requests) == 4
        again = (await admin.post(f"/v1/jobs/{job_id}/retry")).json()
        assert (again["status"], again["retries"]) == ("queued", 2)


async def test_an_expired_job_is_tried_anew_with_as_much_time() -> None:
    gate, bounds = asyncio.Event(), PolicyOverflow(max_age_ms=3000)
    async with admin_stand(bounds=bounds, RUNESTONE_JOBS_AT_ONCE="1") as (stand, admin):
        stand.provider.queue([scripts.until(gate), json_reply(ANSWER)])
        first = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        job_id = (await stand.submit()).json()["id"]
        assert (await stand.ended(job_id))["error"]["code"] == "max_age_reached"
        gate.set()
        await stand.ended(first)
        anew = (await admin.post(f"/v1/jobs/{job_id}/retry")).json()
        assert (anew["status"], anew["retries"]) == ("queued", 1)
        assert anew["expires_at"] >= anew["created_at"] + 5
        assert (await stand.ended(job_id))["status"] == "succeeded"
        await until(lambda: _is_empty(stand))
        assert len(stand.provider.requests) == 2


async def test_who_was_to_try_a_job_anew_dies_after_the_promise() -> None:
    """The message is stored, and its record says still that the job failed."""
    async with admin_stand(bounds=ONCE) as (stand, _):
        stand.provider.queue(BROKEN)
        job_id = await failed(stand)
        async with connected(stand.nats.url, parse_key(OVERFLOW_KEY)) as store:
            owner = store.owner_of("shop/app")
            kept = await store.read(owner, job_id)
            request = await store.kept_request(owner, job_id)
            assert kept is not None
            assert request is not None
            await store.enqueue(owner, kept.record.anew(), request)
        await until(lambda: _calls(stand, 2))
        job = await stand.ended(job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        await until(lambda: _is_empty(stand))


async def test_what_has_not_failed_is_not_tried_anew() -> None:
    async with admin_stand(answer=[scripts.hang()]) as (stand, admin):
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        running = await admin.post(f"/v1/jobs/{job_id}/retry")
        assert (running.status_code, running.json()["error"]["code"]) == (409, "job_not_ended")
        cancelled = await admin.delete(f"/v1/jobs/{job_id}")
        assert cancelled.json()["status"] == "cancelled"
        assert cancelled.json()["error"]["code"] == "cancelled_by_admin"
        assert (await stand.job(job_id))["status"] == "cancelled"
        again = await admin.post(f"/v1/jobs/{job_id}/retry")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "job_cancelled")
        missing = await admin.post(f"{MISSING}/retry")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "job_not_found")


async def test_a_purge_takes_what_has_ended_so_and_nothing_else() -> None:
    async with admin_stand(bounds=ONCE) as (stand, admin):
        stand.provider.queue(BROKEN, BROKEN)
        bad = [await failed(stand) for _ in range(2)]
        good = (await stand.submit()).json()["id"]
        await stand.ended(good)
        stand.provider.queue([scripts.hang()])
        running = (await stand.submit()).json()["id"]
        await until(lambda: _calls(stand, 4))
        none = await admin.delete("/v1/jobs?state=failed&older_than=1h")
        assert none.json()["purged"] == 0
        first = (await admin.delete("/v1/jobs?state=failed&limit=1")).json()
        assert (first["purged"], first["has_more"]) == (1, True)
        rest = await admin.delete(f"/v1/jobs?state=failed&after={first['next']}")
        assert (rest.json()["purged"], rest.json()["has_more"]) == (1, False)
        for job_id in bad:
            assert (await stand.clients[0].get(f"/v1/jobs/{job_id}")).status_code == 404
        assert sorted(await listed(admin)) == sorted([good, running])
        assert (await stand.job(good))["response"]["body"] == ANSWER


async def test_a_purged_idempotency_key_is_free_and_makes_a_job_that_runs() -> None:
    async with admin_stand(bounds=ONCE) as (stand, admin):
        stand.provider.queue(BROKEN)
        headers = {"idempotency-key": "order-19"}
        job_id = await failed(stand, **headers)
        assert (await admin.delete("/v1/jobs?state=failed")).json()["purged"] == 1
        assert (await stand.submit(0, **headers)).json()["id"] == job_id
        assert (await stand.ended(job_id))["status"] == "succeeded"


async def test_the_request_of_a_failed_job_goes_when_the_job_has_its_answer() -> None:
    async with admin_stand(bounds=ONCE) as (stand, admin):
        stand.provider.queue(BROKEN)
        job_id = await failed(stand)
        assert await stand.kept("request") == 1
        await admin.post(f"/v1/jobs/{job_id}/retry")
        assert (await stand.ended(job_id))["status"] == "succeeded"

        async def is_gone() -> bool:
            return await stand.kept("request") == 0

        await until(is_gone)


async def test_cancelled_and_expired_jobs_make_room_at_once() -> None:
    bounds = PolicyOverflow(max_queued=2, max_age_ms=4000)
    async with admin_stand(bounds=bounds, RUNESTONE_JOBS_AT_ONCE="0") as (stand, admin):
        first, second = [(await stand.submit()).json()["id"] for _ in range(2)]
        assert (await stand.submit()).status_code == 429
        await stand.clients[0].delete(f"/v1/jobs/{second}")
        third = await stand.submit()
        assert third.status_code == 202
        assert (await stand.submit()).status_code == 429
        assert (await stand.ended(first))["status"] == "expired"
        assert (await stand.submit()).status_code == 202
        assert (await admin.get(f"/v1/jobs/{first}")).json()["retryable"]


async def _calls(stand: JobStand, count: int) -> bool:
    return len(stand.provider.requests) >= count


async def _is_empty(stand: JobStand) -> bool:
    return await stand.queued(len(stand.sidecars) - 1) == 0
