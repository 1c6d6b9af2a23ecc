"""The kill campaign's receiver of webhooks, and what must hold of all that it was sent.

It stands at the network boundary, answers 500 or cuts the connection now and then, and knows by the
URL which submission a webhook is of.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from standardwebhooks import WebhookVerificationError

from runestone_testing.chaos_table import Row
from runestone_testing.job_webhooks import TAKEN, verified
from runestone_testing.provider import close, pause, reply, reset

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping

    from runestone_testing.provider import Action, Request, Script

PATH = "/hooks/done"
PART = 1 / 3  # of the jobs has one
REFUSED = 0.1  # of the deliveries; as many are cut
LONGEST_S = 0.1


def target(text: str) -> str:
    """Of the receiver, for a submission with this text."""
    return f"{PATH}?of={quote(text)}"


@dataclass(frozen=True, slots=True)
class Delivery:
    job_id: str
    webhook_id: str
    body: bytes

    @property
    def status(self) -> str:
        """Of the job, as it says."""
        return str(json.loads(self.body)["data"]["status"])

    def answers(self, text: str) -> bool:
        """Whether the result is that of the request with this text."""
        return json.dumps(text) in json.dumps(json.loads(self.body)["data"]["response"])


@dataclass(slots=True)
class Hooks:
    rng: random.Random
    asked: set[str] = field(default_factory=set)  # texts of submissions that wanted one
    deliveries: dict[str, list[Delivery]] = field(default_factory=lambda: defaultdict(list))
    told: Counter[str] = field(default_factory=Counter)  # by text: the receiver said yes
    answered: Counter[str] = field(default_factory=Counter)
    unsigned: int = 0

    # -- the receiver --

    def answer(self, request: Request) -> Script:
        (text,) = parse_qs(urlsplit(request.target).query)["of"]
        try:
            event = verified(request)
        except WebhookVerificationError:
            self.unsigned += 1
            return reply(b"", 400)
        webhook_id = request.header("webhook-id") or ""
        self.deliveries[text].append(Delivery(event["data"]["id"], webhook_id, request.body))
        return [pause(self.rng.uniform(0, LONGEST_S)), *self._word(text)]

    def _word(self, text: str) -> Script:
        roll = self.rng.random()
        if roll < REFUSED:
            self.answered["500"] += 1
            return [reply(b"", 500)]
        if roll < 2 * REFUSED:
            self.answered["cut"] += 1
            return [self.rng.choice((reset(), close()))]
        self.answered["204"] += 1
        return [TAKEN, self._note(text)]

    def _note(self, text: str) -> Action:
        """Once the answer is sent: whoever died before has not told."""

        async def act(_: object) -> None:
            self.told[text] += 1

        return act

    # -- the oracle --

    def missing(self, texts: Collection[str]) -> set[str]:
        """Of these jobs, that have ended, the ones that nobody was told of."""
        return self.asked & set(texts) - self.told.keys()

    def rows(
        self,
        acknowledged: Mapping[str, set[str]],
        unsure: set[str],
        ends: Mapping[str, str],
        depth: float | None,
    ) -> list[Row]:
        """`unsure` are those of whose submissions nobody knows whether they became jobs."""
        ended = {text for text, ids in acknowledged.items() if ids <= ends.keys()}
        missing = self.missing(ended)
        wrong = sum(
            not self._is_of(each, text, acknowledged.get(text), ends)
            for text, found in self.deliveries.items()
            for each in found
        )
        changed = sum(len(set(found)) > 1 for found in self.deliveries.values())
        shared = len(self.deliveries) - len({found[0].webhook_id for found in self._found()})
        unasked = self.deliveries.keys() - (self.asked & (acknowledged.keys() | unsure))
        again = self.told.total() - len(self.told)
        return [
            Row("jobs with a webhook", len(self.asked & acknowledged.keys())),
            Row("ended and never told of", len(missing), not missing),
            Row("webhooks with two ids or bodies", changed, not changed),
            Row("ids of webhooks that several jobs have", shared, not shared),
            Row("webhooks that say what is not so", wrong, not wrong),
            Row("webhooks without a good signature", self.unsigned, not self.unsigned),
            Row("webhooks of what is no job, or asked for none", len(unasked), not unasked),
            Row("webhooks left in their queue", depth, depth == 0),
            Row("deliveries, by the receiver's answer", dict(sorted(self.answered.items()))),
            Row("told of more than once", again),
        ]

    def _found(self) -> Collection[list[Delivery]]:
        return self.deliveries.values()

    def _is_of(
        self, each: Delivery, text: str, ids: set[str] | None, ends: Mapping[str, str]
    ) -> bool:
        """Whether it tells of that job, and as the job itself does. Of a job that nobody was
        promised only its own words can be read."""
        known = ids is None or each.job_id in ids
        agrees = ends.get(each.job_id, each.status) == each.status
        return known and agrees and (each.status != "succeeded" or each.answers(text))
