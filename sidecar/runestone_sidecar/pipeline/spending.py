"""What a request may use of its key's limits, before it is sent, and what it did use, after.

Tokens are reserved as expected and money as the worst case: a budget is never overspent by
requests that were let in together. Both are settled to what the provider counted, and streams are
asked for it (`prepare`). Where it counted nothing, or the answer was cut, the estimate of the input
and one token an event of what was sent stand in. A request that got no answer is given back whole.
"""

from typing import Final

from runestone_contract.config import Limits, Prices
from runestone_sidecar.admit.limits import Limiter, Need, Reservation
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.errors import LimitReached
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.upstream.dialects.base import Usage

_CHECK: Final = EventType.RATELIMIT_CHECK
_ALLOW: Final = EventType.RATELIMIT_ALLOW


async def reserve(
    limiter: Limiter, plan: Plan, record: Record, *, is_told: bool = True
) -> Reservation | None:
    """Raises LimitReached. None: the key has no limits. `is_told`: that it is asked for, and
    refused; who looks again and again tells it once."""
    limits = plan.principal.limits
    if limits is None:
        return None
    need = need_of(plan, limits)
    if is_told:
        record.events.emit(_CHECK, record)
    try:
        reservation = limiter.take(plan.principal, need) or await limiter.reserve(
            plan.principal, need
        )
    except LimitReached as reached:
        if is_told:
            record.events.emit(EventType.RATELIMIT_BLOCK, record, reason=reached.limit)
        raise
    record.events.emit(_ALLOW, record)
    return reservation


def need_of(plan: Plan, limits: Limits) -> Need:
    tokens, input_tokens = plan.input_tokens + plan.output_tokens, plan.input_tokens
    if limits.budget is None:
        return Need(tokens, 0, input_tokens)
    # Those of the dearest offer, and of the cheapest for the input alone.
    offers = plan.decision.offers
    most, alone = _costs(plan, offers[0])
    for offer in offers[1:]:
        each = _costs(plan, offer)
        most, alone = max(most, each[0]), min(alone, each[1])
    return Need(tokens, most, input_tokens, alone)


def _costs(plan: Plan, offer: Offer) -> tuple[int, int]:
    """Pico-dollars if the model writes as much as it may, and of the input alone; nothing where no
    price is known."""
    if (prices := offer.prices) is None:
        return 0, 0
    may_write, of_model = plan.max_output_tokens, offer.target.max_output_tokens
    if may_write is None:
        may_write = plan.output_tokens if of_model is None else of_model * plan.choices
    alone = prices.input * plan.input_tokens
    return alone + prices.output * may_write, alone


def settle(record: Record) -> None:
    """Once, when all is over: completes the record's usage and ends its reservation."""
    usage, reservation = record.usage, record.reservation
    if record.answered:
        if usage is None:
            record.usage_estimated = True
            usage = record.usage = Usage(record.input_tokens, record.output_estimate)
        elif record.interrupted or record.client_gone:  # counted at its start, say
            usage.output_tokens = max(usage.output_tokens, record.output_estimate)
    if usage is None:
        if reservation is not None:
            reservation.refund()
        return
    offer = record.offer
    if offer is not None and offer.prices is not None:
        record.cost_picodollars = _cost(usage, offer.prices)
    if reservation is not None:
        reservation.commit(
            tokens=usage.input_tokens + usage.output_tokens,
            cost_picodollars=record.cost_picodollars or 0,
        )


def _cost(usage: Usage, prices: Prices) -> int:
    cost = usage.input_tokens * prices.input + usage.output_tokens * prices.output
    if usage.cached_input_tokens and prices.cached_input is not None:
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cost -= cached * (prices.input - prices.cached_input)
    return cost
