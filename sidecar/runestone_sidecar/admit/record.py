"""What the sidecars of a namespace hold of one key's limits: the record that they share.

A permit is room in a limit, not use of it: who holds ten a minute may use ten in any minute. An
estate is what somebody used, or may have used, who is gone: it counts until it has slid out of
every window. All times are seconds from when the record was written. Pure.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runestone_sidecar.admit.key_usage import KINDS, PLACES, SLOTS

VERSION: Final = 1
MOST_ESTATES: Final = 16  # of a kind: beyond, those nearest to each other become one

Amounts = tuple[int, ...]  # by place: those of KINDS, then slots
Past = tuple[tuple[float, int], ...]  # (counts for so long still, amount)
Pasts = tuple[Past, ...]  # by place in KINDS

NOTHING: Final[Amounts] = (0,) * PLACES
NO_PAST: Final[Pasts] = ((),) * len(KINDS)


class UnknownRecord(ValueError):
    """Of another version of this program."""


@dataclass(frozen=True, slots=True)
class Holding:
    held: Amounts = NOTHING
    wants: Amounts = NOTHING  # beyond what is held
    spent: Pasts = NO_PAST  # of what is held, as far as it was written down

    @property
    def is_empty(self) -> bool:
        return not any(self.held) and not any(self.wants)


@dataclass(frozen=True, slots=True)
class Record:
    holders: Mapping[str, Holding] = field(default_factory=dict)
    estates: Pasts = NO_PAST

    def holding(self, holder: str) -> Holding:
        return self.holders.get(holder) or Holding()

    def held_by_others(self, me: str, place: int) -> int:
        return sum(each.held[place] for id_, each in self.holders.items() if id_ != me)

    def wanted_by_others(self, me: str, place: int) -> int:
        return sum(each.wants[place] for id_, each in self.holders.items() if id_ != me)

    def of_the_gone(self, place: int) -> int:
        return 0 if place == SLOTS else sum(amount for _, amount in self.estates[place])

    def counts_for_s(self) -> float:
        """How long there are estates."""
        return max((for_s for past in self.estates for for_s, _ in past), default=0.0)

    def with_holding(self, holder: str, holding: Holding) -> "Record":
        holders = {id_: each for id_, each in self.holders.items() if id_ != holder}
        if not holding.is_empty:
            holders[holder] = holding
        return replace(self, holders=holders)

    def aged(self, elapsed_s: float) -> "Record":
        """As it is so much later."""
        return Record(
            {
                id_: replace(each, spent=_each_aged(each.spent, elapsed_s))
                for id_, each in self.holders.items()
            },
            _each_aged(self.estates, elapsed_s),
        )

    def without(self, holder: str, pasts: Pasts) -> "Record":
        """It left, and this is what it used."""
        holders = {id_: each for id_, each in self.holders.items() if id_ != holder}
        estates = tuple(map(_joined, self.estates, pasts))
        return Record(holders, estates)

    def without_the_dead(self, dead: Iterable[str], lengths_s: Sequence[float]) -> "Record":
        """They may have used all that they held, up to now; slots are free at once."""
        record = self
        for holder in dead:
            holding = self.holding(holder)
            pasts = []
            for place, length_s in enumerate(lengths_s):
                spent = holding.spent[place]
                rest = holding.held[place] - sum(amount for _, amount in spent)
                pasts.append((*spent, (length_s, rest)) if rest > 0 else spent)
            record = record.without(holder, tuple(pasts))
        return record


def _each_aged(pasts: Pasts, elapsed_s: float) -> Pasts:
    return tuple(
        tuple((for_s - elapsed_s, amount) for for_s, amount in past if for_s > elapsed_s)
        for past in pasts
    )


def _joined(one: Past, other: Past) -> Past:
    """Never sooner gone than each alone."""
    found = sorted(one + other)
    while len(found) > MOST_ESTATES:
        nearest = min(range(len(found) - 1), key=lambda at: found[at + 1][0] - found[at][0])
        (_, amount), (for_s, more) = found[nearest : nearest + 2]
        found[nearest : nearest + 2] = [(for_s, amount + more)]
    return tuple(found)


def encode(record: Record) -> bytes:
    said = {
        "v": VERSION,
        "holders": {
            id_: [each.held, each.wants, _said(each.spent)] for id_, each in record.holders.items()
        },
        "estates": _said(record.estates),
    }
    return json.dumps(said, separators=(",", ":"), sort_keys=True).encode()


def decode(data: bytes) -> Record:
    """Raises UnknownRecord."""
    if not data:
        return Record()
    try:
        said = json.loads(data)
        if said["v"] != VERSION:
            raise UnknownRecord
        holders = {
            id_: Holding(_amounts(held), _amounts(wants), _pasts(spent))
            for id_, (held, wants, spent) in said["holders"].items()
        }
        return Record(holders, _pasts(said["estates"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownRecord from error


def _said(pasts: Pasts) -> list[list[tuple[float, int]]]:
    return [[(round(for_s, 3), amount) for for_s, amount in past] for past in pasts]


def _amounts(said: Any) -> Amounts:
    amounts = tuple(int(amount) for amount in said)
    if len(amounts) != PLACES:
        raise UnknownRecord
    return amounts


def _pasts(said: Any) -> Pasts:
    pasts = tuple(tuple((float(for_s), int(amount)) for for_s, amount in past) for past in said)
    if len(pasts) != len(KINDS):
        raise UnknownRecord
    return pasts
