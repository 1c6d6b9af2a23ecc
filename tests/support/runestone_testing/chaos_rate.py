"""How fast jobs go: what one sidecar drains, and what an acknowledgement costs with each sync.

On a busy machine the processor's time for a job says more than the clock's.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.broker.link import Link
from runestone_sidecar.broker.streams import Streams
from runestone_sidecar.overflow.names import Names, new_job_id
from runestone_testing.chaos_clients import Asked, Wires
from runestone_testing.chaos_table import Row
from runestone_testing.job_stand import job_stand
from runestone_testing.nats import nats_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CLIENTS = 8
AT_ONCE = 16
SEEDS_RATE = 20  # jobs a second
REQUEST_BYTES = 2048
ROUNDS = 500
TTL_S = 3600
DRAIN_S = 1800
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process has used of the processor."""

    pid: int
    before_s: float

    @classmethod
    def of(cls, pid: int) -> Spent:
        return cls(pid, _cpu_s(pid))

    @property
    def seconds(self) -> float:
        return _cpu_s(self.pid) - self.before_s


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


async def drain(jobs: int, tell: Callable[[str], None]) -> list[Row]:
    """One sidecar takes them, another one runs them: the provider answers at once."""
    bounds = PolicyOverflow(max_queued=jobs + CLIENTS)
    async with job_stand(bounds=bounds, RUNESTONE_JOBS_AT_ONCE="0") as stand:
        taking = Spent.of(stand.sidecars[0].process.pid)
        began_s = time.monotonic()
        turns = iter(range(jobs))

        async def client() -> None:
            wires = Wires(stand)
            for number in turns:
                answer = await wires.ask(0, Asked(f"job {number}").render())
                assert answer.status == 202, answer
            await wires.close()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        took_s, taken_s = time.monotonic() - began_s, taking.seconds
        tell(f"{jobs} jobs are queued")
        number = await stand.start(RUNESTONE_JOBS_AT_ONCE=str(AT_ONCE))
        running = Spent.of(stand.sidecars[number].process.pid)
        nats = Spent.of(stand.nats.pid)
        async with asyncio.timeout(DRAIN_S):
            while not stand.provider.requests:
                await asyncio.sleep(0.01)
            began_s = time.monotonic()
            while await stand.waiting():
                await asyncio.sleep(0.2)
        drained_s = time.monotonic() - began_s
        calls = len(stand.provider.requests)
        return [
            Row("jobs", jobs),
            Row("taken a second, by one sidecar", f"{jobs / took_s:.0f}"),
            Row("its processor time for each", f"{taken_s / jobs * 1000:.2f} ms"),
            Row(
                "drained a second, by one sidecar",
                f"{jobs / drained_s:.0f}",
                jobs / drained_s >= SEEDS_RATE,
            ),
            Row("its processor time for each", f"{running.seconds / jobs * 1000:.2f} ms"),
            Row("nats-server's for each", f"{nats.seconds / jobs * 1000:.2f} ms"),
            Row("provider calls", calls, calls == jobs),
        ]


async def publish(rounds: int = ROUNDS) -> list[Row]:
    """A request of a job's size, until it is acknowledged: by turns to one server and the other."""
    with nats_server(durable=True) as always, nats_server() as now_and_then:
        times: dict[str, list[float]] = {"always": [], "default (2 min)": []}
        async with _streams(always.url) as one, _streams(now_and_then.url) as other:
            for _ in range(rounds):
                for name, streams in zip(times, (one, other), strict=True):
                    began_s = time.perf_counter()
                    await _put(streams)
                    times[name].append(time.perf_counter() - began_s)
    return [Row(f"publish, sync_interval {name}", _spread(found)) for name, found in times.items()]


def _spread(times: list[float]) -> str:
    cuts = quantiles(times, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"


async def _put(streams: Streams) -> None:
    data = os.urandom(REQUEST_BYTES)
    await streams.put(Names("shop").work("-"), data, ttl_s=TTL_S, message_id=new_job_id())


@asynccontextmanager
async def _streams(url: str) -> AsyncIterator[Streams]:
    link = Link((url,))
    task = asyncio.create_task(link.run())
    try:
        while not link.is_up:
            await asyncio.sleep(0.01)
        made = Streams(link)
        names = Names("shop")
        config = {"name": names.queue, "subjects": [names.work("*")], "allow_msg_ttl": True}
        await made.ensure_stream(config, version=1)
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def rate(jobs: int, *, tell: Callable[[str], None]) -> list[Row]:
    return [*await publish(), *await drain(jobs, tell)]
