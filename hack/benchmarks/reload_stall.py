"""How long a reload keeps the sidecar's event loop from everything else.

Loads a bundle of N keys, then reloads it R times with one key changed, while a ticker asks for
1 ms naps: what a nap takes beyond that is what every stream would have waited. The same in CPU
time of the thread is what the reload itself is to blame for, however busy the machine.

    .venv/bin/python hack/benchmarks/reload_stall.py [keys] [reloads]
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


async def measure(root: Path, keys: int, reloads: int) -> None:
    holder = Holder(Metrics())
    source = Source(root / "config", root / "credentials", holder)
    late_s: list[float] = []
    busy_s: list[float] = []

    async def tick() -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            late_s.append(time.perf_counter() - wall - TICK_S)
            busy_s.append(time.thread_time() - cpu)

    def report(what: str, seconds: float) -> None:
        print(f"{what:28} took {seconds * 1e3:7.1f} ms; {len(late_s)} ticks")
        for name, values in (("stall", late_s), ("of it our CPU", busy_s)):
            values.sort()
            p50, p99 = values[len(values) // 2] * 1e3, values[int(len(values) * 0.99)] * 1e3
            print(f"{name:>28} p50 {p50:6.2f} p99 {p99:6.2f} max {values[-1] * 1e3:6.2f} ms")
            values.clear()

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.3)
    report("nothing going on", 0.3)
    bundles.publish(root, make_config(keys, 0))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    late_s.clear()
    busy_s.clear()
    started = time.perf_counter()
    await source.refresh()
    report(f"first load of {keys} keys", time.perf_counter() - started)
    total_s = 0.0
    gathered: tuple[list[float], list[float]] = ([], [])
    for revision in range(1, reloads + 1):
        bundles.publish(root, make_config(keys, revision))  # type: ignore[arg-type]
        gc.collect()
        await asyncio.sleep(0.05)
        late_s.clear()
        busy_s.clear()
        started = time.perf_counter()
        await source.refresh()
        total_s += time.perf_counter() - started
        await asyncio.sleep(0)
        gathered[0].extend(late_s)
        gathered[1].extend(busy_s)
    late_s[:], busy_s[:] = gathered
    report(f"{reloads} reloads, one key changed", total_s / reloads)
    assert holder.current is not None
    assert len(holder.current.keys) == keys
    ticker.cancel()


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(Path(folder), *(arguments or [10_000, 20])))
