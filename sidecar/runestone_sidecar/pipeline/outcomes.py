"""Writes into a provider's state what a call to it came to, and tells of each turn once.

What counts for what is the table's business (verdicts.py).
"""

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.admit.availability import holding
from runestone_sidecar.admit.breaker import Probe, State
from runestone_sidecar.admit.cooldown import Reason, Whose
from runestone_sidecar.admit.load import LoadStore, ProviderLoad
from runestone_sidecar.config.snapshot import Offer, Provider
from runestone_sidecar.pipeline.failure import of_holding
from runestone_sidecar.pipeline.verdicts import Row, Scope, Sign
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.telemetry.traffic import Traffic

_FIRST: Final = (0,)
_TOLD: Final = {
    State.CLOSED: EventType.CIRCUIT_CLOSE,
    State.HALF_OPEN: EventType.CIRCUIT_HALF_OPEN,
    State.OPEN: EventType.CIRCUIT_OPEN,
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Turn:
    """One request at one provider: its tries, and the credential that is used."""

    load: ProviderLoad
    request: Hashable = None  # whose turn it is, as breakers tell them apart; None: a health check
    used: tuple[int, ...] = ()  # credentials that were tried, by position
    credential: int = 0  # the one in use
    probe: Probe | None = None  # while the breaker is half-open
    tries: int = 1
    fresh: bool = False  # a kept connection was gone once already
    unasked: bool = False  # it refused to be asked for the usage of a stream

    def leave(self) -> None:
        """To be called where it has a `probe`."""
        if self.probe is not None:
            self.probe.give_back()
            self.probe = None


class Outcomes:
    def __init__(self, load: LoadStore, traffic: Traffic) -> None:
        self._load = load
        self._traffic = traffic

    def enter(self, offer: Offer, request: Hashable) -> Turn:
        """Raises AttemptFailed where the provider is to be left alone by now."""
        load = self._load.of(offer.provider.id)
        if not load.marred:
            return Turn(load, request, _FIRST)
        turn = Turn(load, request)
        provider, now_s = offer.provider, self._load.now_s()
        held = holding(load, offer, now_s)
        if held is not None:
            raise of_holding(held, offer)
        self.next_credential(provider, turn, offer.target.upstream)
        turn.probe = self.probe(provider, load)
        return turn

    def probe(self, provider: Provider, load: ProviderLoad) -> Probe | None:
        before = load.breaker.state
        probe = load.breaker.take_probe(provider.breaker, self._load.now_s())
        self._tell_breaker(provider, load, before)
        return probe

    def succeeded(self, provider: Provider, turn: Turn, model: str) -> None:
        load, now_s = turn.load, self._load.now_s()
        if turn.request is not None:  # a health check measures nothing
            load.called_s = now_s
        if not load.marred:
            load.breaker.answered(turn.request, now_s)
            return
        before = load.breaker.state
        self._count(Sign.ALIVE, provider, turn)
        load.observe_outcome(1.0, now_s)
        if load.cooldowns.succeeded(provider.credentials[turn.credential], model):
            log.info("provider %s: serves again with credential %s", *_where(provider, turn))
        self._tell_breaker(provider, load, before)
        load.settle()

    def answered_unasked(self, offer: Offer, turn: Turn) -> None:
        """Once it was not asked for usage: so that was what it had refused."""
        turn.load.leave_unasked(offer.target.upstream, self._load.now_s())
        log.warning(
            "provider %s: model %s refuses `stream_options`: what its streams use is estimated",
            offer.provider.id,
            offer.model,
        )

    def answered(self, provider: Provider, turn: Turn) -> None:
        """In an API that says nothing of how chats fare: it is there, and no more is known."""
        if turn.probe is not None:
            before = turn.load.breaker.state
            turn.probe.succeeded()
            self._tell_breaker(provider, turn.load, before)
            turn.load.settle()

    def failed(
        self, provider: Provider, turn: Turn, row: Row, *, model: str, wait_s: float | None = None
    ) -> None:
        load = turn.load
        before, now_s = load.breaker.state, self._load.now_s()
        self._count(row.sign, provider, turn)
        if row.score is not None:
            load.observe_outcome(row.score, now_s)
        if row.reason is not None and (row.pause is not Scope.PROVIDER or wait_s is not None):
            credential = provider.credentials[turn.credential]
            if load.cooldowns.pause(_whose(row, credential, model), row.reason, wait_s, now_s):
                self._tell_pause(provider, turn, row.reason, row.title)
        self._tell_breaker(provider, load, before)
        load.settle()

    def next_credential(self, provider: Provider, turn: Turn, model: str) -> bool:
        """Whether there is one that was not used yet and may be."""
        position = turn.load.cooldowns.pick(
            provider.credentials, model, self._load.now_s(), tried=turn.used
        )
        if position is None:
            return False
        turn.credential = position
        turn.used += (position,)
        return True

    def _count(self, sign: Sign, provider: Provider, turn: Turn) -> None:
        rules, breaker, probe = provider.breaker, turn.load.breaker, turn.probe
        now_s = self._load.now_s()
        if sign is Sign.FAILURE:
            if probe is not None:
                probe.failed(rules, now_s)
            else:
                breaker.failed(rules, turn.request, now_s)
        elif sign is Sign.ALIVE:
            breaker.answered(turn.request, now_s)
            if probe is not None:
                probe.succeeded()
            else:
                breaker.succeeded(rules)

    def _tell_breaker(self, provider: Provider, load: ProviderLoad, before: State) -> None:
        now = load.breaker.state
        if now is before:
            return
        name = now.name.lower()
        self._traffic.events.emit(_TOLD[now], provider=provider.id)
        level = logging.WARNING if now is State.OPEN else logging.INFO
        log.log(level, "provider %s: circuit breaker %s", provider.id, name)

    def _tell_pause(self, provider: Provider, turn: Turn, reason: Reason, title: str) -> None:
        self._traffic.cooldowns[provider.id, reason.value] += 1
        log.warning(
            "provider %s: %s (credential %s)", provider.id, title, _where(provider, turn)[1]
        )


def _whose(row: Row, credential: str, model: str) -> Whose:
    if row.pause is Scope.PROVIDER:
        return None
    return credential if row.pause is Scope.CREDENTIAL else (credential, model)


def _where(provider: Provider, turn: Turn) -> tuple[str, str]:
    """By position alone: neither the credential nor what its Secret is called is told."""
    return provider.id, f"{turn.credential + 1} of {len(provider.credentials)}"
