"""Which sidecars run which record: what was published of late, and what each sidecar reports.

A resource is programmed when every sidecar runs its very record, whatever else has changed since:
so a change of one resource says nothing about the others, and in lasting churn resources settle.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from runestone_operator.collect.published import Lines
from runestone_operator.publish.sidecars import Report

REFRESHED: Final = 100  # more resources of a namespace are told of their own changes only
REMEMBERED: Final = 4  # configurations of a namespace: a sidecar may be a few behind

NOT_ASKED: Final = Report("", "")  # which is not the same as no answer

Reports = Mapping[str, Report | None]


def is_pool(record: str) -> bool:
    return record.startswith("pool ")


@dataclass(slots=True)
class Rollout:
    """Of one namespace: what was published, newest last, and what its sidecars run."""

    digest: str = ""
    credentials: str = ""
    recent: OrderedDict[str, Lines] = field(default_factory=OrderedDict)
    reports: Reports = field(default_factory=dict)

    @property
    def lines(self) -> Lines:
        return self.recent.get(self.digest, {})

    @property
    def up_to_date(self) -> int:
        newest = (self.digest, self.credentials)
        reports = (report for report in self.reports.values() if report is not None)
        return sum((report.digest, report.credentials) == newest for report in reports)

    @property
    def behind(self) -> set[str]:
        """Pods, by uid, whose sidecars would run the newest if they had it."""
        newest = (self.digest, self.credentials)
        return {
            pod
            for pod, report in self.reports.items()
            if report and not report.refuses and (report.digest, report.credentials) != newest
        }

    @property
    def is_settled(self) -> bool:
        return self.up_to_date == len(self.reports)

    @property
    def shown_digest(self) -> str:
        """What the sidecars run if they agree, else what they should."""
        reported = {report.digest for report in self.reports.values() if report is not None}
        return reported.pop() if len(reported) == 1 and "" not in reported else self.digest

    @property
    def is_worth_telling(self) -> bool:
        """Whether resources that have not changed should name the new configuration as well."""
        return self.is_settled and len(self.lines) <= REFRESHED

    def replace(self, digest: str, lines: Lines, credentials: str) -> set[str]:
        """Returns the records that every sidecar has yet to take over."""
        before, changed_credentials = self.lines, credentials != self.credentials
        changed = {record for record, line in lines.items() if before.get(record) != line}
        if changed_credentials:
            changed |= {record for record in lines if is_pool(record)}
        self.digest, self.credentials = digest, credentials
        self.recent[digest] = lines
        self.recent.move_to_end(digest)
        while len(self.recent) > REMEMBERED:
            self.recent.popitem(last=False)
        return changed

    def runs(self, report: Report | None, record: str) -> bool:
        if report is None or (is_pool(record) and report.credentials != self.credentials):
            return False
        line = self.recent.get(report.digest, {}).get(record)
        return line is not None and line == self.lines.get(record)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sidecars that run a record, of those that should; `silent` ones do not answer, and others
    refuse what was published, as of a version that they do not know."""

    have: int = 0
    total: int = 0
    silent: int = 0
    refusing: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.have + other.have,
            self.total + other.total,
            self.silent + other.silent,
            self.refusing + other.refusing,
        )


class Fleet:
    """All namespaces: a shared pool's record is run by the sidecars of many."""

    def __init__(self) -> None:
        self._rollouts: dict[str, Rollout] = {}
        self._pending: set[str] = set()

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._rollouts

    def rollout(self, namespace: str) -> Rollout | None:
        return self._rollouts.get(namespace)

    def adopt(self, namespace: str, digest: str, lines: Lines, credentials: str) -> None:
        """What another run of the operator had published: nothing of it is news."""
        self._rollouts[namespace] = rollout = Rollout()
        rollout.replace(digest, lines, credentials)

    def publish(
        self, namespace: str, digest: str, lines: Lines, credentials: str, *, pods: Iterable[str]
    ) -> set[str]:
        """`pods`, by uid, are those to run it. Returns the namespaces, other than this, whose pools
        are concerned."""
        rollout = self._rollouts.setdefault(namespace, Rollout())
        changed = rollout.replace(digest, lines, credentials)
        rollout.reports = {pod: rollout.reports.get(pod, NOT_ASKED) for pod in pods}
        self._pending |= changed
        return _homes(changed) - {namespace}

    def report(self, namespace: str, reports: Reports) -> set[str]:
        """What the sidecars run now. Returns the namespaces whose resources are concerned."""
        rollout = self._rollouts.get(namespace)
        if rollout is None or rollout.reports == reports:
            return set()
        rollout.reports = reports
        return _homes(record for record in rollout.lines if is_pool(record)) | {namespace}

    def forget(self, namespace: str) -> None:
        rollout = self._rollouts.pop(namespace, None)
        if rollout is not None:
            self._pending -= {record for record in rollout.lines if _home(record) == namespace}

    def is_pending(self, record: str) -> bool:
        return record in self._pending

    def confirm(self, record: str) -> None:
        self._pending.discard(record)

    def tally(self, namespace: str, record: str) -> Tally:
        """Of a record of this namespace, wherever it is in use."""
        where = self._rollouts.values() if is_pool(record) else [self._rollouts.get(namespace)]
        return sum((_tally(rollout, record) for rollout in where if rollout), start=Tally())

    def states(self) -> Mapping[str, int]:
        """Of all sidecars: up to date, behind."""
        total = sum(len(rollout.reports) for rollout in self._rollouts.values())
        current = sum(rollout.up_to_date for rollout in self._rollouts.values())
        return {"current": current, "behind": total - current}


def _tally(rollout: Rollout, record: str) -> Tally:
    if record not in rollout.lines:
        return Tally()
    reports = rollout.reports.values()
    return Tally(
        have=sum(rollout.runs(report, record) for report in reports),
        total=len(reports),
        silent=sum(report is None for report in reports),
        refusing=sum(report is not None and report.refuses for report in reports),
    )


def _homes(records: Iterable[str]) -> set[str]:
    return {_home(record) for record in records}


def _home(record: str) -> str:
    """ "pool shop/house" -> "shop"."""
    return record.partition(" ")[2].partition("/")[0]
