"""The scenarios, and one run of wrk through a gateway, with what it cost there."""

import json
import resource
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gateways import CLIENT_KEY, Gateway
from benchmarks.machine import Cpus, busy_s, cpu_s, pinned

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    connections: int
    prompt_bytes: int = 1024
    stream: bool = False
    interval_ms: int = 0
    floor_s: int = 1  # shorter makes no sense


SCENARIOS = (
    Scenario("JSON 1 KB, c=1", 1),
    Scenario("JSON 1 KB, c=16", 16),
    Scenario("JSON 1 KB, c=64", 64),
    Scenario("JSON 100 KB, c=16", 16, prompt_bytes=100 * 1024),
    Scenario("SSE unpaced, c=16", 16, stream=True),
    Scenario("SSE every 20 ms, c=64", 64, stream=True, interval_ms=20, floor_s=3),
)


@dataclass(frozen=True, slots=True)
class Run:
    """Of one scenario through one gateway."""

    cpu_us: float  # of the gateway, for each request or, where it streams, each event
    rate: float  # requests or events a second
    p50_ms: float
    p99_ms: float
    foreign: float  # CPUs that something else had meanwhile


def counters(provider: Gateway, query: str = "") -> dict[str, int]:
    with urllib.request.urlopen(f"{provider.url}/control?{query}", timeout=10) as answer:
        return {name: int(value) for name, value in json.load(answer).items()}


def run(
    scenario: Scenario, gateway: Gateway, provider: Gateway, cpus: Cpus, *, seconds: int
) -> Run:
    before = counters(provider, f"interval_ms={scenario.interval_ms}")
    cpu0, mine0, busy0 = cpu_s(gateway.pid), cpu_s(provider.pid), busy_s()
    outcome, wrk_s = _wrk(scenario, gateway.url, cpus, max(seconds, scenario.floor_s))
    cpu, mine, busy = cpu_s(gateway.pid) - cpu0, cpu_s(provider.pid) - mine0, busy_s() - busy0
    after = counters(provider)
    unit = "chunks" if scenario.stream else "calls"
    count = after[unit] - before[unit]
    if outcome["failed"] or not count:
        raise SystemExit(
            f"bench: {scenario.name} through {gateway.name}: {outcome['failed']} failed requests, "
            f"{count} {unit} at the provider"
        )
    own = mine + wrk_s + (cpu if gateway.pid != provider.pid else 0)
    return Run(
        cpu_us=cpu / count * 1e6,
        rate=count / outcome["seconds"],
        p50_ms=outcome["p50_ms"],
        p99_ms=outcome["p99_ms"],
        foreign=max(0.0, busy - own) / outcome["seconds"],
    )


def _wrk(scenario: Scenario, url: str, cpus: Cpus, seconds: int) -> tuple[dict[str, Any], float]:
    """What post.lua says, and the CPU seconds that wrk took."""
    command = [
        *("wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "30s"),
        *("-s", str(SCRIPT), url, "--"),
        *(CLIENT_KEY, str(scenario.stream).lower(), str(scenario.prompt_bytes)),
    ]
    used = _children_cpu_s()
    done = subprocess.run(pinned(cpus.load, command), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), _children_cpu_s() - used


def _children_cpu_s() -> float:
    """Of those that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
