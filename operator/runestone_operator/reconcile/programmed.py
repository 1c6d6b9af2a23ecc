"""The Programmed condition: is what the resource says in force in every sidecar, and if not, why.

With no sidecar at all it is true: there is nothing left to wait for, and whichever sidecar starts
will start with it. Otherwise a team that applies its resources, waits for them and only then rolls
out its pods would wait for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runestone_operator.api.conditions import PROGRAMMED, find_condition, parse_conditions
from runestone_operator.api.status import ConditionStatus
from runestone_operator.collect.views import ResourceView
from runestone_operator.compiler.verdicts import ConditionType, Kind, ResourceRef
from runestone_operator.reconcile.fleet import Fleet, Tally
from runestone_operator.reconcile.state import NamespaceState

SHORT: Final = 12  # of a digest, for people
_RECORD: Final = {Kind.PROVIDER_POOL: "pool", Kind.API_KEY: "key", Kind.ROUTING_POLICY: "policy"}


class Reason(StrEnum):
    PROGRAMMED = "Programmed"
    NO_SIDECARS = "NoSidecars"
    WAITING = "Waiting"
    NOT_ACCEPTED = "NotAccepted"
    NOT_IN_FORCE = "NotInForce"
    TOO_LARGE = "ConfigurationTooLarge"
    WRITE_FAILED = "WriteFailed"


@dataclass(frozen=True, slots=True)
class Programmed:
    is_true: bool
    reason: Reason
    message: str
    sidecars: str | None = None
    digest: str | None = None


def record_of(resource: ResourceRef) -> str:
    return f"{_RECORD[resource.kind]} {resource.namespace}/{resource.name}"


def judge(
    resource: ResourceRef, view: ResourceView, state: NamespaceState, fleet: Fleet
) -> Programmed | None:
    """None: as it stands, since what the status says is still so."""
    return _obstacle(resource, state, fleet) or _progress(resource, view, state, fleet)


def _obstacle(resource: ResourceRef, state: NamespaceState, fleet: Fleet) -> Programmed | None:
    """What stands in the way of the resource as it is now; an earlier version may be in force."""
    rollout = fleet.rollout(resource.namespace)
    in_force = rollout is not None and record_of(resource) in rollout.lines
    remark = "the last good state stays in force" if in_force else "nothing of it is in force"
    for reason, why in _obstacles(resource, state):
        return Programmed(False, reason, f"{why}; {remark}")
    return None


def _obstacles(resource: ResourceRef, state: NamespaceState) -> Iterator[tuple[Reason, str]]:
    """The one that stands before all others comes first."""
    if state.compiled.too_large is not None:
        yield Reason.TOO_LARGE, state.compiled.too_large
    if any(
        verdict.type is ConditionType.ACCEPTED and not verdict.status
        for verdict in state.verdicts.get(resource, ())
    ):
        yield Reason.NOT_ACCEPTED, "the spec is not accepted"
    if resource in state.compiled.kept:
        yield Reason.NOT_IN_FORCE, "a reference does not resolve"
    if state.failure is not None:
        yield Reason.WRITE_FAILED, str(state.failure)
    if record_of(resource) not in state.lines:
        if resource.kind is Kind.API_KEY and state.key_failure is not None:
            yield Reason.WRITE_FAILED, str(state.key_failure)
        yield Reason.NOT_IN_FORCE, "the other conditions say why"


def _progress(
    resource: ResourceRef, view: ResourceView, state: NamespaceState, fleet: Fleet
) -> Programmed | None:
    record = record_of(resource)
    rollout = fleet.rollout(resource.namespace)
    if rollout is None or rollout.lines.get(record) != state.lines[record]:
        return Programmed(False, Reason.WAITING, "the configuration is being written")
    tally = fleet.tally(resource.namespace, record)
    is_done = tally.have == tally.total
    if is_done:
        fleet.confirm(record)
    if _was_programmed(view) and not fleet.is_pending(record):
        # A sidecar that starts or restarts does not undo it.
        told_again = is_done and rollout.is_worth_telling
        return _done(tally, rollout.shown_digest[:SHORT]) if told_again else None
    if is_done:
        return _done(tally, rollout.shown_digest[:SHORT])
    short = rollout.digest[:SHORT]
    return Programmed(
        False, Reason.WAITING, _waiting(tally, short), f"{tally.have}/{tally.total}", short
    )


def _done(tally: Tally, short: str) -> Programmed:
    if not tally.total:
        message = f"published {short}…; no sidecar runs here yet"
        return Programmed(True, Reason.NO_SIDECARS, message, "0/0", short)
    count = f"{tally.have}/{tally.total}"
    return Programmed(True, Reason.PROGRAMMED, f"{count} sidecars at {short}…", count, short)


def _waiting(tally: Tally, short: str) -> str:
    silent = f"; {tally.silent} did not answer" if tally.silent else ""
    refusing = f"; {tally.refusing} refuse it, see their /health/config" if tally.refusing else ""
    return f"{tally.have}/{tally.total} sidecars at {short}…{silent}{refusing}"


def _was_programmed(view: ResourceView) -> bool:
    found = find_condition(parse_conditions(view.status), PROGRAMMED)
    return (
        found is not None
        and found.status is ConditionStatus.TRUE
        and found.observed_generation == view.generation
    )
