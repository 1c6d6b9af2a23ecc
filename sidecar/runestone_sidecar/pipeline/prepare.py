"""A parsed request -> a Plan: what it needs, roughly how large it is, where it may go. No I/O."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.admit.route import Query, Router, Trace
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.pipeline.plan import Plan
from runestone_sidecar.upstream.dialects.base import ChatRequest

BYTES_PER_TOKEN: Final = 4  # English text; JSON's own characters make it a little high
OUTPUT_TOKENS: Final = 512  # expected where the request sets no limit

_CHAT: Final = frozenset({"Chat"})
_FIELD_NEEDS: Final = (("stream", "Streaming"), ("tools", "Tools"), ("logprobs", "Logprobs"))
_PART_NEEDS: Final = {"image_url": "Vision", "input_audio": "Audio"}


@dataclass(slots=True)
class Incoming:
    """A request as it came, with what only the edge knows."""

    request: ChatRequest
    body_bytes: int
    header: Callable[[str], str | None]
    clock: Callable[[], float]  # the event loop's


def prepare(
    router: Router,
    snapshot: Snapshot,
    principal: Principal,
    incoming: Incoming,
    trace: Trace | None = None,
) -> Plan:
    """Raises ModelNotFound or NoProvider."""
    request = incoming.request
    decision = router.decide(snapshot, principal, build_query(incoming), trace)
    timeout_s = decision.rule.timeout_s
    if decision.model != request.model:
        request = ChatRequest(
            body=request.body,
            model=decision.model,
            stream=request.stream,
            request_id=request.request_id,
            created_s=request.created_s,
            raw=request.raw,
        )
    return Plan(
        snapshot=snapshot,
        principal=principal,
        request=request,
        decision=decision,
        deadline_s=None if timeout_s is None else incoming.clock() + timeout_s,
    )


def build_query(incoming: Incoming) -> Query:
    body = incoming.request.body
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    user = body.get("user")
    return Query(
        model=incoming.request.model,
        needs=needs_of(body),
        input_tokens=incoming.body_bytes // BYTES_PER_TOKEN,
        output_tokens=limit if isinstance(limit, int) else OUTPUT_TOKENS,
        user=user if isinstance(user, str) else None,
        header=incoming.header,
    )


def needs_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Capabilities, as a model of a ProviderPool lists them, that the request cannot do without."""
    needs = [need for field, need in _FIELD_NEEDS if body.get(field)]
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        needs.append("JSONSchema")
    needs += (_PART_NEEDS[kind] for kind in _part_types(body) if kind in _PART_NEEDS)
    return _CHAT.union(needs) if needs else _CHAT


def _part_types(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(kind := part.get("type"), str):
                    yield kind
