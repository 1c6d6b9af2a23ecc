from __future__ import annotations

from runestone_operator.publish.sidecars import Report
from runestone_operator.reconcile.fleet import REFRESHED, REMEMBERED, Fleet, Tally

ONE = {"pool shop/a": b"1", "key shop/b": b"1"}
TWO = ONE | {"key shop/b": b"2"}


def published(*, pods: tuple[str, ...] = ("x", "y"), credentials: str = "c") -> Fleet:
    fleet = Fleet()
    fleet.publish("shop", "one", ONE, credentials, pods=pods)
    return fleet


def test_nothing_runs_before_it_was_asked() -> None:
    fleet = published()
    assert fleet.tally("shop", "key shop/b") == Tally(have=0, total=2, silent=0)
    assert fleet.is_pending("key shop/b")


def test_a_sidecar_counts_when_it_runs_the_very_record() -> None:
    fleet = published()
    fleet.report("shop", {"x": Report("one", "c"), "y": None})
    assert fleet.tally("shop", "key shop/b") == Tally(have=1, total=2, silent=1)

    fleet.publish("shop", "two", TWO, "c", pods=["x", "y"])
    assert fleet.tally("shop", "key shop/b") == Tally(have=0, total=2, silent=1)
    assert fleet.tally("shop", "pool shop/a") == Tally(have=1, total=2, silent=1)

    fleet.report("shop", {"x": Report("two", "c"), "y": Report("two", "c")})
    assert fleet.tally("shop", "key shop/b") == Tally(have=2, total=2)
    rollout = fleet.rollout("shop")
    assert rollout is not None and rollout.is_settled


def test_only_what_changed_is_pending() -> None:
    fleet = published()
    for record in ONE:
        fleet.confirm(record)

    fleet.publish("shop", "two", TWO, "c", pods=[])

    assert fleet.is_pending("key shop/b")
    assert not fleet.is_pending("pool shop/a")


def test_what_another_run_had_published_is_no_news() -> None:
    fleet = Fleet()
    fleet.adopt("shop", "one", ONE, "c")
    fleet.publish("shop", "one", ONE, "c", pods=["x"])
    assert not any(fleet.is_pending(record) for record in ONE)

    fleet.publish("shop", "one", ONE, "other", pods=["x"])
    assert fleet.is_pending("pool shop/a")
    assert not fleet.is_pending("key shop/b")


def test_a_pool_wants_its_credentials_too() -> None:
    fleet = published(pods=("x",))
    fleet.report("shop", {"x": Report("one", "stale")})
    assert fleet.tally("shop", "key shop/b").have == 1
    assert fleet.tally("shop", "pool shop/a").have == 0


def test_a_configuration_long_past_runs_nothing() -> None:
    fleet = published(pods=("x",))
    fleet.report("shop", {"x": Report("one", "c")})
    for number in range(REMEMBERED):
        fleet.publish("shop", f"later {number}", ONE, "c", pods=["x"])
    assert fleet.tally("shop", "key shop/b").have == 0


def test_a_shared_pool_is_counted_wherever_it_is_used() -> None:
    fleet = published(pods=("x",))
    fleet.report("shop", {"x": Report("one", "c")})

    concerned = fleet.publish(
        "bank", "other", {"pool shop/a": b"1", "key bank/k": b"1"}, "d", pods=["z"]
    )

    assert concerned == {"shop"}
    assert fleet.tally("shop", "pool shop/a") == Tally(have=1, total=2)
    assert fleet.tally("shop", "key shop/b") == Tally(have=1, total=1)
    assert fleet.report("bank", {"z": Report("other", "d")}) == {"bank", "shop"}
    assert fleet.tally("shop", "pool shop/a") == Tally(have=2, total=2)


def test_the_same_report_concerns_nobody() -> None:
    fleet = published()
    said = {"x": Report("one", "c"), "y": None}
    assert fleet.report("shop", said) == {"shop"}
    assert fleet.report("shop", dict(said)) == set()
    assert fleet.report("unknown", said) == set()


def test_a_forgotten_namespace_leaves_no_trace() -> None:
    fleet = published()
    fleet.forget("shop")
    fleet.forget("shop")
    assert "shop" not in fleet
    assert not fleet.is_pending("key shop/b")
    assert fleet.tally("shop", "key shop/b") == Tally()
    assert fleet.states() == {"current": 0, "behind": 0}


def test_states_count_all_sidecars() -> None:
    fleet = published()
    fleet.report("shop", {"x": Report("one", "c"), "y": None})
    assert fleet.states() == {"current": 1, "behind": 1}


def test_the_shown_digest_is_the_one_they_run() -> None:
    fleet = published()
    rollout = fleet.rollout("shop")
    assert rollout is not None
    assert rollout.shown_digest == "one"
    fleet.report("shop", {"x": Report("old", "c"), "y": Report("old", "c")})
    assert rollout.shown_digest == "old"
    fleet.report("shop", {"x": Report("old", "c"), "y": Report("older", "c")})
    assert rollout.shown_digest == "one"


def test_many_resources_are_not_told_of_what_does_not_concern_them() -> None:
    fleet = Fleet()
    many = {f"key shop/{number}": b"1" for number in range(REFRESHED + 1)}
    fleet.publish("shop", "one", many, "c", pods=[])
    rollout = fleet.rollout("shop")
    assert rollout is not None and rollout.is_settled
    assert not rollout.is_worth_telling
    fleet.publish("shop", "two", ONE, "c", pods=[])
    assert rollout.is_worth_telling
