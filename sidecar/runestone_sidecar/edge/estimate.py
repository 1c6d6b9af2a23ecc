"""`POST /v1/cost/estimate`: what a chat request would cost at each place it may go to."""

from dataclasses import dataclass
from typing import Any

from runestone_sidecar.admit.route import Router
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.incoming import read_incoming
from runestone_sidecar.edge.money import usd
from runestone_sidecar.edge.request import Receive, Scope, Send
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.pipeline.prepare import build_query
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The candidates are those of the live routing, cheapest first; nobody is called."""

    router: Router
    bodies: Bodies

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        incoming = await read_incoming(
            OPENAI_CHAT, scope, receive, record, self.bodies, is_estimate=True
        )
        query = incoming.query or build_query(incoming)
        decision = self.router.decide(caller.snapshot, caller.principal, query)
        record.model = decision.model
        estimates = [
            describe(offer, query.input_tokens, query.output_tokens, choices=query.choices)
            for offer in decision.offers
        ]
        estimates.sort(key=lambda each: (each["cost_usd"] is None, float(each["cost_usd"] or 0)))
        shown = {
            "object": "runestone.cost_estimate",
            "model": decision.model,
            "input_tokens": query.input_tokens,
            "output_tokens": query.output_tokens,
            "estimates": estimates,
        }
        await send_json(send, record, shown)


def describe(
    offer: Offer, input_tokens: int, output_tokens: int, *, choices: int
) -> dict[str, Any]:
    """Costs as decimal strings in USD; None where no price is known."""
    limit = offer.target.max_output_tokens
    written = output_tokens if limit is None else min(output_tokens, limit * choices)
    cost = offer.cost(input_tokens, written)
    return {
        "provider": offer.provider.id,
        "model": offer.model,
        "upstream_model": offer.target.upstream,
        "input_tokens": input_tokens,
        "output_tokens": written,
        "cost_usd": usd(cost),
        "input_cost_usd": usd(offer.cost(input_tokens, 0)),
        "output_cost_usd": usd(offer.cost(0, written)),
    }
