"""Traffic that is split by weight: in which shares, and who stays where."""

import random
from collections import Counter
from collections.abc import Mapping

import pytest

from runestone_contract.config import CircuitBreaker, Model, Rule, Target
from runestone_sidecar.admit.cooldown import Reason
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Router
from runestone_sidecar.config.snapshot import Snapshot
from runestone_testing.routing import order, pool, provider, query, snapshot

RULES = CircuitBreaker(failure_threshold=1, open_for_ms=30_000)
WEIGHTS: Mapping[str, int] = {"x": 50, "y": 25, "z": 25}
USERS = [str(number) for number in range(400)]


def split(sticky_by: str) -> Snapshot:
    rules = (
        Rule(
            name="ab",
            sticky_by=sticky_by,
            targets=(
                Target(pool="shop/one", weight=90),
                Target(pool="shop/two", model="other", weight=10),
            ),
        ),
    )
    return snapshot(pool("one", provider("a")), pool("two", provider("b", "other")), rules=rules)


def test_weights_split_the_traffic_and_the_loser_stands_by() -> None:
    found, router = split("Request"), Router(load=LoadStore(), random=random.Random(7))
    firsts = Counter(order(found, router=router)[0] for _ in range(2000))
    assert 1740 <= firsts["one/a"] <= 1860  # 90 % of 2000 is 1800; four sigma is 54
    assert order(found, router=router)[1:] != []


def test_stickiness_keeps_a_user_on_one_side() -> None:
    found = split("User")
    firsts = {user: order(found, query(user=user))[0] for user in map(str, range(500))}
    again = {user: order(found, query(user=user))[0] for user in map(str, range(500))}
    assert firsts == again
    assert 20 <= list(firsts.values()).count("two/b") <= 85


def test_stickiness_by_key_gives_every_request_of_it_the_same_side() -> None:
    assert len({order(split("ApiKey"))[0] for _ in range(50)}) == 1


def of_three(sticky_by: str = "Request", /, x: Mapping[str, object] = {}) -> Snapshot:
    """A target for each of three providers; `x` is what is the matter with the first."""
    able = Model(name="m", upstream="m", capabilities=("Chat", "Tools"))
    rules = (
        Rule(
            name="r",
            sticky_by=sticky_by,
            targets=tuple(
                Target(pool="shop/p", provider=name, weight=weight)
                for name, weight in WEIGHTS.items()
            ),
        ),
    )
    found = [
        provider(name, **({"models": [able]} | (dict(x) if name == "x" else {})))
        for name in WEIGHTS
    ]
    return snapshot(pool("p", *found), rules=rules)


def trip(router: Router) -> None:
    load = router.load.of("shop/p/x")
    load.breaker.failed(RULES, "request", router.load.now_s())
    load.settle()


def pause(router: Router) -> None:
    load = router.load.of("shop/p/x")
    load.cooldowns.pause(None, Reason.OVERLOADED, 30.0, router.load.now_s())
    load.settle()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fresh(clock: Clock | None = None) -> Router:
    return Router(load=LoadStore(clock or Clock()), random=random.Random(5))


@pytest.mark.parametrize(
    "matter",
    [
        pytest.param({"models": [Model(name="other", upstream="other")]}, id="does-not-serve-it"),
        pytest.param({"credentials": ["absent"]}, id="no-credentials"),
        pytest.param(
            {"models": [Model(name="m", upstream="m", capabilities=("Chat",))]}, id="unfit"
        ),
        pytest.param(trip, id="breaker-open"),
        pytest.param(pause, id="overloaded"),
    ],
)
@pytest.mark.parametrize("sticky_by", ["Request", "User"])
def test_the_share_of_one_that_cannot_goes_to_all_others(matter: object, sticky_by: str) -> None:
    router = fresh()
    if callable(matter):
        matter(router)
        found = of_three(sticky_by)
    else:
        assert isinstance(matter, dict)
        found = of_three(sticky_by, matter)
    asked = [query(user=user, needs=frozenset({"Chat", "Tools"})) for user in USERS]
    firsts = Counter(order(found, each, router)[0] for each in asked)
    assert set(firsts) == {"p/y", "p/z"}
    assert 160 <= firsts["p/y"] <= 240  # half of 400 is 200; four sigma is 40


def test_all_that_are_able_get_what_their_weights_say() -> None:
    found, router = of_three(), fresh()
    firsts = Counter(order(found, router=router)[0] for _ in range(2000))
    assert 910 <= firsts["p/x"] <= 1090  # four sigma is 90
    assert 422 <= firsts["p/y"] <= 578  # and 78


def test_who_sticks_to_one_that_cannot_comes_back_and_nobody_else_moves() -> None:
    clock = Clock()
    found, router = of_three("User"), fresh(clock)

    def firsts() -> dict[str, str]:
        return {user: order(found, query(user=user), router)[0] for user in USERS}

    before = firsts()
    trip(router)
    meanwhile = firsts()
    assert firsts() == meanwhile
    assert {user for user in USERS if meanwhile[user] != before[user]} == {
        user for user in USERS if before[user] == "p/x"
    }
    clock.now_s = 30.0
    assert firsts() == before


def test_who_is_failed_over_goes_where_it_would_go_were_the_first_left_alone() -> None:
    found, router = of_three("User"), fresh()
    seconds = {user: order(found, query(user=user), router)[1] for user in USERS}
    stuck = [user for user in USERS if order(found, query(user=user), router)[0] == "p/x"]
    assert {seconds[user] for user in stuck} == {"p/y", "p/z"}
    trip(router)
    for user in stuck:
        assert order(found, query(user=user), router)[0] == seconds[user]


def test_no_weight_is_no_traffic_as_long_as_others_are_able() -> None:
    rules = (
        Rule(
            name="r",
            targets=(Target(pool="shop/one", weight=0), Target(pool="shop/two", weight=1)),
        ),
    )
    found = snapshot(pool("one", provider("a")), pool("two", provider("b")), rules=rules)
    router = fresh()
    for _ in range(50):
        assert order(found, router=router) == ["two/b", "one/a"]
