"""Jobs over three nats-servers, of which the one that leads their streams is lost."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.overflow.names import Names
from runestone_testing.job_stand import ANSWER, job_stand
from runestone_testing.nats_cluster import nats_cluster
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from runestone_testing.provider import Request, Script

QUEUE = Names("shop").queue
BEFORE, AFTER = 8, 8


@pytest.mark.parametrize("lost_by", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "cut-off"])
async def test_E15_a_cluster_that_loses_the_leader_loses_no_job(lost_by: signal.Signals) -> None:
    calls: Counter[str] = Counter()

    def answer(request: Request) -> Script:
        calls[request.json()["messages"][0]["content"]] += 1
        return json_reply(ANSWER)

    with nats_cluster() as cluster:
        async with job_stand(
            answer=answer, sidecars=2, NATS_URL=cluster.urls, NATS_REPLICAS="3"
        ) as stand:
            jobs = [await stand.taken(f"before-{number}") for number in range(BEFORE)]
            leader = await cluster.leader(QUEUE)
            cluster.servers[leader].send_signal(lost_by)
            jobs += [await stand.taken(f"after-{number}") for number in range(AFTER)]
            assert await cluster.leader(QUEUE, besides=leader) != leader
            ends = Counter([(await stand.ended(job_id))["status"] for job_id in jobs])
            assert ends == {"succeeded": BEFORE + AFTER}
            assert len(set(jobs)) == BEFORE + AFTER
            assert max(calls.values()) <= 5
