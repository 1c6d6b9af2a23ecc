"""What is a trace context, and what is taken for none."""

from __future__ import annotations

import pytest

from runestone_sidecar.telemetry.trace_context import NO_TRACE, read_trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()


def test_it_goes_on_as_it_came() -> None:
    found = read_trace(PARENT, b"vendor=1,other=2")
    assert found.trace_id == TRACE
    assert found.lines == b"traceparent: %b\r\ntracestate: vendor=1,other=2\r\n" % PARENT


def test_a_later_version_may_say_more() -> None:
    later = PARENT.replace(b"00", b"01", 1) + b"-more"
    found = read_trace(later, None)
    assert found.lines == b"traceparent: %b\r\n" % later


@pytest.mark.parametrize(
    "state",
    [b"a" * 513, b"a\r\nx-evil: 1", b"\xff", b""],
    ids=["too-long", "two-lines", "not-ascii", "empty"],
)
def test_a_state_that_is_none_is_left_out(state: bytes) -> None:
    found = read_trace(PARENT, state)
    assert found.lines == b"traceparent: %b\r\n" % PARENT


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PARENT.upper(), id="upper-case"),
        pytest.param(PARENT + b"-more", id="more-than-version-00-has"),
        pytest.param(PARENT.replace(b"00", b"ff", 1), id="no-version"),
        pytest.param(f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(), id="no-trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01".encode(), id="no-parent"),
        pytest.param(PARENT + b"\r\nx-evil: 1", id="two-lines"),
        pytest.param(PARENT[:-1], id="cut"),
    ],
)
def test_what_is_none_is_as_if_there_were_none(parent: bytes) -> None:
    assert read_trace(parent, None) is NO_TRACE
