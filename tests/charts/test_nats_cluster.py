"""Three nats-servers as the chart renders them, before sidecars that are set as it sets them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_sidecar.overflow.names import Names
from runestone_testing.chart_nats import chart_nats
from runestone_testing.charts import operator_settings, render, sidecar_env
from runestone_testing.job_stand import ANSWER, job_stand, until
from runestone_testing.nats_accounts import open_account
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.provider import Request, Script
    from runestone_testing.sidecar import Sidecar

pytestmark = pytest.mark.kube
THREE = {"nats": {"replicas": 3}}
QUEUE = Names("shop").queue
BEFORE, AFTER = 8, 8


async def syncs(sidecar: Sidecar) -> None:
    async def is_told() -> bool:
        return await asyncio.to_thread(sidecar.metric, "runestone_jobs_durable") == 1

    await until(is_told)


async def test_E15_jobs_go_on_when_the_server_that_leads_is_lost(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    def answer(request: Request) -> Script:
        calls[request.json()["messages"][0]["content"]] += 1
        return json_reply(ANSWER)

    trust = Trust(KeyPair.generate(Role.OPERATOR))
    with chart_nats(render(THREE), trust, tmp_path) as nats:
        first, *_ = nats.servers.values()
        limits = operator_settings(THREE).nats_limits
        credentials = tmp_path / "nats.creds"
        credentials.write_bytes(await open_account(first, trust, Home("shop", "uid-1"), limits))
        env = {
            "NATS_URL": nats.urls,  # the Service's, of all servers
            "NATS_CREDS": str(credentials),
            "NATS_REPLICAS": sidecar_env(THREE)["NATS_REPLICAS"],
            "NATS_MONITOR_URL": nats.here(sidecar_env(THREE)["NATS_MONITOR_URL"]),
        }
        async with job_stand(answer=answer, sidecars=2, **env) as stand:  # type: ignore[arg-type]
            for sidecar in stand.sidecars:
                await syncs(sidecar)
            jobs = [await stand.taken(f"before-{number}") for number in range(BEFORE)]
            leader = nats.leader(QUEUE)
            nats.servers[leader].kill()
            jobs += [await stand.taken(f"after-{number}") for number in range(AFTER)]
            assert nats.leader(QUEUE) not in {"", leader}
            ends = Counter([(await stand.ended(job_id))["status"] for job_id in jobs])
            assert ends == {"succeeded": BEFORE + AFTER}
            assert len(set(jobs)) == BEFORE + AFTER
            assert max(calls.values()) <= 5
            assert nats.copies(QUEUE) == 3
