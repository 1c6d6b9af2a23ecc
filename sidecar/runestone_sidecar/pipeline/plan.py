"""What one request is and what became of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from runestone_sidecar.admit.limits import Reservation
from runestone_sidecar.admit.route import Decision
from runestone_sidecar.config.snapshot import Offer, Principal, Snapshot
from runestone_sidecar.errors import GatewayError
from runestone_sidecar.telemetry.events import Events, EventType
from runestone_sidecar.telemetry.trace_context import NO_TRACE, TraceContext
from runestone_sidecar.upstream.dialects.base import Reply, Request, Usage
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT

BYTES_PER_TOKEN: Final = 6  # of a whole reply, for providers that count nothing
CANCELLED_STATUS: Final = 499  # nginx's number for it, in the log and the metrics alone

_DECIDED: Final = EventType.ROUTER_DECIDE


@dataclass(slots=True)
class Plan:
    """A request that was authorized and routed: all that `execute` needs."""

    snapshot: Snapshot
    principal: Principal
    surface: Surface
    request: Request
    decision: Decision
    input_tokens: int  # estimated
    output_tokens: int  # expected
    max_output_tokens: int | None  # as the client bounds them, over all choices
    choices: int  # answers that are asked for
    deadline_s: float | None  # on the event loop's clock; None: only the providers' own limits

    @property
    def likeness(self) -> tuple[str, str, int]:
        """The same of requests that are most likely the same: sent again, say. Costs no look at
        what they hold."""
        return self.principal.id, self.request.model, self.input_tokens


@dataclass(slots=True)
class Record:
    """What happened, written as it happens; the access line and the metrics are made of it."""

    request_id: str
    started_s: float  # time.perf_counter: uvloop's own clock stands still within an iteration
    events: Events  # where it is told of
    method: str = ""
    path: str = ""
    surface: Surface = OPENAI_CHAT  # in whose words errors are told
    trace: TraceContext = NO_TRACE  # that the client sent along
    stages: list[tuple[str, float]] | None = None  # ends, by time.perf_counter; None: not asked for
    # Sends a status, lines of a head and a body at once; False: it is to be sent the long way.
    respond: Callable[[int, bytes, bytes], bool] | None = None
    principal: Principal | None = None
    presented: str | None = None  # refused: the ApiKey's id, or what may be shown of a key
    config: str = ""
    model: str | None = None  # as asked for, aliases resolved: a rule may take any name
    stream: bool = False
    offer: Offer | None = None  # the one that answered, or was tried last
    attempts: int = 0
    status: int = 0
    error: str | None = None
    first_byte_s: float | None = None  # since the start
    answered: bool = False  # a provider's answer began
    input_tokens: int = 0  # estimated
    output_estimate: int = 0  # of what was sent, for want of the provider's count
    usage: Usage | None = None
    usage_estimated: bool = False
    cost_picodollars: int | None = None  # of `usage`, once it is settled; None: no price is known
    reservation: Reservation | None = None  # of the key's limits
    interrupted: str | None = None  # why a stream ended before it was whole
    client_gone: bool = False
    queued_s: float | None = None  # waited for its limit; None: it did not have to
    # Ends the comments of a stream that was opened while it waited, and takes what probes its
    # client from then on; None once its answer begins.
    end_comments: Callable[[Callable[[], bool] | None], None] | None = None
    tried: list[str] = field(default_factory=list)  # "provider: outcome"

    def mark(self, stage: str) -> None:
        """The stage ends here, and the next begins: for who was asked for `stages`."""
        if self.stages is not None:
            self.stages.append((stage, time.perf_counter()))

    def tell_unrouted(self, error: GatewayError) -> None:
        self.events.emit(EventType.ROUTER_ROUTE_ERROR, self, reason=error.name)

    def note_whole(self, reply: Reply) -> None:
        """All of the answer is here."""
        self.status, self.usage = 200, reply.usage
        self.output_estimate = len(reply.body) // BYTES_PER_TOKEN


class Routing:
    """Tells what comes of routing a request, which is done within it, or the first part of it."""

    __slots__ = ("_decides", "_record")

    def __init__(self, record: Record, *, decides: bool = True) -> None:
        self._record = record
        self._decides = decides

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        record = self._record
        if error is None:
            if self._decides:
                record.events.emit(_DECIDED, record)
        elif isinstance(error, GatewayError):
            record.tell_unrouted(error)
