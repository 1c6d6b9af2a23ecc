"""The arithmetic of permits: nothing is made from nothing, whoever takes, gives, dies or goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runestone_sidecar.admit.permits import GRACE_S, LastSeen, Rank, Stand, allot, usable_alone
from runestone_sidecar.admit.record import (
    MOST_ESTATES,
    NO_PAST,
    NOTHING,
    Holding,
    Past,
    Record,
    UnknownRecord,
    decode,
    encode,
)

LENGTHS_S = (60, 3600, 60, 86_400)
ME, OTHER, THIRD = "me", "other", "third"


def holding(held: int = 0, want: int = 0, spent: Past = ()) -> Holding:
    """Of requests per hour."""
    return Holding((0, held, 0, 0, 0), (0, want, 0, 0, 0), ((), spent, (), ()))


def record(estate: Past = (), **holders: Holding) -> Record:
    return Record(holders, ((), estate, (), ()))


AMOUNTS = st.integers(0, 30)
PASTS = st.lists(st.tuples(st.floats(0.1, 3600), st.integers(1, 20)), max_size=4).map(tuple)
HOLDINGS = st.builds(holding, held=AMOUNTS, want=st.sampled_from([0, 0, 1, 5, 30]))
RECORDS = st.builds(
    lambda holders, estate: record(estate, **holders),
    st.dictionaries(st.sampled_from([ME, OTHER, THIRD]), HOLDINGS),
    PASTS,
)
STANDS = st.builds(
    Stand,
    limit=st.integers(0, 100),
    used=st.integers(0, 40),
    wanted=st.sampled_from([0, 0, 1, 20, 45]),
    margin=st.integers(0, 10),
    spare=st.integers(0, 3),
    one=st.sampled_from([1, 1, 3, 12]),
)


def total(of: Record) -> int:
    return of.of_the_gone(1) + sum(each.held[1] for each in of.holders.values())


@given(before=RECORDS, stand=STANDS, sidecars=st.integers(1, 5))
def test_nobody_takes_what_is_not_free_and_only_use_goes_beyond_the_limit(
    before: Record, stand: Stand, sidecars: int
) -> None:
    lot = allot(before, ME, 1, stand, sidecars)
    held = before.holding(ME).held[1]
    others = total(before) - held
    assert lot.usable <= lot.held
    assert lot.held >= stand.used
    assert lot.held <= max(held, stand.used, stand.limit - others)
    assert lot.free == stand.limit - others - lot.held
    assert (lot.want > 0) <= (stand.wanted > lot.usable or stand.used > lot.usable)


@given(before=RECORDS, stand=STANDS, sidecars=st.integers(1, 5))
@example(
    before=record(me=holding(), other=holding(want=30)), stand=Stand(30, 0, margin=1), sidecars=1
)
def test_who_has_what_it_needs_changes_nothing_by_asking_again(
    before: Record, stand: Stand, sidecars: int
) -> None:
    """Else two would write for ever."""
    for _ in range(40):
        lot = allot(before, ME, 1, stand, sidecars)
        after = before.with_holding(ME, holding(lot.held, lot.want))
        if after == before:
            return
        before = after
    raise AssertionError(f"still moving: {before}")


@given(
    held=st.lists(st.integers(0, 40), min_size=2, max_size=5),
    limit=st.integers(0, 60),
    estate=st.integers(0, 30),
)
def test_together_they_may_use_no_more_than_a_limit_that_was_lowered(
    held: list[int], limit: int, estate: int
) -> None:
    names = [f"sidecar-{number}" for number in range(len(held))]
    before = record(
        ((1000.0, estate),) if estate else (),
        **{name: holding(each) for name, each in zip(names, held, strict=True)},
    )
    usable = sum(
        allot(before, name, 1, Stand(limit, each, wanted=each), len(held)).usable
        for name, each in zip(names, held, strict=True)
    )
    if total(before) > limit:
        assert usable <= max(0, limit - estate)


def test_what_lies_idle_goes_to_who_wants_it_and_no_more_than_is_wanted() -> None:
    before = record(me=holding(held=80), other=holding(held=20, want=15))
    lot = allot(before, ME, 1, Stand(100, used=10, margin=5), 2)
    assert (lot.held, lot.usable) == (65, 65)


def test_who_needs_all_that_it_holds_gives_what_is_more_than_a_fair_share_as_it_slides_out() -> (
    None
):
    before = record(me=holding(held=80), other=holding(held=20, want=40))
    lot = allot(before, ME, 1, Stand(100, used=80, wanted=81), 2)
    assert (lot.held, lot.usable) == (80, 50)
    lot = allot(before, ME, 1, Stand(100, used=63, wanted=64), 2)
    assert (lot.held, lot.usable) == (63, 50)


def test_an_odd_permit_is_not_passed_to_and_fro() -> None:
    before = record(me=holding(held=4, want=1), other=holding(held=3, want=1), third=holding(3, 1))
    lot = allot(before, ME, 1, Stand(10, used=4, wanted=5), 3)
    assert (lot.held, lot.usable) == (4, 4)


@given(before=RECORDS, dead=st.sets(st.sampled_from([ME, OTHER, THIRD])))
def test_what_the_dead_held_counts_for_a_whole_window(before: Record, dead: set[str]) -> None:
    after = before.without_the_dead(sorted(dead), LENGTHS_S)
    assert total(after) == total(before)
    assert not dead & after.holders.keys()
    assert total(after.aged(3600)) == sum(each.held[1] for each in after.holders.values())


def test_what_the_dead_had_used_long_ago_counts_no_longer_than_it_would_have() -> None:
    before = record(other=holding(held=10, spent=((100.0, 4), (3000.0, 3))))
    after = before.without_the_dead([OTHER], LENGTHS_S)
    assert after.estates[1] == ((100.0, 4), (3000.0, 3), (3600, 3))
    assert total(after.aged(101)) == 6


def test_slots_of_the_dead_are_free_at_once() -> None:
    before = Record({OTHER: Holding((0, 0, 0, 0, 7), NOTHING, NO_PAST)})
    after = before.without_the_dead([OTHER], LENGTHS_S)
    assert after == Record()
    assert after.of_the_gone(4) == 0


@given(pasts=st.lists(PASTS, max_size=12), elapsed_s=st.floats(0, 4000))
def test_estates_stay_few_and_none_is_gone_too_soon(pasts: list[Past], elapsed_s: float) -> None:
    of = Record()
    for past in pasts:
        of = of.without("gone", ((), past, (), ()))
    assert len(of.estates[1]) <= MOST_ESTATES
    exact = sum(amount for past in pasts for for_s, amount in past if for_s > elapsed_s)
    assert of.aged(elapsed_s).of_the_gone(1) >= exact


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(before: Record) -> None:
    rounded = replace(
        before,
        estates=tuple(
            tuple((round(for_s, 3), amount) for for_s, amount in past) for past in before.estates
        ),
    )
    assert decode(encode(before)) == rounded
    assert decode(b"") == Record()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"v":2,"holders":{},"estates":[[],[],[],[]]}', id="version"),
        pytest.param(b'{"v":1,"holders":{"a":[[1],[],[]]},"estates":[[],[],[],[]]}', id="short"),
        pytest.param(b'{"v":1,"holders":{},"estates":[]}', id="estates"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"\xff", id="bytes"),
    ],
)
def test_what_is_no_record_of_ours_is_not_guessed_at(content: bytes) -> None:
    with pytest.raises(UnknownRecord):
        decode(content)


SHARED = st.integers(1, 5).flatmap(
    lambda count: st.tuples(st.lists(AMOUNTS, min_size=count, max_size=count), st.integers(0, 40))
)


@given(shared=SHARED, away_s=st.floats(0, 200), slides_out_s=st.sampled_from([60.0, None]))
def test_H4_alone_they_have_no_more_together_than_the_limit(
    shared: tuple[list[int], int], away_s: float, slides_out_s: float | None
) -> None:
    held, free = shared
    limit, count = sum(held) + free, len(held)
    usable = sum(
        usable_alone(
            limit,
            LastSeen(each, free),
            Rank(place, count),
            away_s=away_s,
            slides_out_s=slides_out_s,
        )
        for place, each in enumerate(held)
    )
    assert usable <= limit
    assert away_s >= GRACE_S or usable == limit


def test_alone_for_long_each_has_an_equal_share() -> None:
    for held in (0, 9):
        usable = usable_alone(9, LastSeen(held, 0), Rank(0, 3), away_s=100.0, slides_out_s=60.0)
        assert usable == 3
