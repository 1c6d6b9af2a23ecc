"""All jobs of the namespace at the API, for keys with the role Admin: list, show, cancel, retry,
purge. What was asked and answered stays its key's own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.request import Scope, Send
from runestone_sidecar.edge.respond import send_json
from runestone_sidecar.errors import BadRequest, PermissionDenied
from runestone_sidecar.pipeline.job_object import job_error, job_summary
from runestone_sidecar.pipeline.jobs import JobEntry, JobPage, JobQuery
from runestone_sidecar.pipeline.plan import Record

NAMESPACE: Final = "namespace"
LARGEST_PAGE: Final = 1_000
PAGE: Final = 100
ENDS: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})
STATES: Final = ENDS | {"queued", "running", "retrying"}

_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_FILTERS: Final = frozenset(
    {"state", "key", "tenant", "older_than", "newer_than", "limit", "after"}
)


class Administration(Protocol):
    async def show(self, job_id: str, wait_s: float) -> JobEntry: ...

    async def list(self, query: JobQuery) -> JobPage: ...

    async def cancel(self, job_id: str) -> JobEntry: ...

    async def retry(self, job_id: str) -> JobEntry: ...

    async def purge(self, query: JobQuery) -> JobPage: ...


@dataclass(frozen=True, slots=True)
class JobsAdmin:
    administration: Administration

    async def list(self, scope: Scope, send: Send, record: Record, caller: Caller) -> None:
        check_admin(caller)
        page = await self.administration.list(_query(scope, _FILTERS | {"scope"}, STATES))
        shown = {"object": "list", "data": [entry(each) for each in page.jobs], **_more(page)}
        await send_json(send, record, shown)

    async def purge(self, scope: Scope, send: Send, record: Record, caller: Caller) -> None:
        check_admin(caller)
        query = _query(scope, _FILTERS - {"newer_than"}, ENDS, by_end=True)
        if not query.states:
            raise BadRequest(f"Say which jobs, by state: {_listed(ENDS)}.", param="state")
        page = await self.administration.purge(query)
        shown = {"object": "runestone.jobs.purged", "purged": page.count, **_more(page)}
        await send_json(send, record, shown)

    async def show(self, send: Send, record: Record, job_id: str, wait_s: float) -> None:
        await send_json(send, record, entry(await self.administration.show(job_id, wait_s)))

    async def cancel(self, send: Send, record: Record, job_id: str) -> None:
        await send_json(send, record, entry(await self.administration.cancel(job_id)))

    async def retry(self, send: Send, record: Record, caller: Caller, job_id: str) -> None:
        check_admin(caller)
        await send_json(send, record, entry(await self.administration.retry(job_id)))


def check_admin(caller: Caller) -> None:
    """The same whether or not there is such a job. Raises PermissionDenied."""
    if not caller.principal.is_admin:
        raise PermissionDenied("This is for API keys with the role Admin.")


def entry(found: JobEntry) -> dict[str, Any]:
    job = found.job
    return job_summary(job) | {
        "finished_at": job.finished_s,
        "expires_at": found.expires_s if job.status == "queued" else None,
        "attempts": job.attempts,
        "max_attempts": found.max_attempts,
        "retries": job.retries,
        "api_key": found.api_key,
        "tenant": found.tenant,
        "retryable": found.can_run_anew,
        "error": job_error(job),
    }


def parameters(scope: Scope) -> Mapping[str, list[str]]:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1"), keep_blank_values=True)


def _more(page: JobPage) -> dict[str, Any]:
    return {
        "has_more": page.next is not None,
        "next": None if page.next is None else str(page.next),
    }


def _query(
    scope: Scope, names: frozenset[str], states: frozenset[str], *, by_end: bool = False
) -> JobQuery:
    """What is not known is refused: a slip must not widen what is purged. Raises BadRequest."""
    given = parameters(scope)
    for name in given:
        if name not in names:
            raise BadRequest(f"There is no such parameter; there are {_listed(names)}.", param=name)
    one = {name: values[-1] for name, values in given.items()}
    wanted = {state for value in given.get("state", ()) for state in value.split(",")}
    if not wanted <= states:
        raise BadRequest(f"state must be of {_listed(states)}.", param="state")
    limit = _number(one, "limit", PAGE)
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadRequest(f"limit must be from 1 to {LARGEST_PAGE}.", param="limit")
    return JobQuery(
        states=frozenset(wanted),
        api_key=one.get("key"),
        tenant=one.get("tenant"),
        older_s=_seconds(one, "older_than"),
        newer_s=_seconds(one, "newer_than"),
        by_end=by_end,
        limit=limit,
        start=max(1, _number(one, "after", 1)),
    )


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} must be a whole number.", param=name)
    return int(text)


def _seconds(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadRequest(f"{name} must be like 90s, 15m, 24h or 7d.", param=name)
    return int(found[1]) * _UNIT_S[found[2]]


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
