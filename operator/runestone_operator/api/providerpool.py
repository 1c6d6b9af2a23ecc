"""ProviderPool: providers that can stand in for each other."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.model import ApiModel, MapList
from runestone_operator.api.provider import Provider
from runestone_operator.api.rules import rule
from runestone_operator.api.selector import LabelSelector


class Strategy(StrEnum):
    PRIORITY = "Priority"
    ROUND_ROBIN = "RoundRobin"
    WEIGHTED = "Weighted"
    LEAST_BUSY = "LeastBusy"
    LOWEST_LATENCY = "LowestLatency"
    LOWEST_COST = "LowestCost"
    RANDOM = "Random"


class SharedWith(StrEnum):
    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class Sharing(ApiModel):
    """Which namespaces may route to this pool. Its credentials are copied, by the operator alone,
    only into the managed Secret of namespaces that use it."""

    namespaces: SharedWith = SharedWith.SAME
    """Same: this namespace only. All: every namespace. Selector: namespaces that `selector`
    chooses, besides this one."""
    selector: LabelSelector | None = None
    """Labels of the namespaces that may use the pool; with `namespaces: Selector` only."""

    @rule(
        "(self.namespaces == 'Selector') == has(self.selector)",
        "selector is needed with namespaces: Selector, and only there",
        at="selector",
    )
    def selector_iff_asked_for(self) -> bool:
        return (self.namespaces is SharedWith.SELECTOR) == (self.selector is not None)


class ProviderPoolSpec(ApiModel):
    """Providers that can stand in for each other, and how to choose between them."""

    strategy: Strategy = Strategy.PRIORITY
    """How a provider is chosen among those that serve the model. Priority: the lowest `priority`,
    then as written. RoundRobin: in turn. Weighted: by `weight`. LeastBusy: the fewest requests in
    flight. LowestLatency: the quickest of late. LowestCost: the cheapest for the estimated tokens.
    Random: any."""
    providers: Annotated[tuple[Provider, ...], Field(min_length=1, max_length=64), MapList("name")]
    """The providers, each under a name of its own."""
    sharing: Sharing = Sharing()
    """Which namespaces may route to this pool."""

    @rule(
        "self.strategy != 'Weighted' || self.providers.exists(p, p.weight > 0)",
        "with strategy: Weighted, at least one provider needs a weight above zero",
        at="providers",
    )
    def some_weight(self) -> bool:
        return self.strategy is not Strategy.WEIGHTED or any(p.weight for p in self.providers)
