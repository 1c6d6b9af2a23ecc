"""In which order a pool's offers of one model are tried: one function a strategy."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.admit.availability import healthy_first
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.snapshot import Offer


@dataclass(slots=True)
class Situation:
    """What a strategy may look at beside the offers themselves."""

    api: str  # its turns are its own
    load: LoadStore
    random: random.Random
    input_tokens: int
    output_tokens: int


Offers = Sequence[Offer]


def _priority(offers: Offers, _: Situation) -> Offers:
    return offers  # built in priority order


def _round_robin(offers: Offers, now: Situation) -> Offers:
    """Who had its turn longest ago: even whoever is left out, and to look takes no turn."""
    return sorted(
        offers,
        key=lambda offer: now.load.of(offer.provider.id).turns.get((now.api, offer.model), 0),
    )


def _weighted(offers: Offers, now: Situation) -> Offers:
    # Efraimidis and Spirakis: u^(1/w) sorted descending is a weighted draw without replacement.
    return sorted(
        offers,
        key=lambda offer: now.random.random() ** (1 / max(offer.provider.weight, 1e-9)),
        reverse=True,
    )


def _least_busy(offers: Offers, now: Situation) -> Offers:
    return sorted(offers, key=lambda offer: now.load.of(offer.provider.id).in_flight)


def _lowest_latency(offers: Offers, now: Situation) -> Offers:
    now_s = now.load.now_s()
    return sorted(offers, key=lambda offer: now.load.of(offer.provider.id).expected_s(now_s))


def _lowest_cost(offers: Offers, now: Situation) -> Offers:
    return by_cost(offers, now.input_tokens, now.output_tokens)


def _random(offers: Offers, now: Situation) -> Offers:
    return now.random.sample(offers, len(offers))


Strategy = Callable[[Offers, Situation], Offers]

STRATEGIES: Final[Mapping[str, Strategy]] = {
    "Priority": _priority,
    "RoundRobin": _round_robin,
    "Weighted": _weighted,
    "LeastBusy": _least_busy,
    "LowestLatency": _lowest_latency,
    "LowestCost": _lowest_cost,
    "Random": _random,
}
# Those that go by what other requests change, while one waits for its turn say.
PASSING: Final = frozenset({"RoundRobin", "LeastBusy", "LowestLatency"})


@dataclass(slots=True)
class Peers:
    """The first offers of a decision, in an order that passes: one of them serves, and which one
    is known when it is called."""

    count: int
    order: Strategy
    now: Situation

    def put_in_order(self, offers: Offers) -> Offers:
        peers = self.order(offers[: self.count], self.now)
        return [*healthy_first(self.now.load, peers), *offers[self.count :]]


def by_cost(offers: Offers, input_tokens: int, output_tokens: int) -> Offers:
    """Cheapest first; equal and unknown prices keep their order, unknown ones last."""

    def price(offer: Offer) -> tuple[bool, int]:
        cost = offer.cost(input_tokens, output_tokens)
        return cost is None, cost or 0

    return sorted(offers, key=price)
