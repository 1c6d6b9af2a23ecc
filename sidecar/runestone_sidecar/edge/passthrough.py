"""The endpoints that need no translation: authorized, routed and counted, then handed on.

What is here of a body goes as any other request. A multipart body is never here as a whole: its
`model` is looked for in what comes first, and watched for in the rest.
"""

import asyncio
import re
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from runestone_sidecar.admit.route import Decision
from runestone_sidecar.admit.waiting import WAIT
from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.form import Asked, ClientBody, Form, Watch
from runestone_sidecar.edge.hand_on import send_forwarded
from runestone_sidecar.edge.multipart import PartScanner, boundary_of, content_type_of
from runestone_sidecar.edge.queued import Entrant, Queue
from runestone_sidecar.edge.request import Receive, Scope, Send, header, speaks_anthropic
from runestone_sidecar.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMedia,
)
from runestone_sidecar.pipeline.forward import (
    BYTES_PER_TOKEN,
    Call,
    Destinations,
    Forwarder,
    ForwardPlan,
    check_account,
    check_unrestricted,
)
from runestone_sidecar.pipeline.other_models import check_other_models
from runestone_sidecar.pipeline.plan import Record, Routing
from runestone_sidecar.pipeline.spending import reserve
from runestone_sidecar.telemetry.traffic import NONE
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.outgoing import Upload, render_headers
from runestone_sidecar.upstream.surfaces.passthrough import PASSTHROUGH

MAX_UPLOAD_BYTES: Final = 1 << 30  # twice the largest file that OpenAI takes
MAX_QUERY_BYTES: Final = 2048
PREFIX: Final = "/v1/"

_OF_OPENAI: Final = (
    "This URL goes to providers of OpenAI's API here, and the header anthropic-version says that "
    "Anthropic's is meant, whose files and batches are not handed on."
)
_ID: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,127}"
_fit_for_query: Final = re.compile(rb"[\x21\x22\x24-\x7e]*").fullmatch
_fit_for_header: Final = re.compile(rb"[\x20-\x7e]{1,512}").fullmatch


@dataclass(frozen=True, slots=True)
class Resource:
    path: re.Pattern[str]  # below PREFIX
    methods: tuple[str, ...]
    of_account: bool = False  # no model decides where it is


def _resource(path: str, *methods: str, of_account: bool = False) -> Resource:
    return Resource(re.compile(path), methods, of_account)


RESOURCES: Final = (
    _resource("moderations", "POST"),
    _resource("audio/(?:transcriptions|translations|speech)", "POST"),
    _resource("images/(?:generations|edits|variations)", "POST"),
    _resource("files", "GET", "POST", of_account=True),
    _resource(f"files/{_ID}", "GET", "DELETE", of_account=True),
    _resource(f"files/{_ID}/content", "GET", of_account=True),
    _resource("batches", "GET", "POST", of_account=True),
    _resource(f"batches/{_ID}", "GET", of_account=True),
    _resource(f"batches/{_ID}/cancel", "POST", of_account=True),
    _resource(f"fine_tuning(?:/{_ID}){{1,6}}", "GET", "POST", "DELETE", of_account=True),
)


@dataclass(frozen=True, slots=True)
class PassThrough:
    destinations: Destinations
    forwarder: Forwarder
    queue: Queue
    bodies: Bodies

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        asked = Asked(scope, receive, record, caller, _resource_of(scope).of_account)
        if speaks_anthropic(scope):  # whose files have the same URL, and are nobody else's to see
            raise NotFound(_OF_OPENAI, code="unsupported_api")
        if asked.of_account:
            with Routing(record, decides=False):
                check_account(caller.snapshot, caller.principal)
        plan = await self._plan(asked)
        record.mark("route")
        if plan.decision.model != NONE:
            record.model = plan.decision.model
        record.stream = plan.request.stream
        record.input_tokens = plan.input_tokens
        if plan.principal.overflow != WAIT:
            record.reservation = await reserve(self.queue.limiter, plan, record)
        elif plan.call.upload is not None:
            await self.queue.admit_now(plan, record)
        else:
            plan = await self._in_turn(asked, plan)
        record.mark("limits")
        reply = await self.forwarder.execute(plan, record)
        record.mark("provider")
        await send_forwarded(send, record, reply)

    async def _plan(self, asked: Asked) -> ForwardPlan:
        scope, method, path = asked.scope, asked.scope["method"], _target(asked.scope)
        call = Call(method.encode(), path, b"")
        if method != "POST" or not _has_body(scope):
            call.headers = _headers(scope, None)
            return self._planned(asked, _request(asked, {}, b""), call)
        kind = header(scope, b"content-type") or b""
        if kind.lower().startswith(b"multipart/"):
            boundary = boundary_of(_plain_multipart(scope, kind))
            call.headers = _headers(scope, content_type_of(boundary))
            return await self._form(asked, call, boundary)
        body = await self.bodies.read_json(scope, asked.receive)
        call.headers = _headers(scope, b"application/json")
        return self._planned(asked, _request(asked, body.value, body.raw), call)

    async def _in_turn(self, asked: Asked, plan: ForwardPlan) -> ForwardPlan:
        request, call = plan.request, plan.call

        def plan_anew(caller: Caller) -> ForwardPlan:
            asked.caller = caller
            if asked.of_account:
                check_account(caller.snapshot, caller.principal)
            return self._planned(asked, request, call)

        return await self.queue.admit(Entrant(asked.scope, asked.record, plan, plan_anew))

    def _planned(self, asked: Asked, request: Request, call: Call) -> ForwardPlan:
        named = request.model or None
        wish = asked.wish(named, input_bytes=len(request.raw))
        snapshot, principal = asked.caller.snapshot, asked.caller.principal
        others = not asked.of_account  # what is kept nowhere may be answered by anyone
        with Routing(asked.record):
            if named is not None and not asked.of_account:
                check_other_models(principal, request.body)
                decision = self.destinations.of_model(snapshot, principal, wish, others=others)
            else:
                check_unrestricted(principal)
                decision = self.destinations.of_account(snapshot, principal, wish, others=others)
        return _planned(asked, request, call, decision)

    async def _form(self, asked: Asked, call: Call, boundary: bytes) -> ForwardPlan:
        """A multipart body: none of it is read that need not be."""
        body = ClientBody(asked.scope, asked.receive, MAX_UPLOAD_BYTES)
        request = _request(asked, {}, b"")
        if asked.of_account:
            call.upload = lambda _: Upload(body, body.length)
            return self._planned(asked, request, call)
        form = Form(body, PartScanner(boundary, b"model"))
        await form.read_first()
        snapshot, principal = asked.caller.snapshot, asked.caller.principal
        wish = asked.wish(form.model)
        with Routing(asked.record):
            if form.model is not None:
                decision = self.destinations.of_model(snapshot, principal, wish)
                request.model = form.model
            else:
                if form.ended:
                    check_unrestricted(principal)
                decision = self.destinations.of_account(snapshot, principal, wish)
                form.watch = Watch(self.destinations, asked, decision.offers[0])
        call.upload = form.upload
        return _planned(asked, request, call, decision)


def _planned(asked: Asked, request: Request, call: Call, decision: Decision) -> ForwardPlan:
    if decision.model not in {NONE, request.model}:
        request = replace(request, model=decision.model)
    timeout_s = decision.rule.timeout_s if decision.model != NONE else None
    return ForwardPlan(
        snapshot=asked.caller.snapshot,
        principal=asked.caller.principal,
        surface=PASSTHROUGH,
        request=request,
        decision=decision,
        input_tokens=len(request.raw) // BYTES_PER_TOKEN,
        output_tokens=0,
        max_output_tokens=0,
        choices=1,
        deadline_s=None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s,
        call=call,
    )


def _request(asked: Asked, body: dict[str, Any], raw: bytes) -> Request:
    """`model` is empty where none is named."""
    PASSTHROUGH.check(body)
    return Request(
        body=body,
        model=body.get("model") or "",
        stream=body.get("stream") is True,
        request_id=asked.record.request_id,
        created_s=int(time.time()),
        raw=raw,
    )


def _resource_of(scope: Scope) -> Resource:
    """Raises NotFound or MethodNotAllowed."""
    path, method = scope["path"].removeprefix(PREFIX), scope["method"]
    for resource in RESOURCES:
        if resource.path.fullmatch(path):
            if method not in resource.methods:
                allowed = ", ".join(resource.methods)
                raise MethodNotAllowed(f"Use {allowed} for this URL.", allow=allowed)
            return resource
    raise NotFound("There is no such URL here.")


def _target(scope: Scope) -> bytes:
    """Below a base URL. The path matched a resource: plain ASCII. Raises BadRequest."""
    query: bytes = scope["query_string"]
    if len(query) > MAX_QUERY_BYTES or not _fit_for_query(query):
        raise BadRequest("The query of the URL is too long or not encoded.")
    path: bytes = b"/" + scope["path"].removeprefix(PREFIX).encode("ascii")
    return path + b"?" + query if query else path


def _plain_multipart(scope: Scope, content_type: bytes) -> bytes:
    """Raises UnsupportedMedia."""
    if header(scope, b"content-encoding") not in {None, b"identity"}:
        raise UnsupportedMedia("Send the body without Content-Encoding.")
    if not _fit_for_header(content_type):
        raise UnsupportedMedia("The Content-Type of the body cannot be read.")
    return content_type


def _has_body(scope: Scope) -> bool:
    return header(scope, b"content-length") not in {None, b"0"} or (
        header(scope, b"transfer-encoding") is not None
    )


def _headers(scope: Scope, content_type: bytes | None) -> bytes:
    """All of the client's headers that go on."""
    accept = header(scope, b"accept") or b"*/*"
    lines: list[tuple[bytes, bytes]] = [(b"accept", accept if _fit_for_header(accept) else b"*/*")]
    if content_type is not None:
        lines.append((b"content-type", content_type))
    return render_headers(lines)
