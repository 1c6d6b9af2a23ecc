"""Requests of a key that lets them wait: admitted in turn, by the configuration as it is then.

A stream is opened when it begins to wait, and comments tell how it stands until its answer begins.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from runestone_sidecar.admit.key_usage import never_fits
from runestone_sidecar.admit.limits import Limiter
from runestone_sidecar.admit.line import Waiter
from runestone_sidecar.admit.waiting import WAIT, WaitingRoom
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.request import Scope, Send
from runestone_sidecar.edge.respond import (
    PING,
    PING_AFTER_S,
    opening_headers,
    send_now,
    stream_start,
)
from runestone_sidecar.errors import LimitReached
from runestone_sidecar.pipeline.plan import Plan, Record, Routing
from runestone_sidecar.pipeline.spending import need_of, reserve

LOOK_EVERY_S: Final = 1.0
OFF_BY_S: Final = 1.0  # an estimate that is wrong by less, or by a tenth, is not told anew

P = TypeVar("P", bound=Plan)


@dataclass(slots=True)
class Entrant(Generic[P]):
    scope: Scope
    record: Record
    plan: P
    plan_anew: Callable[[Caller], P]  # by another configuration, or as somebody else
    send: Send | None = None  # None: no stream that may be opened before its answer


@dataclass(frozen=True, slots=True)
class Queue:
    limiter: Limiter
    room: WaitingRoom
    identify: Callable[[Scope, Record], Caller]

    async def admit(self, entrant: Entrant[P]) -> P:
        """The plan that it was let in with, in its turn; its reservation is in the record.

        Raises LimitReached, Draining, or what it is refused for by now.
        """
        plan, record = entrant.plan, entrant.record
        begin = None
        if entrant.send is not None and record.stream:
            begin = OpenStream(entrant.send, record).begin
        waiter = Waiter(
            key=plan.principal.id,
            terms=plan.decision.policy.overflow,
            body_bytes=len(plan.request.raw),
            ask=lambda: self._ask(entrant, waiter),
            begin=begin,
        )
        limits = plan.principal.limits
        try:
            await self.room.admit(
                waiter, fits=limits is None or not never_fits(limits, need_of(plan, limits))
            )
        finally:
            record.queued_s = waiter.waited_s
        if record.queued_s is not None:
            record.mark("queue")
            _start_its_time(entrant.plan)
        return entrant.plan

    async def admit_now(self, plan: Plan, record: Record) -> None:
        """For what cannot wait: its body is on its way, and whether its client is still there is
        known only to who reads it. Raises LimitReached."""
        self.room.check_nobody_waits(plan.principal.id)
        await self._reserve(plan, record)

    async def _ask(self, entrant: Entrant[P], waiter: Waiter) -> None:
        if waiter.line is None:
            await self._reserve(entrant.plan, entrant.record)
            return
        before = entrant.plan
        caller = self.identify(entrant.scope, entrant.record)
        if caller.snapshot is not before.snapshot or caller.principal is not before.principal:
            with Routing(entrant.record):
                entrant.plan = entrant.plan_anew(caller)
        try:
            await self._reserve(entrant.plan, entrant.record, is_told=False)
        except LimitReached as refusal:
            if entrant.plan.principal.overflow != WAIT:  # no more
                refusal.wait_s = math.inf
            raise

    async def _reserve(self, plan: Plan, record: Record, *, is_told: bool = True) -> None:
        reservation = await reserve(self.limiter, plan, record, is_told=is_told)
        if reservation is not None:
            record.reservation = self.room.watched(reservation, plan.principal.id)


def _start_its_time(plan: Plan) -> None:
    """What a rule gives a request is for its run."""
    if (timeout_s := plan.decision.rule.timeout_s) is not None and plan.deadline_s is not None:
        plan.deadline_s = asyncio.get_running_loop().time() + timeout_s


class OpenStream:
    """The comments go out at once or not at all: none waits for a client that does not read."""

    def __init__(self, send: Send, record: Record) -> None:
        self._send = send
        self._record = record
        self._waiter: Waiter | None = None
        self._loop = asyncio.get_running_loop()
        self._told_s = 0.0  # when it was told last
        self._place = 0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._probe_answer: Callable[[], bool] | None = None

    def begin(self, waiter: Waiter) -> None:
        start = stream_start(opening_headers(self._record), self._probe)
        if not send_now(self._send, start):
            return  # it waits like any other, and is opened with its answer
        self._record.status = 200
        self._record.end_comments = self._end
        self._waiter = waiter
        self._look()

    def _end(self, probe: Callable[[], bool] | None) -> None:
        self._probe_answer = probe
        self._has_ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _probe(self) -> bool:
        """For a client that sends no more; see half_close.py."""
        if not self._has_ended:
            return send_now(self._send, PING)
        return self._probe_answer is not None and self._probe_answer()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
        now_s = self._loop.time()
        standing = self._waiter.standing(now_s) if self._waiter is not None else None
        is_silent = now_s - self._told_s >= PING_AFTER_S
        if standing is None:  # it runs, and the provider has not begun to answer
            if is_silent and send_now(self._send, PING):
                self._told_s = now_s
            return
        place, eta_s = standing
        off_by_s = abs(now_s + eta_s - self._due_s)
        is_news = place != self._place or off_by_s >= max(OFF_BY_S, eta_s / 10)
        if (is_news or is_silent) and self._say(place, eta_s):
            self._place, self._due_s, self._told_s = place, now_s + eta_s, now_s

    def _say(self, place: int, eta_s: float) -> bool:
        comment = b": queued position=%d eta=%.1fs\n\n" % (place, eta_s)
        body = {"type": "http.response.body", "body": comment, "more_body": True}
        return send_now(self._send, body)
