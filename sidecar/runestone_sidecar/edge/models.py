"""`GET /v1/models` and `/v1/models/{model}`: what *this key* may use, and nothing else."""

from typing import Any

from runestone_sidecar.admit.route import model_not_found, visible_models
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.request import Receive, Scope, Send
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.pipeline.plan import Record


class Models:
    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        found = visible_models(caller.snapshot, caller.principal)
        wanted: str | None = scope.get("path_params", {}).get("model")
        if wanted is None:
            data = [describe(name, offer) for name, offer in found.items()]
            await send_json(send, record, {"object": "list", "data": data})
            return
        if wanted not in found:
            raise model_not_found(wanted)
        await send_json(send, record, describe(wanted, found[wanted]))


def describe(name: str, offer: Offer) -> dict[str, Any]:
    """OpenAI's model object, and what a client would otherwise have to look up elsewhere."""
    shown: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": offer.provider.id,
        "capabilities": sorted(offer.capabilities),
        "context_window": offer.context_window,
        "max_output_tokens": offer.target.max_output_tokens,
    }
    if (prices := offer.prices) is not None:
        shown["pricing"] = {  # USD per million tokens
            "input": _usd(prices.input),
            "cached_input": _usd(
                prices.input if prices.cached_input is None else prices.cached_input
            ),
            "output": _usd(prices.output),
        }
    return shown


def _usd(pico_per_token: int) -> str:
    whole, rest = divmod(pico_per_token, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").removesuffix(".")
