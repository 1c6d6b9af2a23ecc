"""Every run of a benchmark, and all of them as one table: medians, and ratios to the bare row."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.gateways import PROVIDER
from benchmarks.load import SCENARIOS, Run, Scenario

UNIT = "bare"  # what everything is measured in

Read = Callable[[Run], float]


@dataclass(slots=True)
class Results:
    ready_s: dict[str, list[float]] = field(default_factory=dict)
    idle_mib: dict[str, tuple[float, float]] = field(default_factory=dict)  # PSS, RSS
    loaded_mib: dict[str, tuple[float, float]] = field(default_factory=dict)
    # scenario -> gateway -> a run a round; the two bare runs of a round count as one
    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)

    def add(self, scenario: Scenario, gateway: str, *runs: Run) -> None:
        self.foreign += [each.foreign for each in runs]
        of_scenario = self.runs.setdefault(scenario.name, {})
        of_scenario.setdefault(gateway, []).append(_mean(runs))

    def table(self, gateways: Sequence[str]) -> str:
        """Markdown."""
        header = "| " + "".join(
            f"| {name} " if name in {UNIT, PROVIDER} else f"| {name} | × {UNIT} "
            for name in gateways
        )
        lines = [f"{header}|", "|---" + "|---:" * (header.count("|") - 1) + "|"]
        for scenario in SCENARIOS:
            if scenario.name in self.runs:
                lines += self._scenario(scenario, gateways)
        lines.append(_line("ready, s", self.ready_s, gateways, digits=2))
        for title, memory in (("idle", self.idle_mib), ("after load", self.loaded_mib)):
            for number, kind in enumerate(("PSS", "RSS")):
                values = {name: [found[number]] for name, found in memory.items()}
                lines.append(_line(f"{kind} {title}, MiB", values, gateways, digits=0))
        return "\n".join(lines)

    def _scenario(self, scenario: Scenario, gateways: Sequence[str]) -> list[str]:
        def line(title: str, read: Read, digits: int) -> str:
            values = {
                name: [read(each) for each in runs]
                for name, runs in self.runs[scenario.name].items()
            }
            return _line(f"{scenario.name}: {title}", values, gateways, digits=digits)

        if scenario.stream:
            return [
                line("CPU µs an event", lambda r: r.cpu_us, 1),
                line("events/s", lambda r: r.rate, 0),
            ]
        lines = [
            line("CPU ms a request", lambda r: r.cpu_us / 1e3, 3),
            line("requests/s", lambda r: r.rate, 0),
        ]
        if scenario.connections == 1:
            lines += [
                line("p50 ms", lambda r: r.p50_ms, 2),
                line("p99 ms", lambda r: r.p99_ms, 2),
            ]
        return lines


def _mean(runs: Sequence[Run]) -> Run:
    def of(read: Read) -> float:
        return statistics.fmean(read(each) for each in runs)

    return Run(
        cpu_us=of(lambda r: r.cpu_us),
        rate=of(lambda r: r.rate),
        p50_ms=of(lambda r: r.p50_ms),
        p99_ms=of(lambda r: r.p99_ms),
        foreign=of(lambda r: r.foreign),
    )


def _line(
    title: str, values: dict[str, list[float]], gateways: Sequence[str], *, digits: int
) -> str:
    cells: list[str] = []
    for name in gateways:
        found = values.get(name, [])
        cells.append(f"{statistics.median(found):,.{digits}f}" if found else "–")
        if name not in {UNIT, PROVIDER}:
            ratios = [a / b for a, b in zip(found, values.get(UNIT, []), strict=False) if b]
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "–")
    return f"| {title} | {' | '.join(cells)} |"
