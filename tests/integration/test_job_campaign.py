"""The campaign of kills, small, and that its oracle finds what is broken.

JOB_KILLS and JOB_SEED in the environment make it longer, or another.
"""

from __future__ import annotations

import json
import os
import random
import time

import httpx
import pytest

from runestone_testing.chaos_hooks import Delivery, Hooks, target
from runestone_testing.chaos_jobs import Campaign, Size, campaign
from runestone_testing.provider import Provider

KILLS = int(os.environ.get("JOB_KILLS", "6"))
SEED = int(os.environ.get("JOB_SEED", "1"))
CHANGED = "webhooks with two ids or bodies"
FALSE = "webhooks that say what is not so"
UNASKED = "webhooks of what is no job, or asked for none"


async def test_P1_P2_P3_a_campaign_of_kills_loses_nothing() -> None:
    """A small one of hack/chaos: sidecars and nats-server die at random moments."""
    rows = await campaign(Size(KILLS, 30 * KILLS, SEED), tell=print)
    assert not [row for row in rows if row.holds is False], rows


@pytest.mark.parametrize(
    ("calls", "ends", "broken"),
    [
        pytest.param([1], {"job_1": "succeeded"}, set(), id="all-is-well"),
        pytest.param([0, 1], {"job_1": "succeeded"}, set(), id="again-after-a-kill"),
        pytest.param([1], {}, {"of these lost"}, id="lost"),
        pytest.param([1], {"job_1": "failed"}, {"ends"}, id="ended-otherwise"),
        pytest.param([], {"job_1": "succeeded"}, {"never run"}, id="answered-by-nobody"),
        pytest.param([0] * 6, {"job_1": "succeeded"}, {"most calls of a job"}, id="too-often"),
        pytest.param(
            [0] * 10,
            {"job_1": "succeeded"},
            {"most calls of a job", "provider calls"},
            id="more-often-than-sidecars-died",
        ),
        pytest.param(
            [1, 2],
            {"job_1": "succeeded"},
            {"repeated for another reason than a dead sidecar"},
            id="again-for-no-reason",
        ),
    ],
)
def test_a_campaign_tells_what_is_broken(
    calls: list[int], ends: dict[str, str], broken: set[str]
) -> None:
    seen = Campaign(Size(kills=1, jobs=1, seed=1), print, random.Random(1), killed={0})
    seen.acknowledged["job 0"].add("job_1")
    seen.calls["job 0"] += calls
    assert {row.what for row in seen.rows(ends, 0, 1) if row.holds is False} == broken


@pytest.mark.parametrize(("status", "is_broken"), [(503, False), (0, False), (500, True)])
def test_a_campaign_tells_of_refusals_that_are_none(status: int, is_broken: bool) -> None:
    seen = Campaign(Size(kills=0, jobs=0, seed=1), print, random.Random(1))
    seen.refused[status] += 1
    broken = {row.what for row in seen.rows({}, 0, 1) if row.holds is False}
    assert broken == ({"not acknowledged, by status"} if is_broken else set())


def delivery(
    webhook_id: str = "msg_1",
    *,
    job_id: str = "job_1",
    status: str = "succeeded",
    says: str = "job 0",
) -> Delivery:
    data = {"id": job_id, "status": status, "response": {"body": says}}
    return Delivery(job_id, webhook_id, json.dumps({"data": data}).encode())


def judged(hooks: Hooks, depth: int = 0) -> set[str]:
    """Two jobs, the second without a webhook; of a third nobody knows, and a fourth is refused."""
    acknowledged = {"job 0": {"job_1"}, "job 1": {"job_4"}}
    ends = {"job_1": "succeeded", "job_4": "succeeded"}
    rows = hooks.rows(acknowledged, {"job 2"}, ends, depth)
    return {row.what for row in rows if row.holds is False}


@pytest.mark.parametrize(
    ("sent", "broken"),
    [
        pytest.param({"job 0": [delivery()]}, set(), id="all-is-well"),
        pytest.param({"job 0": [delivery(), delivery()]}, set(), id="twice-the-same"),
        pytest.param(
            {"job 0": [delivery(), delivery("msg_2")]}, {CHANGED}, id="another-id-each-time"
        ),
        pytest.param(
            {"job 0": [delivery(), delivery(status="failed")]},
            {CHANGED, FALSE},
            id="another-end-each-time",
        ),
        pytest.param(
            {"job 0": [delivery()], "job 2": [delivery(job_id="job_2", says="job 2")]},
            {"ids of webhooks that several jobs have"},
            id="one-id-for-two-jobs",
        ),
        pytest.param({"job 0": [delivery(says="job 2")]}, {FALSE}, id="anothers-answer"),
        pytest.param({"job 0": [delivery(job_id="job_2")]}, {FALSE}, id="anothers-job"),
        pytest.param(
            {"job 0": [delivery()], "job 2": [delivery("msg_2", job_id="job_2", says="job 2")]},
            set(),
            id="of-a-job-for-all-we-know",
        ),
        pytest.param(
            {"job 0": [delivery()], "job 3": [delivery("msg_2", says="job 3")]},
            {UNASKED},
            id="of-what-was-refused",
        ),
        pytest.param(
            {"job 0": [delivery()], "job 1": [delivery("msg_2", job_id="job_4", says="job 1")]},
            {UNASKED},
            id="that-nobody-asked-for",
        ),
    ],
)
def test_a_campaign_tells_what_is_broken_of_webhooks(
    sent: dict[str, list[Delivery]], broken: set[str]
) -> None:
    hooks = Hooks(random.Random(1), asked={"job 0", "job 2", "job 3"})
    hooks.deliveries.update(sent)
    hooks.told["job 0"] += 1
    assert judged(hooks) == broken
    assert judged(hooks, depth=1) == broken | {"webhooks left in their queue"}
    hooks.told.clear()  # it was sent, and never taken
    assert judged(hooks) == broken | {"ended and never told of"}


async def test_a_campaigns_receiver_lets_no_bad_signature_pass() -> None:
    hooks = Hooks(random.Random(1))
    async with Provider(hooks.answer) as receiver, httpx.AsyncClient(trust_env=False) as client:
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": "v1,bWluZQ==",
        }
        url = receiver.url + target("job 2")
        assert (await client.post(url, json={}, headers=headers)).status_code == 400
    assert judged(hooks) == {"webhooks without a good signature"}
