"""What each provider is doing right now: state that outlives reloads, for strategies to look at."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

LATENCY_WEIGHT: Final = 0.2  # of the newest first byte in the moving average


@dataclass(slots=True)
class ProviderLoad:
    in_flight: int = 0
    first_byte_s: float | None = None  # moving average; None: never called

    def observe_first_byte(self, seconds: float) -> None:
        if self.first_byte_s is None:
            self.first_byte_s = seconds
        else:
            self.first_byte_s += LATENCY_WEIGHT * (seconds - self.first_byte_s)


class LoadStore:
    """Keyed by provider id and pool id; pruned when a swap no longer names them."""

    def __init__(self) -> None:
        self._providers: dict[str, ProviderLoad] = {}
        self._turns: dict[str, int] = {}

    def of(self, provider_id: str) -> ProviderLoad:
        found = self._providers.get(provider_id)
        if found is None:
            found = self._providers[provider_id] = ProviderLoad()
        return found

    def turn(self, pool_id: str) -> int:
        """Counts up by one a call: whose turn it is in a pool."""
        turn = self._turns.get(pool_id, 0)
        self._turns[pool_id] = turn + 1
        return turn

    def prune(self, providers: Collection[str], pools: Collection[str]) -> None:
        """Requests in flight keep the ProviderLoad they hold."""
        self._providers = {id_: load for id_, load in self._providers.items() if id_ in providers}
        self._turns = {id_: turn for id_, turn in self._turns.items() if id_ in pools}
