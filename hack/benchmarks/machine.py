"""What /proc says of processes and of the machine, and which CPU is whose."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KIB_A_MIB = 1024


@dataclass(frozen=True, slots=True)
class Cpus:
    """The gateway has one for itself; load and provider share the other."""

    gateway: int
    load: int

    @classmethod
    def choose(cls) -> "Cpus":
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise SystemExit("bench: two CPUs are needed, one of them for the gateway alone")
        return cls(allowed[0], allowed[1])


def pinned(cpu: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(cpu), *command]


def tree(pid: int) -> list[int]:
    """A process and those it started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """User and system time of the tree."""
    total = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def busy_s() -> float:
    """Of the whole machine, stolen time included."""
    user, nice, system, _, _, irq, soft, steal, *_ = (
        int(field) / TICKS for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return user + nice + system + irq + soft + steal


def memory_mib(pid: int) -> tuple[float, float]:
    """PSS and RSS. Whoever else runs this Python makes the PSS smaller; alone, it is the RSS."""
    total_kb = {"Pss:": 0, "Rss:": 0}
    for each in tree(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(" ")
            if name in total_kb:
                total_kb[name] += int(rest.split()[0])
    return total_kb["Pss:"] / KIB_A_MIB, total_kb["Rss:"] / KIB_A_MIB


def model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
