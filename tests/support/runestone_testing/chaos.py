"""`hack/chaos`: trials of what is promised of jobs, each a table and a verdict."""

from __future__ import annotations

import argparse
import asyncio
import sys

from runestone_testing.chaos_jobs import Size, campaign
from runestone_testing.chaos_outage import outage
from runestone_testing.chaos_rate import rate
from runestone_testing.chaos_table import Trial


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/chaos", description=__doc__)
    trials = parser.add_subparsers(dest="trial", required=True)
    jobs = trials.add_parser("jobs", help="kill -9 sidecars and nats-server: no job is lost")
    jobs.add_argument("--kills", type=int, default=30)
    jobs.add_argument("--jobs", type=int, default=2000, help="acknowledged with 202, at least")
    jobs.add_argument("--seed", type=int, default=1)
    jobs.add_argument("--sidecars", type=int, default=3)
    jobs.add_argument("--at-once", type=int, default=8, help="jobs that a sidecar runs at a time")
    rate = trials.add_parser("rate", help="what one sidecar drains, and what a publish takes")
    rate.add_argument("--jobs", type=int, default=2000)
    outage = trials.add_parser("outage", help="NATS is away for so long")
    outage.add_argument("--minutes", type=float, default=10)
    return parser


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _trial(options: argparse.Namespace) -> Trial:
    asked = " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name != "trial"
    )
    if options.trial == "rate":
        rows = await rate(options.jobs, tell=_tell)
    elif options.trial == "outage":
        rows = await outage(options.minutes * 60, tell=_tell)
    else:
        size = Size(
            options.kills, options.jobs, options.seed, options.sidecars, at_once=options.at_once
        )
        rows = await campaign(size, tell=_tell)
    return Trial(f"hack/chaos {options.trial} {asked}", rows)


def main() -> int:
    trial = asyncio.run(_trial(_parser().parse_args()))
    print(trial.text())
    return 0 if trial.holds else 1


if __name__ == "__main__":
    sys.exit(main())
