"""How many of a limit's permits a sidecar holds next: it takes, gives, asks for, and owes. Pure.

What all hold together, and what the gone used, is never more than the limit; where it is more all
the same, since the limit was lowered or an answer was longer than was thought, each may use what
the others leave of it, which is nothing until enough has slid out.
"""

from dataclasses import dataclass
from typing import Final

from runestone_sidecar.admit.record import Record

GRACE_S: Final = 10.0  # NATS may be away for so long before anything changes


@dataclass(frozen=True, slots=True)
class Stand:
    """How this sidecar stands with one of a key's limits."""

    limit: int
    used: int  # now, within the window; of slots those taken
    wanted: int = 0  # what `used` had to become for the requests that wait, or did a moment ago
    margin: int = 0  # that it would like to have beyond
    spare: int = 0  # that it keeps of this when others are in need
    one: int = 1  # what a request needs, as far as is known: less lets in none

    @property
    def needed(self) -> int:
        return max(self.used, self.wanted)


@dataclass(frozen=True, slots=True)
class Lot:
    held: int  # by the record
    usable: int  # less where it owes what it has used already
    want: int
    free: int  # what nobody holds then
    margin: int


def allot(record: Record, me: str, place: int, stand: Stand, sidecars: int) -> Lot:
    """`sidecars` share what is free."""
    held = max(record.holding(me).held[place], stand.used)
    free = stand.limit - record.of_the_gone(place) - record.held_by_others(me, place) - held
    aim = max(stand.needed, min(stand.used + stand.margin, stand.limit))
    wanted = record.wanted_by_others(me, place)
    fair = _fair(record, me, place, stand)
    if free < 0:
        usable = max(0, held + free)
    elif wanted > free and held >= stand.needed:
        idle = held - stand.needed - stand.spare
        usable = held - min(wanted - free, max(idle, held - fair, 0))
    elif wanted > free and held > fair:
        usable = held - min(wanted - free, held - fair)
    elif aim > held:
        unwanted = max(0, free - wanted)
        need = min(max(0, stand.needed - held), free, max(unwanted, fair - held))
        part = -(-free // (2 * sidecars))
        # A margin is of what nobody wants: else it would be given back, and taken again, for ever.
        usable = held + need + max(0, min(aim - held, part, unwanted) - need)
    else:
        usable = aim if held - aim > _slack(stand, held) else held
    # A rest that lets in no request goes back while others are in need, and nobody takes less than
    # a request's worth: of all rests together less is left than one request would take.
    if wanted and stand.used < usable < stand.used + stand.one:
        usable = stand.used
    next_held = max(stand.used, usable)
    want = max(0, aim - usable) if stand.needed > usable else 0
    return Lot(next_held, usable, want, free + held - next_held, stand.margin)


def _slack(stand: Stand, held: int) -> int:
    """Beyond what it would like to have: not every grain is worth a write."""
    return max(stand.margin, held // 8) if stand.used or stand.margin else 0


def _fair(record: Record, me: str, place: int, stand: Stand) -> int:
    """Rounded up to whole requests, or an odd permit would go to and fro."""
    others = sum(
        1
        for id_, each in record.holders.items()
        if id_ != me and (each.held[place] or each.wants[place])
    )
    shared = max(0, stand.limit - record.of_the_gone(place))
    fair = -(-shared // (1 + others))
    rest = fair - stand.used
    return stand.used - rest // -stand.one * stand.one if rest > 0 else fair


@dataclass(frozen=True, slots=True)
class Rank:
    """Of a sidecar among those that share a limit: what does not divide goes to the first."""

    place: int
    of: int

    def part(self, amount: int) -> int:
        return amount // self.of + (self.place < amount % self.of)


@dataclass(frozen=True, slots=True)
class LastSeen:
    """Of one limit in a record, when NATS was there last."""

    held: int
    free: int


def usable_alone(
    limit: int, seen: LastSeen | None, rank: Rank, *, away_s: float, slides_out_s: float | None
) -> int:
    """While NATS is away: what was held and a part of what was free; later an equal share.

    Together they are within the limit, for whoever holds more than its share goes down to it one
    window before those with less go up. None: such a window is too long to wait for.
    """
    share = rank.part(limit)
    if seen is None:
        return share
    kept = min(limit, seen.held + rank.part(max(0, seen.free)))
    if slides_out_s is None or away_s < GRACE_S:
        return kept
    return share if away_s >= 2 * GRACE_S + slides_out_s else min(kept, share)
