"""A parsed request -> a Plan: what it needs, roughly how large it is, where it may go. No I/O."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from runestone_sidecar.admit.route import Query, Router, Trace
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.pipeline.other_models import check_other_models
from runestone_sidecar.pipeline.plan import Plan
from runestone_sidecar.upstream.dialects.base import AsksUsage, Request
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.tokens import estimate_request

OUTPUT_TOKENS: Final = 512  # expected of a choice where the request sets no limit
SMALL_BODY_BYTES: Final = 2_048
BYTES_PER_TOKEN: Final = 4  # of a small body, JSON's own characters and all
LARGE_PARTS: Final = frozenset({"Vision", "Audio"})  # a short URL may stand for a thousand tokens


def loop_time() -> float:
    """Asked for where a rule sets a time alone: to find the running loop is a system call."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Incoming:
    """A request as it came, with what only the edge knows."""

    surface: Surface
    request: Request
    header: Callable[[str], str | None]
    body_bytes: int | None = None  # None: the estimate is what is asked for
    clock: Callable[[], float] = loop_time
    query: Query | None = None  # where it was built aside


def prepare(
    router: Router,
    snapshot: Snapshot,
    principal: Principal,
    incoming: Incoming,
    trace: Trace | None = None,
) -> Plan:
    """Raises ModelNotFound, BadRequest, PermissionDenied or NoProvider."""
    request = incoming.request
    query = incoming.query or build_query(incoming)
    decision = router.decide(snapshot, principal, query, trace)
    if principal.allowed_models:
        check_other_models(principal, request.body)
    timeout_s = decision.rule.timeout_s
    if decision.model != request.model:
        request = replace(request, model=decision.model)
    if request.stream and _asks_usage(principal, request):
        request = replace(request, asks_usage=AsksUsage.GATEWAY)
    return Plan(
        snapshot,
        principal,
        incoming.surface,
        request,
        decision,
        query.input_tokens,
        query.output_tokens,
        query.max_output_tokens,
        query.choices,
        None if timeout_s is None else incoming.clock() + timeout_s,
    )


def _asks_usage(principal: Principal, request: Request) -> bool:
    """Of a stream: a limit in tokens or money cannot be held by one that does not tell what it
    used."""
    limits = principal.limits
    return (
        limits is not None
        and (limits.tokens_per_minute is not None or limits.budget is not None)
        and not request.include_usage
    )


def build_query(incoming: Incoming) -> Query:
    surface, request = incoming.surface, incoming.request
    traits = surface.traits(request.body)
    needs, choices, most = traits.needs, traits.choices, traits.max_output_tokens
    return Query(
        surface,
        request.model,
        needs,
        _input_tokens(incoming, needs),
        OUTPUT_TOKENS * choices if most is None else most,
        most,
        choices,
        traits.user,
        incoming.header,
        traits.windows,
        traits.prefers,
    )


def _input_tokens(incoming: Incoming, needs: frozenset[str]) -> int:
    """A small text's tokens are few beside those of its answer, which nobody knows yet: what the
    estimate would tell apart is not worth its time, a twentieth of the request's."""
    size = incoming.body_bytes
    if size is None or size > SMALL_BODY_BYTES or not needs.isdisjoint(LARGE_PARTS):
        return estimate_request(incoming.request.body)
    return size // BYTES_PER_TOKEN
