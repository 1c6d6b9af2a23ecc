"""Write tests/faults/README.md: which tests show each fault survived, and how they ended.

Usage: hack/fault-table            runs these tests and writes the table
       hack/fault-table --check    runs none; fails when the committed table names other tests
"""

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from runestone_testing.fault_catalog import FAULTS, SECTIONS, fault_of

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "tests" / "faults" / "README.md"

HEAD = """\
# Faults survived

Written by `hack/fault-table` from the tests' own ids: what is done to a sidecar, what is wanted,
the tests that show it, and how many of their cases passed. `hack/check` keeps the list of tests
true; CI runs them all.
"""


class Cases:
    """A pytest plugin that keeps the cases whose id names a fault, and their outcomes."""

    def __init__(self) -> None:
        self.by_fault: defaultdict[str, dict[str, str]] = defaultdict(dict)  # id -> outcome

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept = []
        for item in items:
            if (fault := fault_of(item.nodeid)) is not None:
                self.by_fault[fault][item.nodeid] = "not run"
                kept.append(item)
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fault = fault_of(report.nodeid)
        if fault is not None and (report.when == "call" or report.outcome != "passed"):
            self.by_fault[fault][report.nodeid] = report.outcome


def functions(cases: dict[str, str]) -> list[str]:
    return sorted({nodeid.partition("[")[0].removeprefix("tests/") for nodeid in cases})


def result(cases: dict[str, str]) -> str:
    passed = sum(outcome == "passed" for outcome in cases.values())
    return f"{passed} of {len(cases)} passed"


def render(cases: Cases, *, ran: bool) -> str:
    lines = [HEAD]
    for section, title in SECTIONS.items():
        lines += [f"## {section}. {title}", "| | what is done | what is wanted | tests | result |"]
        lines.append("|---|---|---|---|---|")
        for number, (done, wanted) in FAULTS.items():
            if number[0] == section:
                found = cases.by_fault[number]
                names = "<br>".join(f"`{name}`" for name in functions(found)) or "none"
                told = result(found) if ran else ""
                lines.append(f"| {number} | {done} | {wanted} | {names} | {told} |")
        lines.append("")
    return "\n".join(lines)


def without_results(table: str) -> list[str]:
    """A row's last column is what a run said; the rest is what there is."""
    return [line.rpartition("| ")[0] if line.count("|") > 5 else line for line in table.split("\n")]


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__)
        return 2
    os.chdir(ROOT)
    cases = Cases()
    options = ["-q", "--no-header", "-p", "no:cacheprovider"]
    if check:
        options += ["--collect-only", "-q", "-q"]
    code = pytest.main([*options, "tests"], plugins=[cases])
    table = render(cases, ran=not check)
    if check:
        if without_results(TABLE.read_text()) != without_results(table):
            print(f"{TABLE.relative_to(ROOT)} names other tests than there are: hack/fault-table")
            return 1
        return 0
    TABLE.write_text(table)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
