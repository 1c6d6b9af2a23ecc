"""One key's limits as this sidecar shares in them: what it has used, holds and lacks."""

import asyncio
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from runestone_contract.config import Limits
from runestone_sidecar.admit.key_usage import (
    PLACES,
    SLOTS,
    Hold,
    KeyUsage,
    asked,
    lengths_of,
    limits_of,
    rows_of,
)
from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.permits import LastSeen, Lot, Rank, Stand, allot, usable_alone
from runestone_sidecar.admit.record import NOTHING, Holding, Record

IDLE_S: Final = 2.0  # without a request: what is kept for the next ones goes to whoever needs it
ONE_MORE_S: Final = 30.0  # but for one, or a sidecar with little to do were never let in
WANT_WAIT_S: Final = 0.1  # for others to give
LOOK_S: Final = 1.0
LONGEST_LOOK_S: Final = 64.0
BLOCKS: Final = 16  # of a limit: what one sidecar alone takes at a time, at least
MOST: Final = 4  # of a limit: what it holds beyond what it used, at most
PARTS: Final = 8  # of a window, in what is written down of it
REFRESHES: Final = 16  # of that, in the length of a window
LONG_S: Final = 600  # a window worth writing down
UNLIMITED: Final = sys.maxsize


class Share(KeyUsage):
    __slots__ = (
        "_free",
        "_low",
        "_noted_s",
        "_peak",
        "_pulse",
        "_refused",
        "_refused_s",
        "_want_until_s",
        "active_s",
        "again",
        "is_foreign",
        "is_kept",
        "is_known",
        "is_unsure",
        "last",
        "limits",
        "is_wanted",
        "look_every_s",
        "look_s",
        "record",
        "revision",
        "task",
        "waiting",
        "written_s",
    )

    def __init__(self) -> None:
        super().__init__()
        self.usable = [0] * PLACES
        self.limits = Limits()
        self.record = Record()
        self.revision = 0
        self.written_s = 0.0  # the record, at the latest
        self.is_foreign = False  # the record is of another version of this program
        self.is_kept = False  # what is known of it cannot be read again now
        self.is_known = False  # the record, as it was of late
        self.is_unsure = False  # it may be written still
        self.is_wanted = False  # a slot, by others
        self.task: asyncio.Task[None] | None = None
        self.again = False
        self.look_s = 0.0
        self.look_every_s = LOOK_S
        self.active_s = 0.0
        self.last: list[Hold] = []  # what a request took
        self.waiting = [0] * PLACES  # what requests wait for
        self._refused = [0] * PLACES  # what those lacked that were refused of late
        self._refused_s = -ONE_MORE_S
        self._peak = 0
        self._free = [0] * PLACES
        self._low = [UNLIMITED] * PLACES  # used so much: get more before it runs out
        self._want_until_s = 0.0
        self._noted_s = 0.0
        self._pulse: asyncio.Future[None] | None = None

    def matters(self, now_s: float) -> bool:
        holds = self.is_known and any(0 < each < UNLIMITED for each in self.usable)
        if self.is_kept or holds or self.task is not None or any(self.waiting):
            return True
        return super().matters(now_s)

    @property
    def is_in_use(self) -> bool:
        return self.in_flight > 0 or any(window and window.total for window in self.windows)

    # -- a request --

    def took(self, holds: list[Hold], now_s: float) -> bool:
        """Whether it is time for more."""
        self.active_s = now_s
        self.last = holds
        low = self._low
        self._peak = max(self._peak, self.in_flight)
        for which, window, _ in holds:
            if window.total > low[which]:
                return True
        return self.in_flight > low[SLOTS]

    def lacks(self, limits: Limits, need: Need, now_s: float) -> list[tuple[int, int]]:
        """(place, amount) of each limit that others may hold the rest of; none where the request
        is beyond what there is for this sidecar, whatever the others do."""
        found = []
        for which, length_s, limit, amount in asked(limits, need):
            window = self.window(which, length_s, now_s)
            total = window.total + amount
            if amount and total > limit:
                return []
            if amount and total > self.usable[which]:
                found.append((which, amount))
        at_once = limits.concurrent_requests
        if at_once is not None:
            if self.in_flight >= at_once:
                return []
            if self.in_flight >= self.usable[SLOTS]:
                found.append((SLOTS, 1))
        return found

    def is_hopeless(self, lacking: Iterable[tuple[int, int]], me: str, now_s: float) -> bool:
        """Nothing is free of one of these, and nobody gives: they were asked, or hold nothing."""
        if self.task is not None:
            return False
        if not self.is_known:
            return self.is_foreign
        mine = self.record.holding(me)
        return any(
            self._free[place] < amount - self._rest(place)
            and (
                (mine.wants[place] and now_s >= self._want_until_s)
                or not self.record.held_by_others(me, place)
            )
            for place, amount in lacking
        )

    def _rest(self, place: int) -> int:
        """That is held here and not used."""
        window = None if place == SLOTS else self.windows[place]
        used = self.in_flight if place == SLOTS else window.total if window else 0
        return max(0, self.usable[place] - used)

    def refused(self, lacking: Iterable[tuple[int, int]], now_s: float) -> None:
        if now_s - self._refused_s > ONE_MORE_S:
            self._refused = [0] * PLACES
        self._refused_s = now_s
        for place, amount in lacking:
            self._refused[place] += amount

    # -- the record --

    def adopt(self, record: Record, revision: int, written_s: float) -> None:
        self.record, self.revision, self.written_s = record, revision, written_s
        self.is_known, self.is_unsure, self.is_foreign = True, False, False

    def forget(self) -> None:
        """The ledger was away: what it says now is to be read again."""
        self.is_known = False
        self.revision = 0

    def next_record(
        self, me: str, dead: Sequence[str], sidecars: int, now_s: float, *, modest: bool = False
    ) -> tuple[Record, list[Lot | None]]:
        """As it should be, with how this sidecar does by it. Modest: asks for no more than was
        used."""
        lengths_s = lengths_of(self.limits)
        aged = self.record.aged(max(0.0, now_s - self.written_s))
        record = aged.without_the_dead(dead, lengths_s)
        lots = [
            allot(record, me, place, stand, sidecars) if stand else None
            for place, stand in enumerate(self._stands(sidecars, now_s, modest=modest))
        ]
        old = record.holding(me)
        wants = tuple(
            lot.want if lot and record.held_by_others(me, place) else 0
            for place, lot in enumerate(lots)
        )
        holding = Holding(
            held=tuple(lot.held if lot else 0 for lot in lots),
            wants=tuple(map(_steady, old.wants, wants)),
            spent=tuple(
                window.past(now_s, parts=PARTS)
                if lots[place] and window and length_s > LONG_S
                else ()
                for place, (window, length_s) in enumerate(
                    zip(self.windows, lengths_s, strict=True)
                )
            ),
        )
        return record.with_holding(me, holding), lots

    def differs(self, record: Record, me: str, now_s: float) -> bool:
        """Whether it is worth writing."""
        old, new = self.record.holding(me), record.holding(me)
        return (
            self.is_unsure
            or record.holders.keys() != self.record.holders.keys()
            or (old.held, old.wants) != (new.held, new.wants)
            or self._is_stale(new, now_s)
        )

    def _is_stale(self, holding: Holding, now_s: float) -> bool:
        """What is written down of long windows: whoever buries us would think it all of today."""
        return any(
            past and now_s - self._noted_s > length_s / REFRESHES
            for past, length_s in zip(holding.spent, lengths_of(self.limits), strict=True)
        )

    def wrote(self, record: Record, me: str, now_s: float) -> None:
        self._noted_s = now_s
        if record.holding(me).wants != self.record.holding(me).wants:
            self._want_until_s = now_s + WANT_WAIT_S

    def grant(self, lots: Sequence[Lot | None], me: str) -> None:
        """Never more than the record says, nor than it may come to say."""
        held = self.record.holding(me).held
        most = self.usable if self.is_unsure else [UNLIMITED] * PLACES
        for place, lot in enumerate(lots):
            self.usable[place] = min(held[place], lot.usable, most[place]) if lot else UNLIMITED
            self.elsewhere[place] = self.record.held_by_others(me, place) + self.record.of_the_gone(
                place
            )
            self._free[place] = lot.free if lot else 0
            self._low[place] = _low(lot)
        self.is_wanted = self.record.wanted_by_others(me, SLOTS) > 0
        self.wake()

    def confine(self, me: str) -> None:
        """To what is held: what is free is the ledger's again."""
        held = self.record.holding(me).held if self.is_known else NOTHING
        self.usable = [min(usable, held[place]) for place, usable in enumerate(self.usable)]

    def gives_slots(self, now_s: float) -> bool:
        """One that was left is for others."""
        return self.is_wanted and (
            self.in_flight >= self.usable[SLOTS] or now_s - self._refused_s > IDLE_S
        )

    def is_over(self) -> bool:
        """More was used than may be, or less than others were promised."""
        return self.in_flight > self.usable[SLOTS] or any(
            window is not None and window.total > self.usable[place]
            for place, window in enumerate(self.windows)
        )

    def grant_alone(self, me: str, rank: Rank, away_s: float) -> None:
        """The ledger is away."""
        limits = self.limits
        lengths_s: list[float | None] = [
            length_s if length_s < LONG_S else None for length_s in lengths_of(limits)
        ]
        for place, limit in enumerate(limits_of(limits)):
            if limit is None:
                self.usable[place] = UNLIMITED
                continue
            slides_out_s = 60.0 if place == SLOTS else lengths_s[place]
            seen = self._seen(me, place, limit)
            usable = usable_alone(limit, seen, rank, away_s=away_s, slides_out_s=slides_out_s)
            self.usable[place] = usable
            self.elsewhere[place] = limit - usable
            self._low[place] = UNLIMITED
        self.wake()

    def _seen(self, me: str, place: int, limit: int) -> LastSeen | None:
        if not self.written_s:
            return None
        held = self.record.holding(me).held[place]
        others = self.record.held_by_others(me, place) + self.record.of_the_gone(place)
        return LastSeen(held, limit - others - held)

    def last_record(self, me: str, now_s: float) -> Record:
        """What is left of this sidecar when it goes."""
        record = self.record.aged(max(0.0, now_s - self.written_s))
        lengths_s = lengths_of(self.limits)
        pasts = tuple(
            self.window(place, lengths_s[place], now_s).past(now_s, parts=PARTS)
            if window is not None
            else ()
            for place, window in enumerate(self.windows)
        )
        return record.without(me, pasts)

    # -- waiting --

    def patience_s(self, now_s: float, until_s: float) -> float:
        """Those who were asked have little time to give."""
        if now_s < self._want_until_s:
            until_s = min(until_s, self._want_until_s)
        return max(0.0, until_s - now_s)

    @property
    def pulse(self) -> asyncio.Future[None]:
        """Done when something has changed."""
        if self._pulse is None:
            self._pulse = asyncio.get_running_loop().create_future()
        return self._pulse

    def wake(self) -> None:
        if self._pulse is not None:
            self._pulse.set_result(None)
            self._pulse = None

    # -- how it stands --

    def _stands(self, sidecars: int, now_s: float, *, modest: bool) -> list[Stand | None]:
        is_active = not modest and now_s - self.active_s < IDLE_S
        is_recent = not modest and now_s - max(self.active_s, self._refused_s) < ONE_MORE_S
        typical = {which: amount for which, _, amount in self.last}
        stands: list[Stand | None] = [None] * PLACES
        for which, length_s, limit in rows_of(self.limits):
            window = self.window(which, length_s, now_s)
            recent = math.ceil(window.recent / max(1.0, window.width_s))  # in a second or two
            most = max(recent and 1, min(recent, limit // (MOST * sidecars)))
            one = max(1, typical.get(which, 1))
            margin = max(most, one, -(-limit // (BLOCKS * sidecars)))
            stand = self._stand(
                which,
                limit,
                used=max(0, window.total),
                margin=margin if (is_recent or window.total) and not modest else 0,
                spare=max(most, one) if is_active else one if is_recent else 0,
                lacked=0 if modest else self._lacked(which, limit // (MOST * sidecars), now_s),
            )
            stands[which] = replace(stand, one=one)
        if (at_once := self.limits.concurrent_requests) is not None:
            peak = max(self._peak, self.in_flight)
            margin = max(peak - self.in_flight, -(-at_once // (BLOCKS * sidecars)))
            stands[SLOTS] = self._stand(
                SLOTS,
                at_once,
                used=self.in_flight,
                margin=margin if is_active or (self.in_flight and not modest) else 0,
                spare=peak - self.in_flight if is_active else 0,
                lacked=0 if modest else self._lacked(SLOTS, 1, now_s),
            )
        return stands

    def _lacked(self, place: int, most: int, now_s: float) -> int:
        """For a while: of a window that was filled at once nothing slides out for long."""
        lacked = self._refused[place]
        if lacked and now_s - self._refused_s < (IDLE_S if place == SLOTS else ONE_MORE_S):
            one = next((amount for which, _, amount in self.last if which == place), 1)
            return min(lacked, max(most, one))
        return 0

    def _stand(
        self,
        place: int,
        limit: int,
        *,
        used: int,
        margin: int,
        spare: int,
        lacked: int,
    ) -> Stand:
        lacking = max(self.waiting[place], lacked)
        return Stand(
            limit,
            used,
            wanted=min(limit, used + lacking) if lacking else 0,
            margin=margin,
            spare=min(spare, margin),
        )

    def looked(self, now_s: float, *, is_calm: bool) -> None:
        """Until when nothing has to be done of itself."""
        self._peak = self.in_flight
        is_calm = is_calm and not any(any(each.wants) for each in self.record.holders.values())
        self.look_every_s = min(LONGEST_LOOK_S, 2 * self.look_every_s) if is_calm else LOOK_S
        self.look_s = now_s + self.look_every_s


def _low(lot: Lot | None) -> int:
    """Half way into what was to spare."""
    if lot is None or lot.free <= 0:
        return UNLIMITED
    return lot.usable - (lot.margin + 1) // 2


def _steady(old: int, new: int) -> int:
    """A want that is there says enough."""
    return old if old <= 2 * new <= 4 * old else new
