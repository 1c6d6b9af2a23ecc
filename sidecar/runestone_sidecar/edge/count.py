"""`POST /v1/messages/count_tokens`: the provider's own count, or our estimate where it has none."""

import time
from dataclasses import dataclass

from runestone_sidecar.admit.route import NOT_OF_THIS_API, Router
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.request import (
    Receive,
    Scope,
    Send,
    forwarded_headers,
    header_text,
    parse,
    read_json,
)
from runestone_sidecar.edge.respond import send_json, send_whole
from runestone_sidecar.errors import BadRequest
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.plan import Plan, Record, Routing
from runestone_sidecar.pipeline.prepare import Incoming, prepare
from runestone_sidecar.upstream.dialects.base import Reply, Usage
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS
from runestone_sidecar.upstream.tokens import estimate_request


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Counting is free at the providers, and so it is here: no limit of the key's is touched."""

    router: Router
    executor: Executor
    max_body_bytes: int

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        body, raw = await read_json(scope, receive, self.max_body_bytes)
        request = parse(
            COUNT_TOKENS,
            body,
            request_id=record.request_id,
            now_s=time.time(),
            raw=raw,
            headers=forwarded_headers(scope, COUNT_TOKENS.forwarded),
        )
        incoming = Incoming(
            surface=COUNT_TOKENS,
            request=request,
            header=header_text(scope),
        )
        with Routing(record):
            plan = self._plan(caller, incoming)
        if plan is None:
            await send_json(send, record, {"input_tokens": estimate_request(body)})
            return
        record.model = plan.decision.model
        reply = await self.executor.execute(plan, record)
        assert isinstance(reply, Reply)  # a count is never streamed
        await send_whole(send, record, Reply(reply.body, Usage(0, 0)))

    def _plan(self, caller: Caller, incoming: Incoming) -> Plan | None:
        """None: the model is known, and none of its providers counts."""
        try:
            return prepare(self.router, caller.snapshot, caller.principal, incoming)
        except BadRequest as error:
            if error.code != NOT_OF_THIS_API:
                raise
            return None
