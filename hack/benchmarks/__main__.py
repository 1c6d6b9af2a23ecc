"""The benchmark: bare pass-through, sidecar and nginx in front of one provider, in turn.

Every scenario goes round bare, sidecar, nginx, bare: a round's unit is the mean of its two bare
runs, so that a machine that grows slower is not taken for a slower gateway.
"""

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateways import (
    BARE,
    NGINX,
    PROVIDER,
    SIDECAR,
    Gateway,
    Recipe,
    Site,
    running,
    running_provider,
)
from benchmarks.load import SCENARIOS, Scenario, run
from benchmarks.machine import Cpus, memory_mib, model
from benchmarks.results import UNIT, Results


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Bench:
    site: Site
    provider: Gateway
    seconds: int
    results: Results = field(default_factory=Results)

    def alone(self, recipe: Recipe, *, starts: int) -> None:
        """Start-up and memory, with no other gateway beside it that would share its pages."""
        results, name = self.results, recipe.name
        with running(recipe, self.site):
            pass  # the first start finds nothing cached, and is not counted
        for number in range(starts):
            with running(recipe, self.site) as gateway:
                results.ready_s.setdefault(name, []).append(gateway.ready_s)
                if number == starts - 1:
                    results.idle_mib[name] = memory_mib(gateway.pid)
                    for scenario in SCENARIOS:
                        run(scenario, gateway, self.provider, self.site.cpus, seconds=1)
                    results.loaded_mib[name] = memory_mib(gateway.pid)

    def round(self, scenario: Scenario, gateways: list[Gateway]) -> None:
        cpus, seconds = self.site.cpus, self.seconds
        (unit,) = [gateway for gateway in gateways if gateway.name == UNIT]
        before = run(scenario, unit, self.provider, cpus, seconds=seconds)
        for each in gateways:
            if each is not unit:
                outcome = run(scenario, each, self.provider, cpus, seconds=seconds)
                self.results.add(scenario, each.name, outcome)
        after = run(scenario, unit, self.provider, cpus, seconds=seconds)
        self.results.add(scenario, UNIT, before, after)


def measure(options: argparse.Namespace, folder: Path) -> str:
    cpus = Cpus.choose()
    os.sched_setaffinity(0, {cpus.load})
    recipes = [recipe for recipe in (BARE, SIDECAR, NGINX) if recipe.name not in options.without]
    with running_provider(folder, cpus) as provider, contextlib.ExitStack() as stack:
        site = Site(folder, cpus, int(provider.url.rpartition(":")[2]))
        bench = Bench(site, provider, options.seconds)
        for recipe in recipes:
            say(f"{recipe.name}: start and memory")
            bench.alone(recipe, starts=options.starts)
        gateways = [stack.enter_context(running(recipe, site)) for recipe in recipes]
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            for scenario in scenarios_of(options):
                bench.round(scenario, [*gateways, provider])
    foreign = statistics.median(bench.results.foreign)
    return "\n".join(
        [
            bench.results.table([*(recipe.name for recipe in recipes), PROVIDER]),
            "",
            f"{model()}; Python {platform.python_version()}; medians of {options.rounds} rounds "
            f"of {options.seconds} s, memory and start-up of {options.starts} starts. "
            f"Something else had {foreign:.0%} of one CPU meanwhile.",
        ]
    )


def scenarios_of(options: argparse.Namespace) -> list[Scenario]:
    return [each for each in SCENARIOS if options.only.lower() in each.name.lower()]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hack/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about a minute")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one run of one scenario")
    parser.add_argument("--starts", type=int, default=5, help="of each gateway, for its readiness")
    parser.add_argument("--only", default="", metavar="WORD", help="scenarios with it in the name")
    parser.add_argument("--without", action="append", default=[], choices=["sidecar", "nginx"])
    options = parser.parse_args(arguments)
    if not scenarios_of(options):
        parser.error(f"no scenario has {options.only!r} in its name")
    if options.quick:
        options.rounds, options.seconds, options.starts = 1, 1, 2
    return options


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="runestone-bench-") as name:
        print(measure(parse(sys.argv[1:]), Path(name)))
