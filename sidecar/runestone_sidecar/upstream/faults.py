"""What can go wrong between us and a provider, as one tree. Texts are for logs, never for clients.

UpstreamFault             kind (a closed set, fit for a metric label), phase, sent, detail
├── NotConnected          the request never left: another provider may be tried without a thought
│   ├── PoolExhausted     every connection stayed busy until the connect deadline
│   ├── ConnectFailed     refused, unreachable, reset    └── ResolveFailed     no such name
│   ├── ConnectTimeout
│   ├── TlsFailed         handshake broke off            └── TlsNotVerified    not who it should be
│   └── TunnelFailed      the proxy would not connect us
├── FirstByteTimeout      no byte of the body in time, be there a head or not
├── IdleTimeout           silence within the body
├── TotalTimeout          the whole call took too long, in whichever phase it was
├── ConnectionLost        (only its two forms are raised)
│   ├── LostBeforeHead    `stale` tells the keep-alive race from the rest
│   └── LostMidBody       also: closed before Content-Length, or without the last chunk
├── BadResponse           not HTTP, or HTTP that two readers could read in two ways
│   └── HeadTooLarge
└── BodyTooLarge          more than the caller was ready to hold
"""

from enum import StrEnum
from typing import ClassVar


class Phase(StrEnum):
    """How far a call had come."""

    QUEUE = "queue"  # waiting for a place in a bounded pool
    CONNECT = "connect"  # resolving the name, TCP, the proxy's tunnel, TLS
    HEAD = "head"  # the request is on its way, or sent
    BODY = "body"  # the head of the response is here


class UpstreamFault(Exception):
    """One call to a provider failed."""

    kind: ClassVar[str] = "fault"

    def __init__(self, phase: Phase, detail: str = "") -> None:
        super().__init__(phase, detail)
        self.phase = phase
        self.detail = detail

    @property
    def sent(self) -> bool:
        """Whether bytes of the request may have reached the provider."""
        return self.phase is Phase.HEAD or self.phase is Phase.BODY

    def __str__(self) -> str:
        return f"{self.kind} in phase {self.phase}" + (f": {self.detail}" if self.detail else "")


class NotConnected(UpstreamFault):
    def __init__(self, detail: str = "", *, phase: Phase = Phase.CONNECT) -> None:
        super().__init__(phase, detail)


class PoolExhausted(NotConnected):
    kind = "pool_exhausted"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, phase=Phase.QUEUE)


class ConnectFailed(NotConnected):
    kind = "connect_failed"


class ResolveFailed(ConnectFailed):
    kind = "resolve_failed"


class ConnectTimeout(NotConnected):
    kind = "connect_timeout"


class TlsFailed(NotConnected):
    kind = "tls_failed"


class TlsNotVerified(TlsFailed):
    kind = "tls_not_verified"


class TunnelFailed(NotConnected):
    """The proxy refused or broke off; `status` is its answer, if it gave one."""

    kind = "tunnel_failed"

    def __init__(self, detail: str = "", *, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class FirstByteTimeout(UpstreamFault):
    kind = "first_byte_timeout"


class IdleTimeout(UpstreamFault):
    kind = "idle_timeout"


class TotalTimeout(UpstreamFault):
    """`begun`: a byte of the body had come."""

    kind = "total_timeout"

    def __init__(self, phase: Phase, *, begun: bool = False) -> None:
        super().__init__(phase)
        self.begun = begun


class ConnectionLost(UpstreamFault):
    kind = "connection_lost"


class LostBeforeHead(ConnectionLost):
    """`stale`: a connection kept from an earlier call went away before any byte of an answer.

    It is what happens when the provider closes an idle connection just as we write on it; the
    request was then most likely not read, but nobody can know. `begun`: a part of a head had come.
    """

    kind = "lost_before_head"

    def __init__(self, detail: str = "", *, stale: bool, begun: bool = False) -> None:
        super().__init__(Phase.HEAD, detail)
        self.stale = stale
        self.begun = begun


class LostMidBody(ConnectionLost):
    """`held_up`: we let the provider wait before, for a reader that was slow, and it gave up."""

    kind = "lost_mid_body"

    def __init__(self, detail: str = "", *, held_up: bool = False) -> None:
        super().__init__(Phase.BODY, detail)
        self.held_up = held_up


class BadResponse(UpstreamFault):
    kind = "bad_response"


class HeadTooLarge(BadResponse):
    kind = "head_too_large"

    def __init__(self, detail: str = "") -> None:
        super().__init__(Phase.HEAD, detail)


class BodyTooLarge(UpstreamFault):
    kind = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(Phase.BODY, f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes
