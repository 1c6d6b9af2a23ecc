"""NATS is away for minutes: what was acknowledged waits, requests are served, and it comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from runestone_contract.config import PolicyOverflow
from runestone_testing.chaos_clients import GONE, Asked, Wires
from runestone_testing.chaos_table import Row
from runestone_testing.job_stand import job_stand, key, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_testing.job_stand import JobStand

JOBS = 50
EVERY_S = 0.5
TELL_EVERY_S = 60.0
TWELVE_HOURS_MS = 12 * 3600 * 1000


async def outage(seconds: float, *, tell: Callable[[str], None]) -> list[Row]:
    """Of nats-server, killed once jobs wait; two sidecars, of which one runs jobs in the end."""
    bounds = PolicyOverflow(max_age_ms=TWELVE_HOURS_MS, result_ttl_ms=TWELVE_HOURS_MS)
    async with job_stand(key(), sidecars=2, bounds=bounds, RUNESTONE_JOBS_AT_ONCE="0") as stand:
        taken = [await _taken(stand, number) for number in range(JOBS)]
        await asyncio.to_thread(stand.nats.stop)
        meanwhile = await _meanwhile(stand, seconds, tell)
        await asyncio.to_thread(stand.nats.start)
        began_s = time.monotonic()
        for number in range(len(stand.sidecars)):
            await stand.open(number)
        back_s = time.monotonic() - began_s
        taken += [await _taken(stand, number) for number in range(JOBS, 2 * JOBS)]
        await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="16"))
        ends = Counter([(await stand.ended(job_id))["status"] for job_id in taken])
        return [
            Row("seconds without NATS", round(seconds)),
            Row(
                "requests answered meanwhile, by status",
                dict(sorted(meanwhile.items())),
                set(meanwhile) == {200},
            ),
            Row("seconds until jobs are taken again", f"{back_s:.1f}"),
            Row("jobs acknowledged before and after", len(taken)),
            Row("ends", dict(ends), ends == {"succeeded": len(taken)}),
        ]


async def _taken(stand: JobStand, number: int) -> str:
    found = ""

    async def is_taken() -> bool:
        nonlocal found
        answer = await stand.submit(number % 2, f"job {number}")
        if answer.status_code == 202:
            found = answer.json()["id"]
        return bool(found)

    await until(is_taken)
    return found


async def _meanwhile(stand: JobStand, seconds: float, tell: Callable[[str], None]) -> Counter[int]:
    """What requests are answered that would be jobs. The first may meet the loss itself."""
    found: Counter[int] = Counter()
    wires = Wires(stand)
    for number in range(2):

        async def is_noticed(number: int = number) -> bool:
            return not await stand.is_open(number)

        await until(is_noticed)
    end_s = time.monotonic() + seconds
    told_s = time.monotonic()
    while time.monotonic() < end_s:
        try:
            answer = await wires.ask(found.total() % 2, Asked("meanwhile").render())
            found[answer.status] += 1
        except GONE:
            found[0] += 1
        if time.monotonic() - told_s > TELL_EVERY_S:
            told_s = time.monotonic()
            tell(f"{end_s - told_s:.0f} s to go: {dict(found)}")
        await asyncio.sleep(EVERY_S)
    await wires.close()
    return found
