"""Jobs at the API: what a request has to ask to become one, `202`, and `/v1/jobs`."""

import math
from dataclasses import dataclass
from typing import Final, Protocol

from runestone_sidecar.admit.waiting import WAIT
from runestone_sidecar.config.snapshot import Principal
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.jobs_admin import NAMESPACE, JobsAdmin, parameters
from runestone_sidecar.edge.request import Receive, Scope, Send, header
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.errors import (
    UNACKNOWLEDGED,
    BadRequest,
    JobNotFound,
    LimitReached,
    MethodNotAllowed,
    QueueFull,
    QueueUnavailable,
)
from runestone_sidecar.pipeline.job_object import job_object, job_summary
from runestone_sidecar.pipeline.jobs import WEBHOOK_HEADER, Accepted, Job, Submission
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.events import EventType

PATH: Final = "/v1/jobs"
LONGEST_WAIT_S: Final = 60
LONGEST_KEY: Final = 255
IDEMPOTENCY_KEY: Final = b"idempotency-key"

_WEBHOOK_HEADER: Final = WEBHOOK_HEADER.lower().encode()
_WEBHOOKS_OWN: Final = b"webhook-"

ALWAYS: Final = "Always"
MAY_ASK: Final = frozenset({"OnRequest", ALWAYS, WAIT})


class Desk(Protocol):
    @property
    def is_open(self) -> bool:
        """Whether jobs can be taken now."""

    @property
    def is_meant(self) -> bool:
        """Whether they are as a rule."""

    async def knows(self, submission: Submission) -> bool:
        """Whether its idempotency key has made it a job before. Raises as `submit` does."""

    async def submit(self, submission: Submission) -> Accepted:
        """Returns once it is kept. Raises QueueFull, QueueUnavailable, BodyTooLarge, BadRequest."""

    async def find(self, principal: Principal, job_id: str, wait_s: float) -> Job: ...

    async def list(self, principal: Principal) -> list[Job]: ...

    async def cancel(self, principal: Principal, job_id: str) -> Job: ...


def desk_for(desk: Desk | None, scope: Scope) -> Desk | None:
    """None: there are no jobs now. What has an Idempotency-Key may be one all the same, and be run
    twice if it were answered at once: it goes to the desk, which refuses it."""
    if desk is None or desk.is_open:
        return desk
    return desk if desk.is_meant and header(scope, IDEMPOTENCY_KEY) is not None else None


def asks_for_job(scope: Scope, caller: Caller) -> bool:
    """Prefer: respond-async (RFC 7240), among other preferences maybe, with a key that may."""
    prefer = header(scope, b"prefer")
    return (
        prefer is not None
        and caller.principal.overflow in MAY_ASK
        and any(
            part.partition(b";")[0].strip().lower() == b"respond-async"
            for part in prefer.split(b",")
        )
    )


def check_fit(record: Record) -> None:
    """Raises BadRequest."""
    if record.stream:
        raise BadRequest(
            "A job is answered as a whole: send stream: false with Prefer: respond-async.",
            param="stream",
        )


async def job_of(
    desk: Desk, scope: Scope, caller: Caller, record: Record, body: bytes
) -> Submission | None:
    """Of what asks to be a job; or has been one already, though it asked for nothing, since its key
    was over the limit when it was sent before. Raises GatewayError."""
    if asks_for_job(scope, caller):
        check_fit(record)
        return submission_of(scope, caller, record, body)
    may_be_known = (
        desk.is_open
        and caller.principal.overflow == ALWAYS
        and not record.stream
        and header(scope, IDEMPOTENCY_KEY) is not None
    )
    if not may_be_known:
        return None
    submission = submission_of(scope, caller, record, body)
    return submission if await desk.knows(submission) else None


def overflows(caller: Caller, record: Record, reached: LimitReached) -> bool:
    """Unasked. A client that wants a stream could do nothing with a job, and what is never let in
    would wait in vain."""
    return (
        caller.principal.overflow == ALWAYS and not record.stream and not math.isinf(reached.wait_s)
    )


async def submit_instead(desk: Desk, submission: Submission, reached: LimitReached) -> Accepted:
    """Where there can be no job, the limit is what the client is told. Raises GatewayError."""
    try:
        return await desk.submit(submission)
    except (QueueFull, QueueUnavailable) as error:
        if error.code == UNACKNOWLEDGED:
            raise
        raise reached from error


def submission_of(
    scope: Scope, caller: Caller, record: Record, body: bytes, wait_s: float = 0.0
) -> Submission:
    """Raises BadRequest."""
    key = header(scope, IDEMPOTENCY_KEY)
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(
            f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.", param="Idempotency-Key"
        )
    webhook_url = _webhook_url(scope)
    policy = caller.snapshot.policy_of(caller.principal)
    assert policy is not None  # the request was routed by it
    return Submission(
        principal=caller.principal,
        bounds=policy.overflow,
        path=scope["path"],
        request_id=record.request_id,
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ),
        body=body,
        idempotency_key=None if key is None else key.decode("latin-1"),
        wait_s=wait_s,
        webhook_url=webhook_url,
    )


def _webhook_url(scope: Scope) -> str | None:
    """Raises BadRequest. What signs and names a webhook is ours alone: a client that sends it means
    something that will not happen."""
    given = [value for name, value in scope["headers"] if name == _WEBHOOK_HEADER]
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest("There can be one webhook.", param=WEBHOOK_HEADER)
    for name, _ in scope["headers"]:
        if name.startswith(_WEBHOOKS_OWN):
            raise BadRequest(
                "Headers of a webhook are set by the gateway.", param=name.decode("latin-1")
            )
    return str(given[0].decode("latin-1"))


async def send_accepted(send: Send, record: Record, accepted: Accepted, *, asked: bool) -> None:
    job = accepted.job
    if accepted.position:  # else it was before
        record.events.emit(EventType.OVERFLOW_ENQUEUE, record)
    value = job_summary(job) | {"position": accepted.position, "eta_seconds": accepted.eta_s}
    if not accepted.durable:
        value["durable"] = False
    lines = f"location: {PATH}/{job.id}\r\n".encode()
    if asked:
        lines += b"preference-applied: respond-async\r\n"
    await send_json(send, record, value, status=202, lines=lines)


@dataclass(frozen=True, slots=True)
class Jobs:
    """`/v1/jobs` and what is below: those of the key that asks, and for an Admin's the others."""

    desk: Desk
    admin: JobsAdmin

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        match scope["method"], scope.get("path_params", {}).get("job"):
            case "GET", None if _asks_for_all(scope):
                await self.admin.list(scope, send, record, caller)
            case "GET", None:
                await self._list(send, record, caller)
            case "DELETE", None:
                await self.admin.purge(scope, send, record, caller)
            case "GET", job_id:
                await self._show(scope, send, record, caller, job_id)
            case "DELETE", job_id:
                await self._cancel(send, record, caller, job_id)
            case _:
                raise MethodNotAllowed("Use GET or DELETE for this URL.", allow="GET, DELETE")

    async def retry(
        self, scope: Scope, receive: Receive, send: Send, record: Record, caller: Caller
    ) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("Use POST for this URL.", allow="POST")
        await self.admin.retry(send, record, caller, scope["path_params"]["job"])

    async def _list(self, send: Send, record: Record, caller: Caller) -> None:
        jobs = await self.desk.list(caller.principal)
        await send_json(send, record, {"object": "list", "data": [job_object(job) for job in jobs]})

    async def _show(
        self, scope: Scope, send: Send, record: Record, caller: Caller, job_id: str
    ) -> None:
        wait_s = _wait_s(scope)
        try:
            job = await self.desk.find(caller.principal, job_id, wait_s)
        except JobNotFound:
            if not caller.principal.is_admin:
                raise
            await self.admin.show(send, record, job_id, wait_s)
            return
        await send_json(send, record, job_object(job))

    async def _cancel(self, send: Send, record: Record, caller: Caller, job_id: str) -> None:
        try:
            job = await self.desk.cancel(caller.principal, job_id)
        except JobNotFound:
            if not caller.principal.is_admin:
                raise
            await self.admin.cancel(send, record, job_id)
            return
        await send_json(send, record, job_object(job))


def _asks_for_all(scope: Scope) -> bool:
    """Raises BadRequest: to be given one's own where all were meant would mislead."""
    given = parameters(scope)
    asked = given.get("scope", ["key"])[-1]
    if asked not in {"key", NAMESPACE}:
        raise BadRequest(f"scope must be key or {NAMESPACE}.", param="scope")
    return asked == NAMESPACE


def _wait_s(scope: Scope) -> int:
    """Raises BadRequest."""
    given = parameters(scope).get("wait")
    if not given:
        return 0
    text = given[-1]
    if not (text.isascii() and text.isdigit() and int(text) <= LONGEST_WAIT_S):
        raise BadRequest(
            f"wait must be a whole number of seconds, {LONGEST_WAIT_S} at most.", param="wait"
        )
    return int(text)
