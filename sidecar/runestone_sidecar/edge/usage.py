"""`GET /v1/usage`: what this key has used since this sidecar started, and what its limits leave."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from runestone_sidecar.admit.limits import BUDGET, Limiter, LimitState
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.money import usd
from runestone_sidecar.edge.request import Receive, Scope, Send
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.traffic import NONE, Traffic


@dataclass(slots=True)
class _Used:
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_picodollars: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": usd(self.cost_picodollars),
        }


@dataclass(frozen=True, slots=True)
class UsageReport:
    traffic: Traffic
    limiter: Limiter
    started_s: int  # Unix seconds: what is reported was used since

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        principal = caller.principal
        models = self._by_model(principal.id)
        total = _Used()
        for used in models.values():
            _add(total, used)
        shown = {
            "object": "runestone.usage",
            "api_key": principal.name,
            "tenant": principal.tenant,
            "since": self.started_s,
            **total.shown(),
            "models": [
                {"model": model, **used.shown()}
                for model, used in sorted(models.items())
                if model != NONE
            ],
            "limits": [_limit(state) for state in self.limiter.state(principal)],
        }
        await send_json(send, record, shown)

    def _by_model(self, key: str) -> dict[str, _Used]:
        """A request that got no provider counts under no model, and in the total alone."""
        found: defaultdict[str, _Used] = defaultdict(_Used)
        for (who, model, _, _), count in self.traffic.requests.items():
            if who == key:
                found[model].requests += count
        for (who, model, _), spent in self.traffic.spent.items():
            if who == key:
                found[model].input_tokens += spent.input_tokens
                found[model].output_tokens += spent.output_tokens
                found[model].cost_picodollars += spent.cost_picodollars
        return found


def _limit(state: LimitState) -> dict[str, Any]:
    """A budget in USD, as decimal strings; the others in requests or tokens."""
    is_money = state.kind == BUDGET
    shown: dict[str, Any] = {
        "limit": state.kind,
        "max": usd(state.limit) if is_money else state.limit,
        "remaining": usd(state.remaining) if is_money else state.remaining,
        "reset_seconds": round(state.reset_s, 3),
    }
    return shown | {"period": state.period} if is_money else shown


def _add(total: _Used, used: _Used) -> None:
    total.requests += used.requests
    total.input_tokens += used.input_tokens
    total.output_tokens += used.output_tokens
    total.cost_picodollars += used.cost_picodollars
