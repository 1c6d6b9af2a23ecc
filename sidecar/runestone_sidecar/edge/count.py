"""`POST /v1/messages/count_tokens`: the provider's own count, or our estimate where it has none."""

from dataclasses import dataclass

from runestone_sidecar.admit.route import NOT_OF_THIS_API, Router
from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.incoming import read_incoming
from runestone_sidecar.edge.request import Receive, Scope, Send
from runestone_sidecar.edge.respond import send_json, send_whole
from runestone_sidecar.errors import BadRequest
from runestone_sidecar.pipeline.execute import Executor
from runestone_sidecar.pipeline.plan import Plan, Record, Routing
from runestone_sidecar.pipeline.prepare import Incoming, build_query, prepare
from runestone_sidecar.upstream.dialects.base import Reply, Usage
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Counting is free at the providers, and so it is here: no limit of the key's is touched."""

    router: Router
    executor: Executor
    bodies: Bodies

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        incoming = await read_incoming(
            COUNT_TOKENS, scope, receive, record, self.bodies, is_estimate=True
        )
        with Routing(record):
            plan = self._plan(caller, incoming)
        if plan is None:
            query = incoming.query or build_query(incoming)
            await send_json(send, record, {"input_tokens": query.input_tokens})
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
