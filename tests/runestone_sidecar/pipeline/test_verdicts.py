"""The table of what a failed call means, and Retry-After in all its forms."""

from email.utils import formatdate
from time import time

import pytest

from runestone_sidecar.pipeline.verdicts import (
    FAULTS,
    Sign,
    Verdict,
    retry_after_s,
    row_of_fault,
    row_of_status,
    rows,
)
from runestone_sidecar.upstream import faults


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.CLIENT),
        (404, Verdict.CLIENT),
        (409, Verdict.CLIENT),
        (422, Verdict.CLIENT),
        (418, Verdict.CLIENT),
        (402, Verdict.CREDENTIAL),
        (401, Verdict.CREDENTIAL),
        (403, Verdict.CREDENTIAL),
        (429, Verdict.LIMITED),
        (500, Verdict.RETRY),
        (529, Verdict.RETRY),
        (302, Verdict.PROVIDER),
        (204, Verdict.PROVIDER),
    ],
    ids=str,
)
def test_statuses(status: int, verdict: Verdict) -> None:
    assert row_of_status(status).verdict is verdict


def _concrete(kind: type[faults.UpstreamFault]) -> list[type[faults.UpstreamFault]]:
    return [kind, *(deep for direct in kind.__subclasses__() for deep in _concrete(direct))]


@pytest.mark.parametrize("kind", _concrete(faults.UpstreamFault)[1:], ids=lambda kind: kind.kind)
def test_every_fault_has_a_verdict(kind: type[faults.UpstreamFault]) -> None:
    fault = kind.__new__(kind)
    faults.UpstreamFault.__init__(fault, faults.Phase.HEAD)
    if isinstance(fault, faults.LostBeforeHead):
        fault.stale = fault.begun = False
    if isinstance(fault, faults.LostMidBody):
        fault.held_up = False
    if isinstance(fault, faults.TotalTimeout):
        fault.begun = False
    assert row_of_fault(fault) in FAULTS.values()


@pytest.mark.parametrize(
    ("after", "after_ms", "seconds"),
    [
        pytest.param(b"7", None, 7.0, id="C5-seconds"),
        pytest.param(b"0.5", None, 0.5, id="fraction"),
        pytest.param(b"9", b"1500", 1.5, id="C7-milliseconds-win"),
        pytest.param(b"86400", None, 86400.0, id="C8-a-day"),
        pytest.param(b"999999999", None, 86400.0, id="C8-capped"),
        pytest.param(b"-1", None, None, id="C8-negative"),
        pytest.param(b"soon", None, None, id="C8-garbage"),
        pytest.param(b"nan", None, None, id="nan"),
        pytest.param(b"inf", None, None, id="inf"),
        pytest.param(b"", b"", None, id="empty"),
        pytest.param(None, None, None, id="absent"),
        pytest.param(b"Mon, 01 Jan 9999999999 00:00:00 GMT", None, None, id="C8-no-such-year"),
        pytest.param(b"Mon, 01 Jan 2030 00:00:00 +9999999999", None, None, id="C8-no-such-zone"),
        pytest.param(b"Mon, 01 Jan 0001 00:00:00 -0000", None, None, id="C8-the-first-year"),
        pytest.param(b"3", b"garbage", 3.0, id="bad-milliseconds-good-seconds"),
    ],
)
def test_retry_after(after: bytes | None, after_ms: bytes | None, seconds: float | None) -> None:
    assert retry_after_s(after, after_ms) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after_s(formatdate(time() + 30, usegmt=True).encode(), None)
    assert found is not None
    assert 25 <= found <= 31


def test_retry_after_in_the_past_is_none() -> None:
    assert retry_after_s(formatdate(time() - 30, usegmt=True).encode(), None) is None


PINNED = {
    Sign.ALIVE: {400, 404, 409, 413, 418, 422, 451},
    Sign.NOTHING: {401, 402, 403, 405, 408, 425, 429, 501},
    Sign.FAILURE: {204, 302, 500, 502, 503, 504, 529},
}


@pytest.mark.parametrize("sign", PINNED, ids=lambda sign: sign.name)
def test_what_statuses_say_of_health(sign: Sign) -> None:
    assert {status for status in PINNED[sign] if row_of_status(status).sign is sign} == PINNED[sign]
    assert all(row.verdict is not Verdict.CLIENT for row in rows() if row.sign is Sign.FAILURE)


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        pytest.param(faults.PoolExhausted(), Sign.NOTHING, id="no-connection-of-ours"),
        pytest.param(faults.TotalTimeout(faults.Phase.QUEUE), Sign.NOTHING, id="waiting-for-ours"),
        pytest.param(faults.TotalTimeout(faults.Phase.HEAD), Sign.FAILURE, id="no-answer"),
        pytest.param(
            faults.TotalTimeout(faults.Phase.BODY, begun=True), Sign.NOTHING, id="a-long-answer"
        ),
        pytest.param(faults.TotalTimeout(faults.Phase.BODY), Sign.FAILURE, id="only-a-head"),
        pytest.param(faults.LostBeforeHead(stale=True), Sign.NOTHING, id="C22-stale"),
        pytest.param(faults.LostBeforeHead(stale=False), Sign.FAILURE, id="lost"),
        pytest.param(faults.LostMidBody(), Sign.FAILURE, id="C22-cut"),
        pytest.param(faults.LostMidBody(held_up=True), Sign.NOTHING, id="F6-nobody-read"),
        pytest.param(faults.BodyTooLarge(1), Sign.NOTHING, id="too-large-for-us"),
        pytest.param(faults.ResolveFailed(), Sign.FAILURE, id="C3-no-such-name"),
        pytest.param(faults.TlsNotVerified(), Sign.FAILURE, id="C4-not-who-it-should-be"),
    ],
)
def test_what_faults_say_of_health(fault: faults.UpstreamFault, sign: Sign) -> None:
    assert row_of_fault(fault).sign is sign


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        pytest.param(faults.LostBeforeHead(stale=True), Verdict.RETRY, id="C22-kept"),
        pytest.param(faults.LostBeforeHead(stale=False), Verdict.RETRY, id="C22-no-byte"),
        pytest.param(
            faults.LostBeforeHead(stale=False, begun=True), Verdict.PROVIDER, id="C22-half-a-head"
        ),
        pytest.param(faults.LostMidBody(), Verdict.PROVIDER, id="C22-half-an-answer"),
    ],
)
def test_the_same_provider_is_not_asked_again_once_it_answers(
    fault: faults.UpstreamFault, verdict: Verdict
) -> None:
    assert row_of_fault(fault).verdict is verdict
