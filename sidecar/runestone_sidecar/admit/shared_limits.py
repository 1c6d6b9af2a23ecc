"""The limits of keys held by all sidecars of a namespace together, over a ledger that they share.

Each holds permits, which are room in a limit, and counts what it uses of them by itself: within
what it holds a request waits for nobody. More is taken before it runs out, what lies idle goes
back, and who died is buried by the others. Together they hold no more than the limit, and so no
window, wherever it begins and whatever their clocks say, has more in it.

Without the ledger each goes on with its part (`permits.usable_alone`), and says so.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

from runestone_contract.config import Limits
from runestone_sidecar.admit.bookkeeper import Bookkeeper
from runestone_sidecar.admit.key_usage import Hold
from runestone_sidecar.admit.ledger import Ledger
from runestone_sidecar.admit.limits import LimitState, Lines, Need
from runestone_sidecar.admit.local_limits import LocalLimiter, LocalReservation, refusal
from runestone_sidecar.admit.members import ALIVE, Members
from runestone_sidecar.admit.permits import Rank
from runestone_sidecar.admit.record import UnknownRecord, decode
from runestone_sidecar.admit.share import LOOK_S, Share
from runestone_sidecar.config.snapshot import Principal

START_WAIT_S: Final = 2.0  # for the first connection: a new sidecar is not alone for that
TAKE_WAIT_S: Final = 1.5  # for the ledger
LEAVE_S: Final = 3.0
AT_ONCE: Final = 32  # keys that are written when the ledger is back
LOOKED_AT_ONCE: Final = 256  # keys
LOOK_PAUSE_S: Final = 0.02
LOCAL: Final = b"x-runestone-limits: local\r\n"

log = logging.getLogger(__name__)


class SharedReservation(LocalReservation):
    __slots__ = ("_key", "_shared")

    def bind(self, shared: "SharedLimiter", key: str) -> "SharedReservation":
        self._shared = shared
        self._key = key
        return self

    @property
    def lines(self) -> Lines:
        lines = super().lines
        return lines if self._shared.is_shared else lines + LOCAL

    def _settle(self, used: tuple[int, int, int, int]) -> None:
        super()._settle(used)
        assert isinstance(self._usage, Share)
        self._shared.settled(self._key, self._usage)


class SharedLimiter:
    """A Limiter, and a Reader of its ledger. `run` keeps it going."""

    def __init__(
        self,
        ledger: Ledger,
        me: str,
        *,
        lease_s: float,
        sidecars: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._me = me
        self._clock = clock
        self._local = LocalLimiter(clock, Share)
        self._members = Members(ledger, me, lease_s, clock)
        self._books = Bookkeeper(ledger, self._members, clock, self._go_alone)
        self._rank = Rank(sidecars, sidecars)  # as long as none was heard; rounds down
        self._away_s = clock()
        self._store: str | None = None
        self._is_starting = True
        self._started = asyncio.Event()
        self._joining: asyncio.Task[None] | None = None

    @property
    def is_shared(self) -> bool:
        return self._books.is_shared

    @property
    def members(self) -> int:
        """Sidecars that are seen to share the limits, this one too."""
        return len(self._members.living())

    @property
    def sign_age_s(self) -> float:
        """Since this one's own sign of life was acknowledged last; NaN: none was yet."""
        at_s = self._members.confirmed_s
        return self._clock() - at_s if at_s >= 0 else math.nan

    @property
    def counts(self) -> Counter[str]:
        return self._books.counts

    # -- requests --

    def take(self, principal: Principal, need: Need) -> SharedReservation | None:
        limits = principal.limits
        if limits is None:
            return None
        key = principal.id
        share = self._share(key)
        now_s = self._clock()
        if limits is not share.limits:
            self._adapt(key, share, limits)
        if self._books.is_shared and now_s >= self._members.until_s:
            self._go_alone()
        holds = share.take(limits, need, now_s)
        return None if holds is None else self._taken(key, share, limits, holds, now_s)

    async def reserve(self, principal: Principal, need: Need) -> SharedReservation | None:
        reservation, limits = self.take(principal, need), principal.limits
        if reservation is not None or limits is None:
            return reservation
        key = principal.id
        share = self._share(key)
        holds = await self._get(key, share, limits, need)
        now_s = self._clock()
        if holds is None:
            reached = refusal(share, limits, need, now_s)
            if not self._books.is_shared:
                reached.lines += LOCAL
            raise reached
        return self._taken(key, share, limits, holds, now_s)

    def _taken(
        self, key: str, share: Share, limits: Limits, holds: list[Hold], now_s: float
    ) -> SharedReservation:
        if share.took(holds, now_s) and self._books.is_shared:
            self._books.poke(key, share)
        return SharedReservation(self._local, limits, share, holds, now_s).bind(self, key)

    async def _get(self, key: str, share: Share, limits: Limits, need: Need) -> list[Hold] | None:
        """Once others gave, or none where they do not in time."""
        if self._is_starting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_WAIT_S):
                    await self._started.wait()
            self._is_starting = False
        if not self._books.is_shared:
            self._grant_alone(share)
            return share.take(limits, need, self._clock())
        began_s = self._clock()
        lacking = share.lacks(limits, need, began_s)
        for place, amount in lacking:
            share.waiting[place] += amount
        try:
            holds = await self._wait(key, share, limits, need, until_s=began_s + TAKE_WAIT_S)
        finally:
            for place, amount in lacking:
                share.waiting[place] -= amount
        if holds is None and not self._books.is_shared:  # since then
            self._grant_alone(share)
            return share.take(limits, need, self._clock())
        if holds is None:
            share.refused(lacking, self._clock())
        return holds

    async def _wait(
        self, key: str, share: Share, limits: Limits, need: Need, *, until_s: float
    ) -> list[Hold] | None:
        is_asked = False
        while True:
            now_s = self._clock()
            lacking = share.lacks(limits, need, now_s)
            if not self._books.is_shared or not lacking or now_s >= until_s:
                return None
            if share.is_hopeless(lacking, self._me, now_s):
                return None
            pulse = share.pulse
            if not is_asked:
                is_asked = True
                self._books.counts["waited"] += 1
                self._books.poke(key, share)
            await asyncio.wait([pulse], timeout=share.patience_s(now_s, until_s))
            holds = share.take(limits, need, self._clock())
            if holds is not None:
                return holds

    def settled(self, key: str, share: Share) -> None:
        """A request is over: it may have used more than is held, or left what others wait for."""
        if self._books.is_shared and (share.is_over() or share.gives_slots(self._clock())):
            self._books.poke(key, share)

    def state(self, principal: Principal) -> list[LimitState]:
        return self._local.state(principal)

    def prune(self, keep: Collection[str]) -> None:
        self._local.prune(keep)

    # -- the ledger --

    def opened(self, store: str) -> None:
        is_lost = self._store not in {None, store}
        self._store = store
        self._books.is_open = True
        self._members.begin()
        for _, share in self._shares():
            share.forget()
        self._join(is_lost=is_lost)

    def closed(self) -> None:
        self._books.is_open = False
        self._go_alone()
        self._start_serving()

    def changed(self, key: str, content: bytes, revision: int) -> None:
        if key.startswith(ALIVE):
            if self._members.heard(key) and self._books.is_shared:
                self._books.start(self._greet())
            return
        share = self._local.usages.get(key)
        if not isinstance(share, Share) or not share.is_known or revision <= share.revision:
            return
        try:
            share.adopt(decode(content), revision, self._clock())
        except UnknownRecord:
            share.is_known = False  # it is read, and found so, when it is needed
            return
        if self._books.is_shared:
            self._books.look(key, share, is_news=True)

    async def run(self) -> None:
        """Until cancelled."""
        looking = asyncio.create_task(self._look_around())
        try:
            while True:
                await self._beat()
                await asyncio.sleep(self._members.beat_every_s)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._books.end()

    async def leave(self) -> None:
        """Nothing is asked of it any more: what was used is written down, the rest goes back."""
        if not self._books.is_shared:
            return
        self._books.is_shared = False
        if self._joining is not None:
            self._joining.cancel()
        left = [(key, share) for key, share in self._shares() if share.revision]
        try:
            async with asyncio.timeout(LEAVE_S):
                await _some_at_once(self._books.leave, left)
        except (TimeoutError, ConnectionError, UnknownRecord):
            log.warning("not all permits were handed over before the end; the others find out")

    async def _beat(self) -> None:
        if not self._books.is_open:
            return
        try:
            await self._members.beat()
        except ConnectionError:
            return
        self._members.forget_the_dead()
        if not self._books.is_shared and self._joining is None:
            self._join(is_lost=False)

    async def _greet(self) -> None:
        """A new one is to know soon how many there are."""
        try:
            await self._members.beat()
        except ConnectionError:
            return

    def _join(self, *, is_lost: bool) -> None:
        if self._joining is not None:
            self._joining.cancel()
        others = set(self._members.living()) - {self._me} if is_lost else set()
        self._joining = self._books.start(self._joined(others))

    async def _joined(self, others: set[str]) -> None:
        """First says what it has used; where the store was lost, waits for others to say it too."""
        try:
            used = [(key, share) for key, share in self._shares() if share.is_in_use]
            await _some_at_once(self._books.settle_up, used)
            await self._members.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._members.lease_s):
                    await self._members.heard_again(others)
            await self._members.beat()
        except ConnectionError:
            return
        finally:
            if self._joining is asyncio.current_task():
                self._joining = None
        if self._books.is_open:
            self._go_shared()

    def _go_shared(self) -> None:
        if self._clock() >= self._members.until_s:
            return
        self._books.is_shared = True
        log.info("limits are held together with the other sidecars")
        for key, share in self._shares():
            share.is_kept = False
            share.confine(self._me)
            if share.is_in_use:
                self._books.poke(key, share)

        self._start_serving()

    def _start_serving(self) -> None:
        self._is_starting = False
        self._started.set()

    def _go_alone(self) -> None:
        if not self._books.is_shared:
            return
        self._books.is_shared = False
        self._away_s = min(self._clock(), self._members.confirmed_s)
        known = self._members.known()
        self._rank = Rank(known.index(self._me), len(known))
        log.warning("limits are held alone, as one of %d sidecars", len(known))
        for _, share in self._shares():
            share.is_kept = True
            share.wake()

    def _grant_alone(self, share: Share) -> None:
        if self._is_starting:
            return
        share.grant_alone(self._me, self._rank, self._clock() - self._away_s)

    # -- one key --

    def _share(self, key: str) -> Share:
        share = self._local.usage(key)
        assert isinstance(share, Share)
        return share

    def _shares(self) -> list[tuple[str, Share]]:
        return [(key, each) for key, each in self._local.usages.items() if isinstance(each, Share)]

    def _adapt(self, key: str, share: Share, limits: Limits) -> None:
        """Its limits are others than before."""
        share.limits = limits
        if not self._books.is_shared:
            self._grant_alone(share)
            return
        if share.is_known:
            self._books.look(key, share)

    # -- all keys --

    async def _look_around(self) -> None:
        while True:
            shares = self._shares()
            for first in range(0, len(shares), LOOKED_AT_ONCE):
                now_s = self._clock()
                for key, share in shares[first : first + LOOKED_AT_ONCE]:
                    if self._books.is_shared and now_s >= self._members.until_s:
                        self._go_alone()
                    if not self._books.is_shared:
                        self._grant_alone(share)
                    elif now_s >= share.look_s and share.is_known and share.task is None:
                        self._books.look(key, share)
                await asyncio.sleep(LOOK_PAUSE_S)
            await asyncio.sleep(LOOK_S)


async def _some_at_once(
    work: Callable[[str, Share], Awaitable[None]], shares: Iterable[tuple[str, Share]]
) -> None:
    """With each; raises what the first raises that fails."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(key: str, share: Share) -> None:
        async with gate:
            await work(key, share)

    await asyncio.gather(*(one(key, share) for key, share in shares))
