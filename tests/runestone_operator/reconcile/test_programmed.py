from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runestone_operator.api.load import Rejected
from runestone_operator.collect.views import ResourceView
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import Inputs
from runestone_operator.compiler.verdicts import Kind, ResourceRef
from runestone_operator.errors import RefusedError
from runestone_operator.publish.sidecars import Report
from runestone_operator.reconcile.fleet import Fleet
from runestone_operator.reconcile.programmed import Programmed, Reason, judge, record_of
from runestone_operator.reconcile.state import NamespaceState, generations_of
from runestone_testing.bodies import view
from runestone_testing.resources import pool

POOL = ResourceRef(Kind.PROVIDER_POOL, "shop", "pool")
RECORD = record_of(POOL)
LINES = {RECORD: b"1"}
DIGEST = "5f2c" * 16


def seen(status: dict[str, Any] | None = None, **spec: Any) -> ResourceView:
    found = view(pool("shop", **spec) | ({"status": status} if status else {}))
    assert isinstance(found, ResourceView)
    return found


def state_of(shown: ResourceView) -> NamespaceState:
    if isinstance(shown.resource, Rejected):
        inputs = Inputs("shop", unparsed=[shown.resource])
    else:
        inputs = Inputs("shop", pools=[shown.resource])  # type: ignore[list-item]
    lines = {} if isinstance(shown.resource, Rejected) else LINES
    return NamespaceState(compile_namespace(inputs), lines, generations_of(inputs))


def fleet_of(*reports: Report | None, lines: dict[str, bytes] | None = None) -> Fleet:
    fleet = Fleet()
    pods = [str(number) for number in range(len(reports))]
    fleet.publish("shop", DIGEST, LINES if lines is None else lines, "c", pods=pods)
    fleet.report("shop", dict(zip(pods, reports, strict=True)))
    return fleet


def status_of(programmed: str, *, generation: int = 1) -> dict[str, Any]:
    condition = {
        "type": "Programmed",
        "status": programmed,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Programmed",
        "message": "1/1 sidecars at abc…",
    }
    return {"conditions": [condition]}


RUNS, BEHIND = Report(DIGEST, "c"), Report("older", "c")


SHORT = "5f2c5f2c5f2c"


@pytest.mark.parametrize(
    ("reports", "reason", "message", "count"),
    [
        pytest.param(
            (),
            Reason.NO_SIDECARS,
            f"published {SHORT}…; no sidecar runs here yet",
            "0/0",
            id="no sidecar",
        ),
        pytest.param(
            (RUNS, RUNS, RUNS),
            Reason.PROGRAMMED,
            f"3/3 sidecars at {SHORT}…",
            "3/3",
            id="all of them",
        ),
        pytest.param(
            (RUNS, BEHIND),
            Reason.WAITING,
            f"1/2 sidecars at {SHORT}…",
            "1/2",
            id="one is behind",
        ),
        pytest.param(
            (RUNS, None),
            Reason.WAITING,
            f"1/2 sidecars at {SHORT}…; 1 did not answer",
            "1/2",
            id="one is silent",
        ),
        pytest.param(
            (RUNS, Report("older", "c", refuses=True)),
            Reason.WAITING,
            f"1/2 sidecars at {SHORT}…; 1 refuse it, see their /health/config",
            "1/2",
            id="one is too old",
        ),
    ],
)
def test_progress(
    reports: tuple[Report | None, ...], reason: Reason, message: str, count: str
) -> None:
    shown, is_true = seen(), reason is not Reason.WAITING
    judged = judge(POOL, shown, state_of(shown), fleet_of(*reports))
    assert judged == Programmed(is_true, reason, message, count, SHORT)


def test_what_was_programmed_stays_so_while_a_sidecar_starts() -> None:
    shown = seen(status_of("True"))
    fleet = fleet_of(RUNS, BEHIND)
    fleet.confirm(RECORD)
    assert judge(POOL, shown, state_of(shown), fleet) is None


@pytest.mark.parametrize(
    "status",
    [status_of("False"), status_of("True", generation=0), {}],
    ids=["was not", "an earlier spec was", "never was"],
)
def test_what_was_not_waits_for_all(status: dict[str, Any]) -> None:
    shown = seen(status)
    fleet = fleet_of(RUNS, BEHIND)
    fleet.confirm(RECORD)
    judged = judge(POOL, shown, state_of(shown), fleet)
    assert judged is not None and judged.reason is Reason.WAITING


def with_compiled(state: NamespaceState, **changes: Any) -> NamespaceState:
    compiled: Compiled = replace(state.compiled, **changes)
    return NamespaceState(compiled, state.lines, state.generations)


IN_FORCE = "the last good state stays in force"
NOTHING = "nothing of it is in force"


@pytest.mark.parametrize(
    ("lines", "remark"),
    [pytest.param({RECORD: b"1"}, IN_FORCE, id="there"), pytest.param({}, NOTHING, id="not there")],
)
def test_obstacles_are_named(lines: dict[str, bytes], remark: str) -> None:
    shown, invalid = seen(), seen(strategy="Best")
    fleet, good = fleet_of(lines=lines), state_of(shown)
    refused = RefusedError(verb="apply", what="ConfigMap x", status=403, reason="Forbidden")
    failed = state_of(shown)
    failed.failure = refused
    large = with_compiled(good, bundle=None, too_large="it is large")
    kept = with_compiled(good, kept=frozenset({POOL}))
    for state, reason, why in (
        (large, "ConfigurationTooLarge", "it is large"),
        (state_of(invalid), "NotAccepted", "the spec is not accepted"),
        (kept, "NotInForce", "a reference does not resolve"),
        (failed, "WriteFailed", "apply ConfigMap x: Forbidden (403)"),
    ):
        judged = judge(POOL, shown, state, fleet)
        assert judged == Programmed(False, Reason(reason), f"{why}; {remark}")


def test_without_a_record_the_other_conditions_say_why() -> None:
    shown = seen()
    state = state_of(shown)
    state.lines = {}
    judged = judge(POOL, shown, state, fleet_of(lines={}))
    assert judged is not None
    assert judged.reason is Reason.NOT_IN_FORCE


@pytest.mark.parametrize(
    "fleet",
    [
        pytest.param(Fleet(), id="nothing ever written"),
        pytest.param(fleet_of(RUNS, lines={RECORD: b"before"}), id="an earlier one in force"),
        pytest.param(fleet_of(RUNS, lines={}), id="one without it in force"),
    ],
)
@pytest.mark.parametrize("was", ["True", "False"])
def test_what_is_compiled_and_not_yet_written_is_not_programmed(fleet: Fleet, was: str) -> None:
    shown = seen(status_of(was))
    judged = judge(POOL, shown, state_of(shown), fleet)
    assert judged == Programmed(False, Reason.WAITING, "the configuration is being written")


def test_generations_are_those_that_were_compiled() -> None:
    shown = view(pool("shop"), generation=7)
    assert isinstance(shown, ResourceView)
    inputs = Inputs("shop", pools=[shown.resource])  # type: ignore[list-item]
    assert generations_of(inputs) == {POOL: 7}
