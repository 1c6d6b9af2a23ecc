"""What each provider is doing right now: state that outlives reloads, for routing to look at."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from runestone_sidecar.admit.breaker import Breaker
from runestone_sidecar.admit.cooldown import Cooldowns
from runestone_sidecar.config.snapshot import Offer, Provider

LATENCY_WEIGHT: Final = 0.2  # of the newest first byte in the moving average, at least
LATENCY_HALF_LIFE_S: Final = 30.0  # of what was measured: who is not called would stay slow
SCORE_WEIGHT: Final = 0.25  # of the newest outcome: three failures in a row make a provider sick
SICK: Final = 0.5  # below this score a provider stands behind its healthy peers
NEARLY_WELL: Final = 0.99  # from here a score is one again, and costs nothing more
UNASKED_S: Final = 600.0  # before a model that refused to be asked for usage is asked again
SCORE_HALF_LIFE_S: Final = 60.0  # of what is missing to one: who is not called would stay sick


@dataclass(slots=True)
class ProviderLoad:
    in_flight: int = 0
    first_byte_s: float | None = None  # moving average; None: never measured
    called_s: float = -inf  # when it was last, for all that is known
    newest_weight: float = LATENCY_WEIGHT  # of the next first byte
    marred: bool = False  # something was the matter lately; else nobody need look any closer
    breaker: Breaker = field(default_factory=Breaker)
    cooldowns: Cooldowns = field(default_factory=Cooldowns)
    score: float = 1.0  # moving average of outcomes, as of `scored_s`
    scored_s: float = 0.0
    unasked: dict[str, float] = field(default_factory=dict)  # model -> until when
    turns: dict[tuple[str, str], int] = field(default_factory=dict)  # (API, model) -> the last
    address: object = None  # where it is: what is known is known of that place

    def score_at(self, now_s: float) -> float:
        if self.score == 1.0:
            return 1.0
        faded: float = 0.5 ** (max(0.0, now_s - self.scored_s) / SCORE_HALF_LIFE_S)
        return 1.0 - (1.0 - self.score) * faded

    def observe_outcome(self, goodness: float, now_s: float) -> None:
        """In [0, 1]: an answer is one, an outage zero."""
        score = self.score_at(now_s)
        score += SCORE_WEIGHT * (goodness - score)
        self.score = 1.0 if score >= NEARLY_WELL else score
        self.scored_s = now_s

    def settle(self) -> None:
        """After an outcome was written down."""
        self.marred = self.score < 1.0 or bool(self.cooldowns) or not self.breaker.spotless

    def observe_first_byte(self, seconds: float) -> None:
        if self.first_byte_s is None:
            self.first_byte_s = seconds
        else:
            self.first_byte_s += self.newest_weight * (seconds - self.first_byte_s)
        self.newest_weight = LATENCY_WEIGHT

    def expected_s(self, now_s: float) -> float:
        """Of the first byte. It fades to none, until there is a call that measures it anew; and
        that is one: from its begin on all is as it was."""
        left = self._left(now_s)
        if self.first_byte_s is None:
            return inf if left > 0.5 else 0.0
        return self.first_byte_s * left

    def begin_call(self, now_s: float) -> None:
        self.newest_weight = max(self.newest_weight, 1.0 - self._left(now_s))
        self.called_s = now_s

    def _left(self, now_s: float) -> float:
        """Of what was measured."""
        left: float = 0.5 ** (max(0.0, now_s - self.called_s) / LATENCY_HALF_LIFE_S)
        return left

    def leave_unasked(self, model: str, now_s: float) -> None:
        self.unasked[model] = now_s + UNASKED_S

    def may_ask_usage(self, model: str, now_s: float) -> bool:
        """Whether its streams may be asked what they use."""
        until_s = self.unasked.get(model)
        if until_s is not None and now_s < until_s:
            return False
        self.unasked.pop(model, None)
        return True

    def follow(self, provider: Provider) -> None:
        """What was learnt at another address, or of another key, does not hold any more."""
        address = (provider.origin, provider.base_path)
        if self.address not in (None, address):
            self.breaker, self.score = Breaker(), 1.0
            self.first_byte_s, self.called_s = None, -inf
            self.cooldowns.clear()
            self.unasked.clear()
        self.address = address
        self.cooldowns.keep(provider.credentials)
        self.settle()


class LoadStore:
    """Keyed by provider id; pruned when a swap no longer names them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now_s = clock
        self._providers: dict[str, ProviderLoad] = {}
        self._turns = 0

    def of(self, provider_id: str) -> ProviderLoad:
        found = self._providers.get(provider_id)
        if found is None:
            found = self._providers[provider_id] = ProviderLoad()
        return found

    def take_turn(self, offer: Offer, first: Offer, api: str) -> None:
        """The offer is called, it may be in the stead of the `first`, whose turn it was.

        That one then stands behind it: else who always fails were the first of every request.
        """
        self.of(offer.provider.id).begin_call(self.now_s())
        for each in (offer, first):
            self._turns += 1
            self.of(each.provider.id).turns[api, each.model] = self._turns

    def follow(self, providers: Iterable[Provider], models: Collection[str]) -> None:
        """Keeps what these name. Requests in flight keep the ProviderLoad they hold."""
        kept: dict[str, ProviderLoad] = {}
        for provider in providers:
            load = kept[provider.id] = self.of(provider.id)
            load.follow(provider)
            load.turns = {key: turn for key, turn in load.turns.items() if key[1] in models}
        self._providers = kept
