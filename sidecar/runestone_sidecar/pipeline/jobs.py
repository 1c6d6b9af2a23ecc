"""What the edge and the queue tell each other of jobs: requests that are answered later."""

from dataclasses import dataclass

from runestone_contract.config import PolicyOverflow
from runestone_sidecar.config.snapshot import Principal


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
    attempts: int
    error: str | None = None  # a code: why it did not succeed
    response: JobResponse | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    job: Job
    position: int  # in the namespace's queue
    eta_s: int
