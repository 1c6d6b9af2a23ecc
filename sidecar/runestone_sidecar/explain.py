"""Why a request would go where it would go: the live path's own decision, told instead of done.

Reads {"api_key": NAME, "path": "/v1/…", "headers": {…}, "body": {…}} and answers in JSON; calls
nobody.
"""

import asyncio
import random
import time
from typing import Any, Final, TextIO

import orjson

from runestone_contract.bundle import BundleError
from runestone_sidecar.admit.auth import usable
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.route import Router, Trace
from runestone_sidecar.config.loader import Loader
from runestone_sidecar.config.snapshot import Offer, Principal, Snapshot
from runestone_sidecar.edge.generate import SURFACES
from runestone_sidecar.edge.request import JsonBody, parse
from runestone_sidecar.errors import BadRequest, GatewayError, NotFound, Unauthorized
from runestone_sidecar.pipeline.prepare import Incoming, build_query, prepare
from runestone_sidecar.settings import Settings
from runestone_sidecar.upstream.surfaces.envelope import envelope

CHAT_PATH: Final = "/v1/chat/completions"


def explain(settings: Settings, question: bytes, out: TextIO) -> int:
    """Exit code: 0 routed, 1 refused (the answer says why), 2 no usable configuration."""
    try:
        snapshot = asyncio.run(
            Loader(settings.config_dir, settings.credentials_dir).load(current=None)
        )
    except BundleError as error:
        _write(out, {"error": {"message": error.reason, "type": "configuration"}})
        return 2
    answer = decide(snapshot, orjson.loads(question))
    _write(out, answer)
    return 1 if "error" in answer else 0


def decide(snapshot: Snapshot, question: dict[str, Any]) -> dict[str, Any]:
    trace = Trace()
    answer: dict[str, Any] = {"config": snapshot.digest}
    try:
        principal = _principal(snapshot, question.get("api_key"))
        answer["api_key"] = principal.id
        usable(principal, time.time())
        incoming = _incoming(question)
        query = build_query(incoming)
        answer["asked"] = {
            "model": query.model,
            "needs": sorted(query.needs),
            "prefers": sorted(query.prefers),
            "input_tokens": query.input_tokens,
            "output_tokens": query.output_tokens,
        }
        router = Router(load=LoadStore(), random=random.Random(0))
        plan = prepare(router, snapshot, principal, incoming, trace)
        decision = plan.decision
        answer["policy"] = decision.policy.id
        answer["rule"] = decision.rule.name
        answer["model"] = decision.model
        answer["order"] = [
            _offer(offer, query.input_tokens, query.output_tokens) for offer in decision.offers
        ]
    except GatewayError as error:
        answer |= envelope(error)
    answer["rejected"] = [
        {"provider": provider, "model": model, "reason": reason}
        for provider, model, reason in dict.fromkeys(trace.rejected)
    ]
    return answer


def _principal(snapshot: Snapshot, name: str | None) -> Principal:
    """By the ApiKey's name: who explains has no key at hand. None: the only one there is."""
    principals = {principal.id: principal for principal in snapshot.keys.values()}
    if name is None and len(principals) == 1:
        return next(iter(principals.values()))
    found = principals.get(name or "") or principals.get(f"{snapshot.namespace}/{name}")
    if found is None:
        known = ", ".join(sorted(p.name for p in principals.values())[:20]) or "none"
        missing = "" if name is None else f"There is no ApiKey {name}. "
        raise Unauthorized(f"{missing}Name one of these: {known}.")
    return found


def _incoming(question: dict[str, Any]) -> Incoming:
    body = question.get("body")
    if not isinstance(body, dict):
        raise BadRequest("The request's body must be a JSON object.")
    surface = SURFACES.get(question.get("path", CHAT_PATH))
    if surface is None:
        raise NotFound(f"Only requests to these are explained: {', '.join(SURFACES)}.")
    headers = {name.lower(): value for name, value in question.get("headers", {}).items()}
    return Incoming(
        surface=surface,
        request=parse(surface, JsonBody(body), request_id="explain", now_s=time.time()),
        header=lambda name: headers.get(name.lower()),
        body_bytes=len(orjson.dumps(body)),  # as the live path has it
        clock=time.monotonic,
    )


def _offer(offer: Offer, input_tokens: int, output_tokens: int) -> dict[str, Any]:
    cost = offer.cost(input_tokens, output_tokens)
    return {
        "provider": offer.provider.id,
        "model": offer.model,
        "upstream_model": offer.target.upstream,
        "estimated_cost_usd": None if cost is None else f"{cost / 1e12:.6f}",
    }


def _write(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
