"""Who of those that could serve wants to be left alone: open breakers and cooling credentials."""

from collections.abc import Sequence
from dataclasses import dataclass

from runestone_sidecar.admit.load import SICK, LoadStore, ProviderLoad
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.errors import GatewayError, NoProvider, RateLimited
from runestone_sidecar.telemetry.traffic import NONE


@dataclass(slots=True)
class Held:
    """An offer that is passed over."""

    offer: Offer
    reason: str  # CamelCase, for whoever asks why
    wait_s: float
    limited: bool = False  # by the rate limits of the provider


def holding(load: ProviderLoad, offer: Offer, now_s: float) -> Held | None:
    provider, breaker, cooldowns = offer.provider, load.breaker, load.cooldowns
    if not breaker.admits(provider.breaker, now_s):
        return Held(offer, "BreakerOpen", breaker.wait_s(now_s))
    if cooldowns and cooldowns.pick(provider.credentials, offer.target.upstream, now_s) is None:
        wait_s = cooldowns.wait_s(provider.credentials, now_s, offer.target.upstream)
        return Held(offer, "CoolingDown", wait_s, limited=not cooldowns.overloaded(now_s))
    return None


def sort_out(
    loads: LoadStore, offers: Sequence[Offer]
) -> tuple[Sequence[Offer], Sequence[Offer], Sequence[Held]]:
    """Those to try, in their order; those to try last; and those to leave alone.

    Where a key is known to be refused, the offer comes last: it is a wasted call, most likely.
    """
    for offer in offers:
        if loads.of(offer.provider.id).marred:
            break
    else:
        return offers, (), ()
    now_s = loads.now_s()
    free: list[Offer] = []
    refused: list[Offer] = []
    held: list[Held] = []
    for offer in offers:
        provider, load = offer.provider, loads.of(offer.provider.id)
        if (found := holding(load, offer, now_s)) is not None:
            held.append(found)
        elif load.cooldowns.refused(provider.credentials, offer.target.upstream, now_s):
            refused.append(offer)
        else:
            free.append(offer)
    return free, refused, held


def all_held(held: Sequence[Held], model: str) -> GatewayError:
    """What is told when everyone who could serve is to be left alone."""
    wait_s = min(each.wait_s for each in held)
    served = "provider of this request" if model == NONE else f"provider of model '{model}'"
    if all(each.limited for each in held):
        return RateLimited(
            f"The rate limits of every {served} are reached.",
            retry_after_s=wait_s,
        )
    return NoProvider(
        f"No {served} is well enough to be asked right now.",
        retry_after_s=wait_s,
    )


def healthy_first(loads: LoadStore, offers: Sequence[Offer]) -> Sequence[Offer]:
    """Behind those of its own priority goes who fails too often; the rest keeps its place."""
    for offer in offers:
        if loads.of(offer.provider.id).score < SICK:
            break
    else:
        return offers
    now_s = loads.now_s()
    ranked: dict[int, list[Offer]] = {}
    for offer in sorted(offers, key=lambda o: loads.of(o.provider.id).score_at(now_s) < SICK):
        ranked.setdefault(offer.provider.priority, []).append(offer)
    turns = {priority: iter(found) for priority, found in ranked.items()}
    return [next(turns[offer.provider.priority]) for offer in offers]
