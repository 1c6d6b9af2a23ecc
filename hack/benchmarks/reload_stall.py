"""How long a reload keeps the sidecar's event loop from everything else.

Loads a bundle of N keys, then reloads it R times with one key changed, while a ticker asks for
1 ms naps: what a nap takes beyond that is what every stream would have waited. The same in CPU
time of the thread is what the reload itself is to blame for, however busy the machine.

    PYTHONPATH=tests/support .venv/bin/python hack/benchmarks/reload_stall.py [keys] [reloads]
"""

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.source import Source
from runestone_sidecar.telemetry.metrics import Metrics
from runestone_testing import bundles

TICK_S = 0.001


def make_config(keys: int, revision: int) -> object:
    return bundles.config(
        bundles.provider("http://127.0.0.1:1/v1"),
        keys=tuple(
            bundles.key(
                f"key-{number}",
                secret=f"sk-rs-bench-{number:020}",
                allowed_models=["gpt-4o*", "claude-*"],
                service_accounts=[f"account-{number}"],
                tenant=f"team-{number % 50}-{revision if number == 0 else 0}",
            )
            for number in range(keys)
        ),
    )


class Ticker:
    """Naps without end, and what each took beyond its 1 ms: on the clock and in our CPU time."""

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self.busy_s: list[float] = []

    async def run(self) -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            self.late_s.append(time.perf_counter() - wall - TICK_S)
            self.busy_s.append(time.thread_time() - cpu)

    def take(self) -> tuple[list[float], list[float]]:
        taken = self.late_s, self.busy_s
        self.late_s, self.busy_s = [], []
        return taken


def report(what: str, seconds: float, ticks: tuple[list[float], list[float]]) -> None:
    print(f"{what:28} took {seconds * 1e3:7.1f} ms; {len(ticks[0])} ticks")
    for name, unsorted in zip(("stall", "of it our CPU"), ticks, strict=True):
        values = sorted(unsorted)
        p50, p99 = values[len(values) // 2] * 1e3, values[int(len(values) * 0.99)] * 1e3
        print(f"{name:>28} p50 {p50:6.2f} p99 {p99:6.2f} max {values[-1] * 1e3:6.2f} ms")


async def refresh(source: Source, ticker: Ticker) -> float:
    """Seconds that one took; the ticker holds the ticks of that time alone."""
    ticker.take()
    started = time.perf_counter()
    await source.refresh()
    return time.perf_counter() - started


async def measure(root: Path, keys: int, reloads: int) -> None:
    holder = Holder(Metrics())
    source = Source(root / "config", root / "credentials", holder)
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.3)
    report("nothing going on", 0.3, ticker.take())
    bundles.publish(root, make_config(keys, 0))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    report(f"first load of {keys} keys", await refresh(source, ticker), ticker.take())
    total_s = 0.0
    late_s: list[float] = []
    busy_s: list[float] = []
    for revision in range(1, reloads + 1):
        bundles.publish(root, make_config(keys, revision))  # type: ignore[arg-type]
        gc.collect()
        await asyncio.sleep(0.05)
        total_s += await refresh(source, ticker)
        await asyncio.sleep(0)
        late, busy = ticker.take()
        late_s += late
        busy_s += busy
    report(f"{reloads} reloads, one key changed", total_s / reloads, (late_s, busy_s))
    assert holder.current is not None
    assert len(holder.current.keys) == keys
    ticking.cancel()


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(Path(folder), *(arguments or [10_000, 20])))
