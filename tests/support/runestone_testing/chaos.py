"""`hack/chaos`: trials of what is promised of jobs, each a table and a verdict."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runestone_testing.chaos_jobs import Size, campaign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runestone_testing.chaos_jobs import Row


@dataclass(frozen=True, slots=True)
class Trial:
    title: str
    rows: Sequence[Row]

    def text(self) -> str:
        lines = [f"# {self.title}", "", "| what | count | |", "|---|---|---|"]
        for row in self.rows:
            verdict = "" if row.holds is None else "ok" if row.holds else "BROKEN"
            lines.append(f"| {row.what} | {row.count} | {verdict} |")
        return "\n".join(lines)

    @property
    def holds(self) -> bool:
        return all(row.holds is not False for row in self.rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/chaos", description=__doc__)
    trials = parser.add_subparsers(dest="trial", required=True)
    jobs = trials.add_parser("jobs", help="kill -9 sidecars and nats-server: no job is lost")
    jobs.add_argument("--kills", type=int, default=30)
    jobs.add_argument("--jobs", type=int, default=2000, help="acknowledged with 202, at least")
    jobs.add_argument("--seed", type=int, default=1)
    jobs.add_argument("--sidecars", type=int, default=3)
    return parser


def main() -> int:
    options = _parser().parse_args()
    size = Size(options.kills, options.jobs, options.seed, sidecars=options.sidecars)
    trial = Trial(
        f"hack/chaos jobs --kills {size.kills} --jobs {size.jobs} --seed {size.seed}",
        asyncio.run(campaign(size, tell=lambda text: print(text, file=sys.stderr, flush=True))),
    )
    print(trial.text())
    return 0 if trial.holds else 1


if __name__ == "__main__":
    sys.exit(main())
