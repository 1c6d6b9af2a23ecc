"""The other trials of hack/chaos, small: an outage, and what jobs cost."""

from __future__ import annotations

from runestone_testing.chaos_outage import outage
from runestone_testing.chaos_rate import drain, publish

OUTAGE_S = 5  # several tries to connect anew


async def test_E3_nats_is_away_for_longer_and_comes_back() -> None:
    rows = await outage(OUTAGE_S, tell=print)
    assert not [row for row in rows if row.holds is False], rows


async def test_each_job_that_is_drained_is_called_once() -> None:
    rows = await drain(40, print)
    (calls,) = (row for row in rows if row.what == "provider calls")
    assert calls.holds, rows


async def test_what_a_publish_takes_is_measured_with_each_sync() -> None:
    assert [row.what for row in await publish(rounds=20)] == [
        "publish, sync_interval always",
        "publish, sync_interval default (2 min)",
    ]
