"""What a client may be told, as one tree. Every text is ours; the cause goes to the log, not out.

GatewayError            status, type, code, message, param, retry_after_s
├── BadRequest          400 invalid_request_error, names the param
├── Unauthorized        401 invalid_api_key
├── PermissionDenied    403 permission_denied
├── ModelNotFound       404 model_not_found, also for what the key may not see
├── NotFound            404 unknown URL         MethodNotAllowed    405
│   ├── JobNotFound     404 also for another key's
│   └── StateNotFound   404 of a conversation that no provider here keeps
├── JobConflict         409 of a job that does not stand so
├── BodyTooLarge        413                     UnsupportedMedia    415
├── RequestTimeout      408                     UrlTooLong          414
├── HeadTooLarge        431                     Overloaded          503 too many connections
├── ProviderRefused     the provider's own 400, 404, 409, 422, handed on
├── LimitReached        429 rate_limit_exceeded: the key's own limit
│   └── BudgetSpent     429 insufficient_quota
├── QueueFull           429 no room for a job   QueueUnavailable    503 no job, or maybe one
├── RateLimited         429 when every provider said so
├── UpstreamFailed      502 upstream_error      UpstreamTimeout     504 upstream_timeout
├── NoProvider          503 no_provider_available
├── NotReady            503 not_ready           Draining            503 draining
└── Internal            500
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

MAX_RETRY_AFTER_S = 120
UNACKNOWLEDGED = "job_unacknowledged"  # a code: whether there is a job is not known


@dataclass
class GatewayError(Exception):
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None
    exhausted: bool = (
        False  # retries and fallbacks were tried here: the client should not add its own
    )
    details: Mapping[str, Any] | None = None  # for the client's code, where its API has such

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"

    @property
    def told_status(self) -> int:
        """As the client gets it."""
        return self.status

    @property
    def name(self) -> str:
        """In the log and in a job's record."""
        return self.code or self.type

    def __str__(self) -> str:
        return f"{self.status} {self.code or self.type}"


@dataclass
class BadRequest(GatewayError):
    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class Unauthorized(GatewayError):
    code: str | None = "invalid_api_key"
    who: str | None = None  # the ApiKey that is refused: not for the client
    status: ClassVar[int] = 401
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class UnknownKey(Unauthorized):
    """No ApiKey has it."""


@dataclass
class PermissionDenied(GatewayError):
    code: str | None = "permission_denied"
    status: ClassVar[int] = 403
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class ModelNotFound(GatewayError):
    code: str | None = "model_not_found"
    param: str | None = "model"
    status: ClassVar[int] = 404
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class NotFound(GatewayError):
    code: str | None = "unknown_url"
    status: ClassVar[int] = 404
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class JobNotFound(NotFound):
    message: str = "There is no such job."
    code: str | None = "job_not_found"


@dataclass
class StateNotFound(NotFound):
    code: str | None = "state_not_found"


@dataclass
class JobConflict(GatewayError):
    """It does not stand so that this could be done; the code says how it stands."""

    status: ClassVar[int] = 409
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class MethodNotAllowed(GatewayError):
    code: str | None = "method_not_allowed"
    allow: str = "POST"
    status: ClassVar[int] = 405
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class BodyTooLarge(GatewayError):
    code: str | None = "request_too_large"
    status: ClassVar[int] = 413
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class UnsupportedMedia(GatewayError):
    code: str | None = "unsupported_media_type"
    status: ClassVar[int] = 415
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class RequestTimeout(GatewayError):
    code: str | None = "request_timeout"
    status: ClassVar[int] = 408
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class UrlTooLong(GatewayError):
    code: str | None = "url_too_long"
    status: ClassVar[int] = 414
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class HeadTooLarge(GatewayError):
    code: str | None = "headers_too_large"
    status: ClassVar[int] = 431
    type: ClassVar[str] = "invalid_request_error"


@dataclass
class Overloaded(GatewayError):
    code: str | None = "overloaded"
    retry_after_s: float | None = 1.0
    status: ClassVar[int] = 503


@dataclass
class ProviderRefused(GatewayError):
    """The provider judged the request itself; another provider would judge alike."""

    provider_status: int = 400
    provider_type: str = "invalid_request_error"

    @property
    def told_status(self) -> int:
        return self.provider_status

    @property
    def name(self) -> str:
        return self.code or self.provider_type


@dataclass
class LimitReached(GatewayError):
    """Before any provider was asked: the key may not use more just now."""

    code: str | None = "rate_limit_exceeded"
    limit: str = ""  # which one, as GET /v1/usage names it
    wait_s: float = 1.0  # until there is room, if no more is used; inf: there never is
    lines: bytes = b""  # x-ratelimit-*, as of a response's head
    status: ClassVar[int] = 429
    type: ClassVar[str] = "rate_limit_error"


@dataclass
class BudgetSpent(LimitReached):
    code: str | None = "insufficient_quota"
    type: ClassVar[str] = "insufficient_quota"


@dataclass
class QueueFull(GatewayError):
    code: str | None = "queue_full"
    retry_after_s: float | None = 5.0
    status: ClassVar[int] = 429
    type: ClassVar[str] = "rate_limit_error"


@dataclass
class QueueUnavailable(GatewayError):
    message: str = "The queue of jobs cannot be reached just now; try again."
    code: str | None = "queue_unavailable"
    retry_after_s: float | None = 2.0
    status: ClassVar[int] = 503


@dataclass
class RateLimited(GatewayError):
    code: str | None = "rate_limit_exceeded"
    status: ClassVar[int] = 429
    type: ClassVar[str] = "rate_limit_error"


@dataclass
class UpstreamFailed(GatewayError):
    code: str | None = "upstream_error"
    status: ClassVar[int] = 502


@dataclass
class NoProvider(GatewayError):
    code: str | None = "no_provider_available"
    status: ClassVar[int] = 503


@dataclass
class NotReady(GatewayError):
    code: str | None = "not_ready"
    retry_after_s: float | None = 1.0
    status: ClassVar[int] = 503


@dataclass
class Draining(GatewayError):
    message: str = "The gateway is shutting down; send the request again."
    code: str | None = "draining"
    retry_after_s: float | None = 1.0
    status: ClassVar[int] = 503


@dataclass
class UpstreamTimeout(GatewayError):
    code: str | None = "upstream_timeout"
    status: ClassVar[int] = 504


@dataclass
class Internal(GatewayError):
    message: str = "the gateway failed on this request; its log has the reason"
    code: str | None = "internal_error"
