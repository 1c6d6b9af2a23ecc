"""Jobs as an Admin sees them: all of the namespace, and of none what was asked or answered.

Each call looks at so many records at most; where there are more, it says where to go on.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.overflow.desk import answering, ended_within
from runestone_sidecar.overflow.metrics import OverflowMetrics
from runestone_sidecar.overflow.moves import Moves, find
from runestone_sidecar.overflow.record import DUE, JobRecord, now_ms
from runestone_sidecar.overflow.space import Space
from runestone_sidecar.overflow.store import Kept, Store
from runestone_sidecar.overflow.webhooks.outbox import Outbox
from runestone_sidecar.pipeline.jobs import JobEntry, JobPage, JobQuery

LOOKED_AT: Final = 2_000  # records, in one call
ANYBODY: Final = "*"


@dataclass(slots=True)
class Owners:
    """Whose jobs they are: records do not tell, the configuration does."""

    holder: Holder
    _by_token: dict[str, Principal] = field(default_factory=dict)
    _of: Snapshot | None = None

    def of(self, store: Store, token: str) -> Principal | None:
        """None: its ApiKey is no more."""
        snapshot = self.holder.current
        assert snapshot is not None  # else there were no store
        if self._of is not snapshot:
            found = {
                principal.id: principal
                for by in (snapshot.keys, snapshot.service_accounts)
                for principal in by.values()
            }
            self._by_token = {store.owner_of(id_): each for id_, each in found.items()}
            self._of = snapshot
        return self._by_token.get(token)


@dataclass(frozen=True, slots=True)
class Administration:
    space: Space
    metrics: OverflowMetrics
    owners: Owners
    outbox: Outbox
    looked_at: int = LOOKED_AT

    async def show(self, job_id: str, wait_s: float) -> JobEntry:
        """Raises JobNotFound or QueueUnavailable."""
        with answering(self.space) as store:
            kept = await find(store, ANYBODY, job_id)
            record = kept.record
            if wait_s and not record.has_ended:
                record = await ended_within(store, kept.owner, job_id, wait_s)
            return self._entry(store, kept.owner, record)

    async def list(self, query: JobQuery) -> JobPage:
        """In the order in which they were changed last."""
        with answering(self.space) as store:
            page = JobPage()
            async for kept in self._matching(store, query, page):
                page.jobs.append(self._entry(store, kept.owner, kept.record))
                if len(page.jobs) >= query.limit:
                    page.next = kept.revision + 1
                    break
        return page

    async def cancel(self, job_id: str) -> JobEntry:
        with answering(self.space) as store:
            moves = Moves(store, self.metrics, self.outbox)
            kept = await moves.cancel(ANYBODY, job_id, "cancelled_by_admin")
            return self._entry(store, kept.owner, kept.record)

    async def retry(self, job_id: str) -> JobEntry:
        """Raises JobConflict where it cannot be tried anew."""
        with answering(self.space) as store:
            kept = await Moves(store, self.metrics, self.outbox).run_anew(ANYBODY, job_id)
            return self._entry(store, kept.owner, kept.record)

    async def purge(self, query: JobQuery) -> JobPage:
        """Forgets those that have ended, as far as this call gets."""
        with answering(self.space) as store:
            page = JobPage()
            async for kept in self._matching(store, query, page):
                if await _erase(store, kept):
                    self.metrics.purged.inc()
                    page.count += 1
                if page.count >= query.limit:
                    page.next = kept.revision + 1
                    break
        return page

    async def _matching(self, store: Store, query: JobQuery, page: JobPage) -> AsyncIterator[Kept]:
        owner = ANYBODY
        if query.api_key is not None:
            owner = store.owner_of(f"{store.names.namespace}/{query.api_key}")
        wanted = self._filter(store, query)
        looked_at = 0
        async for kept in store.records_of(owner, start=query.start):
            if wanted(kept):
                yield kept
            looked_at += 1
            if looked_at >= self.looked_at:
                page.next = kept.revision + 1
                return

    def _filter(self, store: Store, query: JobQuery) -> Callable[[Kept], bool]:
        now_s = now_ms() // 1000

        def is_wanted(kept: Kept) -> bool:
            job = kept.record.seen()
            since_s = job.finished_s if query.by_end else job.created_s
            if query.states and job.status not in query.states:
                return False
            if query.older_s is not None and (since_s is None or now_s - since_s < query.older_s):
                return False
            if query.newer_s is not None and (since_s is None or now_s - since_s > query.newer_s):
                return False
            if query.tenant is None:
                return True
            principal = self.owners.of(store, kept.owner)
            return principal is not None and principal.tenant == query.tenant

        return is_wanted

    def _entry(self, store: Store, owner: str, record: JobRecord) -> JobEntry:
        principal = self.owners.of(store, owner)
        return JobEntry(
            job=record.seen(),
            api_key=principal.name if principal else None,
            tenant=principal.tenant if principal else None,
            max_attempts=record.max_attempts,
            expires_s=record.deadline_ms // 1000,
            can_run_anew=record.can_run_anew or record.is_late(),
        )


async def _erase(store: Store, kept: Kept) -> bool:
    """One that has ended, by its time at least. One whose webhook is due stays until it is not."""
    message = None
    if kept.record.webhook == DUE:
        return False
    if not kept.record.has_ended:
        if not kept.record.is_late():
            return False
        message = await store.message_of(kept)
    if not await store.erase(kept):  # it has moved on, and is not what was asked for any more
        return False
    if message is not None:
        await store.remove(message)
    return True
