"""`GET /v1/models` and `/v1/models/{model}`: what *this key* may use, and nothing else.

OpenAI and Anthropic share these URLs; a request with Anthropic's version header gets its shapes.
"""

from typing import Any

from runestone_sidecar.admit.route import model_not_found, visible_models
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.request import Receive, Scope, Send, speaks_anthropic
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.pipeline.plan import Record


class Models:
    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        found = visible_models(caller.snapshot, caller.principal)
        wanted: str | None = scope.get("path_params", {}).get("model")
        for_anthropic = speaks_anthropic(scope)
        shown = describe_for_anthropic if for_anthropic else describe
        if wanted is None:
            data = [shown(name, offer) for name, offer in found.items()]
            await send_json(send, record, _page(data) if for_anthropic else _list(data))
            return
        if wanted not in found:
            raise model_not_found(wanted)
        await send_json(send, record, shown(wanted, found[wanted]))


def _list(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": data}


def _page(data: list[dict[str, Any]]) -> dict[str, Any]:
    """The one there is: a key sees a few hundred models at most."""
    ids = [model["id"] for model in data]
    return {
        "data": data,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def describe_for_anthropic(name: str, offer: Offer) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",  # as Anthropic writes one that is not known
        "max_input_tokens": offer.context_window,
        "max_tokens": offer.target.max_output_tokens,
    }


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
