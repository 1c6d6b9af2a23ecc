"""What one request is and what became of it."""

from dataclasses import dataclass, field

from runestone_sidecar.admit.route import Decision
from runestone_sidecar.config.snapshot import Offer, Principal, Snapshot
from runestone_sidecar.upstream.dialects.base import Request, Usage
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT


@dataclass(slots=True)
class Plan:
    """A request that was authorized and routed: all that `execute` needs."""

    snapshot: Snapshot
    principal: Principal
    surface: Surface
    request: Request
    decision: Decision
    deadline_s: float | None  # on the event loop's clock; None: only the providers' own limits


@dataclass(slots=True)
class Record:
    """What happened, written as it happens; the access line and the metrics are made of it."""

    request_id: str
    started_s: float  # time.perf_counter: uvloop's own clock stands still within an iteration
    method: str = ""
    path: str = ""
    surface: Surface = OPENAI_CHAT  # in whose words errors are told
    principal: Principal | None = None
    config: str = ""
    model: str | None = None  # as asked for, aliases resolved: a rule may take any name
    stream: bool = False
    offer: Offer | None = None  # the one that answered, or was tried last
    attempts: int = 0
    status: int = 0
    error: str | None = None
    first_byte_s: float | None = None  # since the start
    usage: Usage | None = None
    interrupted: str | None = None  # why a stream ended before it was whole
    client_gone: bool = False
    tried: list[str] = field(default_factory=list)  # "provider: outcome"

    def cost_picodollars(self) -> int | None:
        if self.usage is None or self.offer is None or (prices := self.offer.prices) is None:
            return None
        cached = min(self.usage.cached_input_tokens, self.usage.input_tokens)
        cached_price = prices.input if prices.cached_input is None else prices.cached_input
        return (
            (self.usage.input_tokens - cached) * prices.input
            + cached * cached_price
            + self.usage.output_tokens * prices.output
        )
