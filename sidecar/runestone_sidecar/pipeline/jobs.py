"""What the edge and the queue tell each other of jobs: requests that are answered later."""

from dataclasses import dataclass, field
from typing import Final

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.config.snapshot import Principal

WEBHOOK_HEADER: Final = "Runestone-Webhook-URL"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that was found fit, and is to become a job."""

    principal: Principal
    bounds: PolicyOverflow
    path: str
    request_id: str
    headers: tuple[tuple[str, str], ...]  # the client's, names in lower case
    body: bytes
    idempotency_key: str | None
    wait_s: float  # for room in the key's limits, as far as is known here
    webhook_url: str | None = field(default=None, repr=False)  # as asked for: it may hold a token


@dataclass(frozen=True, slots=True)
class JobResponse:
    """What the client would have been answered."""

    status: int
    request_id: str
    body: bytes  # JSON


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its owner sees it."""

    id: str
    status: str  # queued running retrying succeeded failed cancelled expired
    created_s: int
    finished_s: int | None
    attempts: int  # since it was tried anew, where it was
    retries: int  # how often it was tried anew
    error: str | None = None  # a code: why it did not succeed
    response: JobResponse | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    job: Job
    position: int  # in the namespace's queue
    eta_s: int
    durable: bool = True  # False: its queue is known to promise what it has not synced


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A job as an Admin sees it."""

    job: Job  # without its response
    api_key: str | None  # None: there is none any more whose it would be
    tenant: str | None
    max_attempts: int
    expires_s: int  # its first attempt must have begun by then
    can_run_anew: bool


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs of the namespace."""

    states: frozenset[str] = frozenset()  # none: any
    api_key: str | None = None  # its name
    tenant: str | None = None
    older_s: int | None = None
    newer_s: int | None = None
    by_end: bool = False  # the age is since its end, not since it was made
    limit: int = 100
    start: int = 1  # where the page before ended


@dataclass(slots=True)
class JobPage:
    jobs: list[JobEntry] = field(default_factory=list)
    count: int = 0  # of those that are no more
    next: int | None = None  # where to go on; None: that was all
