"""How many connections are let in, and which go to make room."""

import pytest

from runestone_sidecar.edge.bounds import Bounds
from runestone_sidecar.edge.door import MAX_CONNECTIONS, Door, connections_within


class Visitor:
    def __init__(self) -> None:
        self.looked_at: list[float] = []
        self.asked_to_leave: list[float] = []

    def look(self, now_s: float) -> None:
        self.looked_at.append(now_s)

    def leave_if_idle(self, since_s: float) -> None:
        self.asked_to_leave.append(since_s)


@pytest.mark.parametrize(
    ("files", "wanted", "allowed"),
    [
        pytest.param(256, 0, 96, id="half-of-what-is-free"),
        pytest.param(1_048_576, 0, MAX_CONNECTIONS, id="at-most"),
        pytest.param(40, 0, 1, id="at-least-one"),
        pytest.param(1024, 900, 900, id="as-wanted"),
        pytest.param(1024, 5000, 960, id="not-beyond-the-files"),
        pytest.param(1_048_576, 100_000, 100_000, id="more-if-wanted"),
    ],
)
def test_f9_connections_fit_the_limit_of_files(files: int, wanted: int, allowed: int) -> None:
    assert connections_within(files, wanted) == allowed


def test_room_is_made_once_in_a_while() -> None:
    door, visitors = Door(Bounds()), [Visitor(), Visitor()]
    for now_s in (10.0, 10.5, 11.1):
        door.make_room(visitors, now_s)
    assert [visitor.asked_to_leave for visitor in visitors] == [[5.0, 6.1]] * 2


def test_all_are_looked_at_and_refusals_are_told_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door, visitors = Door(Bounds(connections=1)), [Visitor()]
    door.look(visitors, 1.0)
    assert caplog.messages == []
    for now_s in (2.0, 3.0, 13.0):
        door.make_room(visitors, now_s)
        door.look(visitors, now_s)
    assert visitors[0].looked_at == [1.0, 2.0, 3.0, 13.0]
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "1 connections were turned away",
        "2 connections were turned away",
    ]


@pytest.mark.parametrize(
    ("bounds", "every_s"),
    [
        pytest.param(Bounds(), 1.0, id="once-a-second"),
        pytest.param(Bounds(head_s=0.5), 0.25, id="twice-within-the-shortest"),
    ],
)
def test_how_often_it_looks(bounds: Bounds, every_s: float) -> None:
    assert bounds.look_every_s == every_s
