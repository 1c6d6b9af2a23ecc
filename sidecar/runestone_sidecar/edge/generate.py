"""The endpoints that ask a model: chats, messages, responses, completions, embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.admit.route import Router
from runestone_sidecar.admit.waiting import WAIT
from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.incoming import read_incoming, take_incoming
from runestone_sidecar.edge.jobs import (
    Desk,
    asks_for_job,
    desk_for,
    job_of,
    overflows,
    send_accepted,
    submission_of,
    submit_instead,
)
from runestone_sidecar.edge.queued import Entrant, Queue
from runestone_sidecar.edge.request import CYCLE, Receive, Scope, Send
from runestone_sidecar.edge.respond import respond_whole, send_stream, send_whole
from runestone_sidecar.errors import GatewayError, LimitReached
from runestone_sidecar.pipeline.execute import Executor, StreamedReply
from runestone_sidecar.pipeline.plan import Plan, Record
from runestone_sidecar.pipeline.prepare import Incoming, prepare
from runestone_sidecar.pipeline.spending import reserve
from runestone_sidecar.telemetry.events import Event, EventType
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.embeddings import EMBEDDINGS
from runestone_sidecar.upstream.surfaces.messages import MESSAGES
from runestone_sidecar.upstream.surfaces.responses import RESPONSES

_CHUNK: Final = EventType.STREAM_CHUNK
_DECIDED: Final = EventType.ROUTER_DECIDE

SURFACES: Final[Mapping[str, Surface]] = {
    "/v1/chat/completions": OPENAI_CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
}


@dataclass(frozen=True, slots=True)
class Generation:
    """One of them; what is its own is in the surface."""

    surface: Surface
    router: Router
    executor: Executor
    queue: Queue
    bodies: Bodies
    desk: Desk | None = None  # None: there are no jobs

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        incoming = take_incoming(self.surface, scope, record, self.bodies) or await read_incoming(
            self.surface, scope, receive, record, self.bodies
        )
        plan = self._plan(incoming, record, caller)
        desk = None if self.desk is None else desk_for(self.desk, scope)
        if desk is not None and (
            submission := await job_of(desk, scope, caller, record, incoming.request.raw)
        ):
            accepted = await desk.submit(submission)
            await send_accepted(send, record, accepted, asked=asks_for_job(scope, caller))
            return
        if plan.principal.overflow == WAIT:

            def plan_anew(caller: Caller) -> Plan:
                return prepare(self.router, caller.snapshot, caller.principal, incoming)

            plan = await self.queue.admit(Entrant(scope, record, plan, plan_anew, send))
            record.model = plan.decision.model
        else:
            try:
                record.reservation = await reserve(self.queue.limiter, plan, record)
            except LimitReached as reached:
                if desk is None or not overflows(caller, record, reached):
                    raise
                submission = submission_of(
                    scope, caller, record, incoming.request.raw, wait_s=reached.wait_s
                )
                accepted = await submit_instead(desk, submission, reached)
                await send_accepted(send, record, accepted, asked=False)
                return
        if record.stages is not None:
            record.mark("limits")
        reply = await self.executor.execute(plan, record)
        if record.stages is not None:
            record.mark("provider")
        if isinstance(reply, StreamedReply):
            del incoming, plan  # a stream may be long, and its request large
            await _send_stream(scope, send, record, reply)
        elif not respond_whole(record, reply):
            await send_whole(send, record, reply)

    def _plan(self, incoming: Incoming, record: Record, caller: Caller) -> Plan:
        """Raises GatewayError."""
        request = incoming.request
        record.stream, record.model = request.stream, request.model
        if record.stages is not None:
            record.mark("read")
        try:
            plan = prepare(self.router, caller.snapshot, caller.principal, incoming)
        except GatewayError as error:
            record.tell_unrouted(error)
            raise
        record.events.emit(_DECIDED, record)
        record.model, record.input_tokens = plan.decision.model, plan.input_tokens
        if record.stages is not None:
            record.mark("route")
        return plan


async def _send_stream(scope: Scope, send: Send, record: Record, reply: StreamedReply) -> None:
    cycle = scope.get(CYCLE)
    write = None if cycle is None else cycle.write
    if record.events.wanted(_CHUNK):  # then none may pass untold
        reply.watch(lambda count: record.events.tell(Event(_CHUNK, record, count=count)))
        write = None
    await send_stream(send, record, reply, write)
