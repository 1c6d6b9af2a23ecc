"""The kill campaign: whoever took a job, runs it or keeps it dies at random moments.

Real sidecars that all take and run jobs, one nats-server that syncs before it acknowledges, a
provider that knows who calls it (each sidecar has a provider key of its own), and a receiver of
webhooks. The oracle is what the clients were answered: whatever was acknowledged must come to its
end, and be told of where that was asked for.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import traceback
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from typing import TYPE_CHECKING, Any

from runestone_contract.config import PolicyOverflow
from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_sidecar.errors import UNACKNOWLEDGED
from runestone_testing import bundles
from runestone_testing.chaos_clients import ANSWER_S, GONE, Asked, Wires, head
from runestone_testing.chaos_hooks import PART, PATH, Hooks, target
from runestone_testing.chaos_table import Row
from runestone_testing.job_stand import (
    ANSWER,
    ENDS,
    HOOK_ENTRY,
    HOOK_SECRET,
    OVERFLOW_KEY,
    JobStand,
    job_stand,
)
from runestone_testing.job_webhooks import LOOPBACK, hooked
from runestone_testing.provider import Provider, json_reply, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runestone_testing.provider import Request, Script

KINDS = ("answered", "worker", "nats")  # who is killed: a third of all kills each
CLIENTS = 8
AT_ONCE = 8
MOST_CALLS = 5
FEWEST = 2  # sidecars that are left when the next one is killed
LONGEST_CALL_S = 0.1
START_S = 90.0
QUIET_S = 300.0  # without a job that came to its end: what has not by then is lost
FIRST_S, LAST_S = 0.001, 2.0  # from an acknowledgement, or from a call, to the kill
NATS_AWAY_S = 1.0
SILENCE_S = 6  # of a worker that lives, on a machine that is busy with all of this
WELL_REFUSED = {0, 200, 429, 503}  # 0: the connection was lost
FOUR_HOURS_MS = 4 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Size:
    kills: int
    jobs: int
    seed: int
    sidecars: int = 3
    at_once: int = AT_ONCE  # jobs of one sidecar: so many are repeated when it dies, at most


@dataclass(slots=True)
class Latest:
    """The sidecar of the latest event, for those who wait for the next one."""

    badge: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, badge: int) -> None:
        self.badge = badge
        self._changed.set()
        self._changed = asyncio.Event()

    async def next(self) -> int:
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await self._changed.wait()
        return self.badge


class StandstillError(Exception):
    """Neither a kill nor a job for minutes."""


@dataclass(slots=True)
class Campaign:
    size: Size
    tell: Callable[[str], None]
    rng: random.Random
    hooks: Hooks = field(init=False)
    receiver_url: str = ""
    stand: JobStand = field(init=False)
    alive: list[int] = field(default_factory=list)  # by their numbers at the stand
    badges: dict[int, int] = field(default_factory=dict)  # by which the provider knows them
    killed: set[int] = field(default_factory=set)  # badges, from here on
    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by text
    refused: Counter[int] = field(default_factory=Counter)
    unsure: set[str] = field(default_factory=set)  # texts that may be jobs, for all that was said
    calls: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # who called
    answers: Latest = field(default_factory=Latest)
    called: Latest = field(default_factory=Latest)
    trouble: str = ""  # that ended it early
    _texts: Iterator[int] = field(default_factory=count)
    _started: int = 0

    def __post_init__(self) -> None:
        self.hooks = Hooks(random.Random(self.size.seed))

    # -- the provider --

    def answer(self, request: Request) -> Script:
        text = request.json()["messages"][0]["content"]
        caller = int((request.header("authorization") or "").rpartition("-")[2])
        self.calls[text].append(caller)
        self.called.tell(caller)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return [
            pause(self.rng.uniform(0, LONGEST_CALL_S)),
            json_reply(ANSWER | {"choices": [choice]}),
        ]

    async def run(self) -> None:
        """Until all kills are done and all jobs acknowledged, or nothing goes on."""
        try:
            for _ in range(self.size.sidecars):
                await self.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self.kill_all())
                for number in range(CLIENTS):
                    group.create_task(self.submit(random.Random(self.size.seed * CLIENTS + number)))
        except* Exception as errors:
            traceback.print_exception(errors)
            self.trouble = ", ".join(sorted({type(each).__name__ for each in errors.exceptions}))

    async def _watch(self) -> None:
        seen, since_s = (-1, -1), 0.0
        while not self.is_over:
            now = self.kills.total(), len(self.acknowledged)
            if now != seen:
                seen, since_s = now, time.monotonic()
            if time.monotonic() - since_s > QUIET_S:
                raise StandstillError
            await asyncio.sleep(1)

    # -- what dies --

    async def start(self) -> None:
        badge, self._started = self._started, self._started + 1
        folder = self.stand.root / f"credentials-{badge}"
        entries = {"cred-a": f"sk-provider-{badge}", OVERFLOW_KEY_ENTRY: OVERFLOW_KEY}
        entries[HOOK_ENTRY] = HOOK_SECRET
        bundles.swap(folder, {name: value.encode() for name, value in entries.items()})
        number = await self.stand.start(RUNESTONE_CREDENTIALS_DIR=str(folder))
        self.badges[number] = badge
        async with asyncio.timeout(START_S):
            while not await self.stand.is_open(number):
                await asyncio.sleep(0.05)
        self.alive.append(number)

    async def kill_all(self) -> None:
        async with asyncio.TaskGroup() as replacements:
            await self._kill_all(replacements)

    async def _kill_all(self, replacements: asyncio.TaskGroup) -> None:
        kinds = list(islice(cycle(KINDS), self.size.kills))
        self.rng.shuffle(kinds)
        for number, kind in enumerate(kinds):
            while len(self.acknowledged) < number * self.size.jobs // self.size.kills:
                await self.answers.next()
            victim = await (self.called if kind == "worker" else self.answers).next()
            await asyncio.sleep(FIRST_S * (LAST_S / FIRST_S) ** self.rng.random())
            if kind == "nats":
                await asyncio.to_thread(self.stand.nats.stop)
                await asyncio.sleep(self.rng.uniform(0, NATS_AWAY_S))
                await asyncio.to_thread(self.stand.nats.start)
            else:
                known = {self.badges[alive]: alive for alive in self.alive}
                await self._kill(known.get(victim, self.alive[0]))
                replacements.create_task(self.start())
                while len(self.alive) < FEWEST:
                    await asyncio.sleep(0.05)
            self.kills[kind] += 1
            self.tell(
                f"{number + 1} of {len(kinds)} kills, {len(self.acknowledged)} jobs,"
                f" {len(self.hooks.told)} told of, not acknowledged: {dict(self.refused)}"
            )

    async def _kill(self, victim: int) -> None:
        process = self.stand.sidecars[victim].process
        process.kill()
        self.alive.remove(victim)
        self.killed.add(self.badges[victim])
        await asyncio.to_thread(process.wait)

    # -- the clients --

    def is_due(self) -> bool:
        """Kills and jobs are spread over each other."""
        done = self.kills.total() + 1
        return len(self.acknowledged) < min(
            self.size.jobs, done * self.size.jobs // max(1, self.size.kills) + CLIENTS
        )

    @property
    def is_over(self) -> bool:
        return self.kills.total() >= self.size.kills and len(self.acknowledged) >= self.size.jobs

    async def submit(self, rng: random.Random) -> None:
        """One after the other; every second with a key, by which it is sent again until it is
        acknowledged."""
        wires = Wires(self.stand)
        while not self.is_over:
            if not self.is_due():
                await asyncio.sleep(0.02)
                continue
            asked = self._next(rng)
            while not await self._ask(wires, rng.choice(self.alive), asked):
                await asyncio.sleep(0.05)
                if asked.idempotency_key is None:
                    break
        await wires.close()

    def _next(self, rng: random.Random) -> Asked:
        number = next(self._texts)
        key = f"order-{number}" if rng.random() < 1 / 2 else None
        text = f"job {number}"
        if rng.random() >= PART:
            return Asked(text, key)
        self.hooks.asked.add(text)
        return Asked(text, key, self.receiver_url + target(text))

    async def _ask(self, wires: Wires, number: int, asked: Asked) -> bool:
        try:
            answer = await wires.ask(number, asked.render())
        except GONE:
            self.refused[0] += 1
            self.unsure.add(asked.text)
            return False
        if answer.status != 202:
            self.refused[answer.status] += 1
            if answer.status != 200 and answer.json()["error"]["code"] == UNACKNOWLEDGED:
                self.unsure.add(asked.text)
            return answer.status == 200  # answered at once, as none could be taken: no job
        self.acknowledged[asked.text].add(answer.json()["id"])
        self.answers.tell(self.badges[number])
        return True

    # -- the oracle --

    async def settle(self) -> dict[str, str]:
        """How each acknowledged job has ended, by id; those that have not are not in it."""
        ends: dict[str, str] = {}
        waiting = [(text, job_id) for text, ids in self.acknowledged.items() for job_id in ids]
        quiet_since_s, seen = time.monotonic(), 0
        while waiting and time.monotonic() - quiet_since_s < QUIET_S:
            turns = iter(waiting)
            again: list[tuple[str, str]] = []
            await asyncio.gather(*(self._look(turns, again, ends) for _ in range(CLIENTS)))
            waiting = again
            self.tell(f"{len(ends)} jobs have ended, {len(waiting)} have not")
            if len(ends) > seen:
                quiet_since_s, seen = time.monotonic(), len(ends)
            if waiting:
                await asyncio.sleep(1)
        return ends

    async def _look(
        self, turns: Iterator[tuple[str, str]], again: list[tuple[str, str]], ends: dict[str, str]
    ) -> None:
        wires = Wires(self.stand)
        for text, job_id in turns:
            try:
                answer = await wires.ask(self.alive[0], head("GET", f"/v1/jobs/{job_id}"))
                job = answer.json()
            except GONE:
                again.append((text, job_id))
                continue
            if answer.status == 200 and job["status"] in ENDS:
                ends[job_id] = _end_of(job, text)
            else:
                again.append((text, job_id))
        await wires.close()

    async def all_told(self) -> None:
        """Of all that was acknowledged, and has ended by now."""
        quiet_since_s, seen = time.monotonic(), -1
        while missing := self.hooks.missing(self.acknowledged):
            if seen != len(missing):
                quiet_since_s, seen = time.monotonic(), len(missing)
                self.tell(f"webhooks of {len(missing)} jobs are to come")
            if time.monotonic() - quiet_since_s > QUIET_S:
                return
            await asyncio.sleep(1)

    async def depth(self, metric: str) -> float | None:
        """Of a queue, once nothing is left to do."""
        found = None
        sidecar = self.stand.sidecars[self.alive[0]]
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                while (found := await asyncio.to_thread(sidecar.metric, metric)) != 0:
                    await asyncio.sleep(0.2)
        return found

    def rows(self, ends: dict[str, str], depth: float | None, lasted_s: float) -> list[Row]:
        ids = {job_id for found in self.acknowledged.values() for job_id in found}
        callers = {text: self.calls[text] for text in self.acknowledged}
        total = sum(map(len, callers.values()))
        most = max(map(len, callers.values()), default=0)
        unexplained = sum(
            caller not in self.killed for found in callers.values() for caller in found[:-1]
        )
        dead = len(self.killed)
        states = Counter(ends.values())
        at_once = self.size.at_once
        shown = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        kills = ", ".join(f"{self.kills[kind]} {kind}" for kind in KINDS)
        return [
            Row("seed", self.size.seed),
            Row("kill -9", f"{self.kills.total()}: {kills}"),
            Row("seconds", round(lasted_s)),
            Row("ran to its end", self.trouble or "yes", not self.trouble),
            Row("jobs acknowledged", len(ids), len(self.acknowledged) >= self.size.jobs),
            Row("of these lost", len(ids - ends.keys()), ids == ends.keys()),
            Row("ends", shown, set(states) <= {"succeeded"}),
            Row("jobs with two ids", len(ids) - len(self.acknowledged), len(ids) == len(callers)),
            Row("never run", sum(not found for found in callers.values()), all(callers.values())),
            Row(
                "provider calls",
                f"{total} <= {len(ids)} + {dead} x {at_once}",
                total <= len(ids) + dead * at_once,
            ),
            Row("repeated for another reason than a dead sidecar", unexplained, not unexplained),
            Row("most calls of a job", most, most <= MOST_CALLS),
            Row("left in the queue", depth, depth == 0),
            Row(
                "not acknowledged, by status",
                dict(sorted(self.refused.items())),
                self.refused.keys() <= WELL_REFUSED,
            ),
        ]


def _end_of(job: dict[str, object], text: str) -> str:
    """Its state; an answer must be its own."""
    if job["status"] == "succeeded" and json.dumps(text) not in json.dumps(job["response"]):
        return "succeeded with another's answer"
    return str(job["status"])


async def campaign(size: Size, *, tell: Callable[[str], None]) -> list[Row]:
    """Whatever happens, there is a table in the end."""
    made = Campaign(size, tell, random.Random(size.seed))
    rows: list[Row] = []
    try:
        async with Provider(made.hooks.answer) as receiver:
            made.receiver_url = receiver.url
            await _hold(made, rows)
    except Exception as error:
        traceback.print_exception(error)
        rows.append(Row("ended in good order", type(error).__name__, holds=False))
    return rows


async def _hold(made: Campaign, rows: list[Row]) -> None:
    began_s = time.monotonic()
    bounds = PolicyOverflow(
        max_queued=100_000, max_age_ms=FOUR_HOURS_MS, result_ttl_ms=FOUR_HOURS_MS
    )
    env: dict[str, Any] = {
        "RUNESTONE_JOBS_AT_ONCE": str(made.size.at_once),
        "RUNESTONE_JOBS_SILENCE_SECONDS": str(SILENCE_S),
        **LOOPBACK,
    }
    key = hooked(f"{made.receiver_url}{PATH}*")
    async with job_stand(key, answer=made.answer, sidecars=0, bounds=bounds, **env) as made.stand:
        await made.run()
        ends = await made.settle()
        await made.all_told()
        queued = await made.depth("runestone_jobs_queued")
        waiting = await made.depth("runestone_webhooks_waiting")
        lasted_s = time.monotonic() - began_s
        hooks = made.hooks.rows(made.acknowledged, made.unsure, ends, waiting)
        rows += [*made.rows(ends, queued, lasted_s), *hooks]
