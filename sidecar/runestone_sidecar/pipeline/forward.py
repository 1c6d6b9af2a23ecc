"""Runs a plan whose request and answer are handed on as they are, whatever is in them.

A body that is here can be tried again like a chat. One that is passed on while it comes cannot:
its first failure is the answer. What of an answer's head goes on is named here, the rest does not.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.admit.account import account_of
from runestone_sidecar.admit.load import ProviderLoad
from runestone_sidecar.admit.route import Decision, Query, Router, model_not_found
from runestone_sidecar.config.build import FIXED_HEADERS
from runestone_sidecar.config.snapshot import Offer, Principal, Snapshot
from runestone_sidecar.errors import (
    GatewayError,
    PermissionDenied,
    ProviderRefused,
    UpstreamFailed,
)
from runestone_sidecar.pipeline.failure import AttemptFailed, of_fault
from runestone_sidecar.pipeline.outcomes import Turn
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.tries import Tries, read_refusal, within
from runestone_sidecar.pipeline.verdicts import BAD_REPLY, OTHER_4XX
from runestone_sidecar.telemetry.traffic import NONE
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import ModelTarget, ProviderError, StreamReader, Usage
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.outgoing import Upload
from runestone_sidecar.upstream.response import Response
from runestone_sidecar.upstream.sse import is_event_stream
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.passthrough import PASSTHROUGH

BYTES_PER_TOKEN: Final = 4  # of a body whose fields are not known here
SMALL_REPLY_BYTES: Final = 256 * 1024  # JSON up to this is here as a whole before it is answered
OCTETS: Final = b"application/octet-stream"

_OUR_HEADERS: Final = b"accept-encoding: identity\r\nuser-agent: runestone\r\n"
_NO_SUCH_API: Final = frozenset({405, 501})  # says nothing of how well the provider is
_fit_for_header: Final = re.compile(rb"[\x20-\x7e]{1,512}").fullmatch


@dataclass(slots=True)
class Call:
    """What is handed on of the client's request, beside a body that is here."""

    method: bytes
    path: bytes  # below the provider's base URL, and the query
    headers: bytes  # rendered
    upload: Callable[[Offer], Upload] | None = None  # the body, while it comes


@dataclass(slots=True)
class ForwardPlan(Plan):
    call: Call


@dataclass(slots=True)
class Wish:
    """What decides where a request goes that is handed on."""

    model: str | None
    provider: str | None  # by the client's header, where no model decides
    input_bytes: int
    user: str | None
    header: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Destinations:
    router: Router

    def of_model(
        self, snapshot: Snapshot, principal: Principal, wish: Wish, *, others: bool = False
    ) -> Decision:
        """As all requests for a model are routed, where any pool has it; else, if the key is not
        kept from it, as one without.

        Raises ModelNotFound, BadRequest, NoProvider, RateLimited or NotFound.
        """
        model = wish.model or ""
        policy = snapshot.policy_of(principal)
        resolved = policy.aliases.get(model, model) if policy is not None else model
        if any(resolved in pool.offers for pool in snapshot.pools.values()):
            return self.router.decide(snapshot, principal, _query(wish, model))
        if not principal.allows(resolved) or resolved != model:
            raise model_not_found(model)
        return self.of_account(snapshot, principal, wish, others=others)

    def of_account(
        self, snapshot: Snapshot, principal: Principal, wish: Wish, *, others: bool = False
    ) -> Decision:
        """Raises NotFound or NoProvider."""
        return account_of(snapshot, principal, PASSTHROUGH, wish.provider, others=others)


def check_unrestricted(principal: Principal) -> None:
    """What is bound to no model is not for a key that may use certain models only. Raises
    PermissionDenied.
    """
    if principal.allowed_models:
        raise PermissionDenied(
            "This API key may use certain models only, and this request is bound to no model."
        )


def check_account(snapshot: Snapshot, principal: Principal) -> None:
    """An account's files and jobs are seen by all who share it: where these are several tenants,
    they are for Admins alone. Raises PermissionDenied.
    """
    check_unrestricted(principal)
    if snapshot.has_tenants and not principal.is_admin:
        raise PermissionDenied(
            "Files, batches and fine-tuning jobs are in the provider's account, which several "
            "tenants share here: they are for API keys with the role Admin."
        )


def _query(wish: Wish, model: str) -> Query:
    return Query(
        surface=PASSTHROUGH,
        model=model,
        needs=frozenset(),
        input_tokens=wish.input_bytes // BYTES_PER_TOKEN,
        output_tokens=0,
        max_output_tokens=0,
        choices=1,
        user=wish.user,
        header=wish.header,
    )


class Forwarded:
    """A success whose first bytes are here. `next` until b"", `close` in any case."""

    error: ProviderError | None = None  # what it says of one is not looked at

    def __init__(
        self, response: Response, first: bytes, reader: StreamReader | None, content_type: bytes
    ) -> None:
        self.status = response.status
        self.content_type = content_type
        self.disposition = _shown(response.header(b"content-disposition"))
        self.length = response.header(b"content-length")  # digits: the parser saw to it
        self.first = first
        self.is_whole = response.complete and not response.buffered_bytes
        self._response = response
        self._reader = reader
        self._busy: ProviderLoad | None = None

    @property
    def is_events(self) -> bool:
        return is_event_stream(self.content_type)

    @property
    def at_boundary(self) -> bool:
        return self._reader is not None and self._reader.at_boundary

    @property
    def takes_comments(self) -> bool:
        """A stream of events that goes on, of no length that was announced."""
        return self.is_events and self.length is None and not self.is_whole

    def error_frame(self, surface: Surface, error: GatewayError) -> bytes:
        """Nothing is invented in a body that is not ours: it ends before it is whole."""
        return surface.error_frame(error, 0) if self.is_events else b""

    @property
    def usage(self) -> Usage:
        """No tokens where none are told of: this is not to be estimated from bytes."""
        told = self._reader.usage if self._reader is not None else None
        return told or Usage(0, 0)

    async def next(self) -> bytes:
        """Raises UpstreamFault, or whatever ended the upload that this is the answer to."""
        data = await self._response.next()
        return self._reader.feed(data) if self._reader is not None else data

    def hold(self, load: ProviderLoad) -> None:
        """The provider counts as busy until `close`."""
        self._busy = load
        load.in_flight += 1

    def close(self) -> None:
        self._response.close()
        if self._busy is not None:
            self._busy.in_flight -= 1
            self._busy = None


class Forwarder(Tries[ForwardPlan, Forwarded]):
    """For requests whose answer is the client's as it is."""

    async def _attempt(
        self, plan: ForwardPlan, offer: Offer, turn: Turn, record: Record
    ) -> Forwarded:
        provider, load = offer.provider, turn.load
        own = provider.deadlines if plan.request.stream else provider.deadlines_unstreamed
        deadlines = own if plan.deadline_s is None else within(plan.deadline_s, own)
        record.attempts += 1
        load.in_flight += 1
        try:
            head = provider.heads[turn.credential] + record.trace.lines
            response = await self._send(plan, offer, head, deadlines)
            reply = None
            try:
                reply = await _begin(plan, offer, response)
            finally:
                if reply is None:
                    response.close()
        except faults.UpstreamFault as fault:
            failure = of_fault(fault, deadlines, own)
            failure.final = plan.call.upload is not None
            raise failure from fault
        except AttemptFailed as failure:
            failure.final = plan.call.upload is not None
            raise
        finally:
            load.in_flight -= 1
        reply.hold(load)
        record.first_byte_s = time.perf_counter() - record.started_s
        record.answered = True
        self._traffic.attempts[provider.id, "ok"] += 1
        self._succeeded(plan, offer, turn)
        return reply

    async def _send(
        self, plan: ForwardPlan, offer: Offer, head: bytes, deadlines: Deadlines
    ) -> Response:
        call, provider = plan.call, offer.provider
        target = provider.base_path + call.path
        headers = call.headers + _OUR_HEADERS + head.removeprefix(FIXED_HEADERS)
        if call.upload is not None:
            return await self._client.upload(
                provider.origin,
                target=target,
                headers=headers,
                body=call.upload(offer),
                deadlines=deadlines,
                method=call.method,
            )
        return await self._client.send(
            provider.origin,
            target=target,
            headers=headers,
            body=_body(plan, offer),
            deadlines=deadlines,
            method=call.method,
        )


def _body(plan: ForwardPlan, offer: Offer) -> bytes:
    assert offer.provider.dialect is not None  # routing leaves such providers out
    codec = offer.provider.dialect.native[PASSTHROUGH.name]
    target = offer.target
    if offer.model == NONE:
        target = ModelTarget(upstream=plan.request.model, max_output_tokens=None)
    return codec.render(plan.request, target).body


async def _begin(plan: ForwardPlan, offer: Offer, response: Response) -> Forwarded:
    dialect = offer.provider.dialect
    assert dialect is not None
    if not 200 <= response.status < 300:
        raise _kept(await read_refusal(offer.provider, response))
    content_type = _shown(response.header(b"content-type")) or OCTETS
    kind = content_type.lower()
    if not _is_fit(kind, response):
        raise AttemptFailed(
            BAD_REPLY, "bad_reply", UpstreamFailed("The provider's answer is not valid.")
        )
    is_json = kind.startswith(b"application/json")
    reader = None
    if is_json or is_event_stream(content_type):
        reader = dialect.native[PASSTHROUGH.name].stream(plan.request)
    first = await response.next()
    while is_json and not response.complete and len(first) < SMALL_REPLY_BYTES:
        first += await response.next()
    if reader is not None:
        reader.feed(first)
    return Forwarded(response, first, reader, content_type)


def _is_fit(kind: bytes, response: Response) -> bool:
    """Nothing that was compressed unasked, and no page that a proxy on the way shows instead."""
    coding = response.header(b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        return False
    is_page = kind.startswith(b"text/html")
    return not is_page or response.header(b"content-disposition") is not None


def _kept(failure: AttemptFailed) -> AttemptFailed:
    """An API that this provider does not have is no sickness of it, and nobody else's matter."""
    refused = failure.error
    for status in _NO_SUCH_API:
        if failure.outcome == f"status_{status}":
            refused = ProviderRefused(
                "This provider does not have this API.",
                code="unsupported_api",
                provider_status=404,
            )
            return AttemptFailed(OTHER_4XX, failure.outcome, refused)
    return failure


def _shown(value: bytes | None) -> bytes | None:
    return value if value is not None and _fit_for_header(value) else None
