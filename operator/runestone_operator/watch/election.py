"""Which of several operators writes: the one whose name is in a Lease, for as long as it renews it.

No clock is agreed upon. Who holds the lease counts from before it asked to renew it, and stops at
two thirds of its duration; the others count the whole of it from when they saw it renewed. So one
that has stood still finds its own time over before it writes anything more, and what it had under
way by then is bound to versions of objects that the next leader has changed.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from runestone_contract.names import MANAGED_BY
from runestone_operator.errors import ConflictError, KubeError, NotFoundError
from runestone_operator.kinds import LEASE, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Manifest

log = logging.getLogger(__name__)

NAME: Final = MANAGED_BY
RELEASE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Terms:
    lease_s: float

    @property
    def renewed_for_s(self) -> float:
        """After this without a renewal, who leads does so no more."""
        return self.lease_s * 2 / 3

    @property
    def look_every_s(self) -> float:
        return self.lease_s / 10


@dataclass(slots=True)
class _Seen:
    """The lease as it last came in, and since when it has been so."""

    version: str = ""
    holder: str = ""
    lease_s: float = 0.0
    transitions: int = 0
    since_s: float = 0.0


class Leases(Protocol):
    """What of Kube is needed here."""

    async def read(self, kind: Kind, namespace: str | None, name: str) -> Manifest: ...

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest: ...

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest: ...


class Election:
    def __init__(
        self,
        kube: Leases,
        namespace: str,
        identity: str,
        terms: Terms,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._terms = terms
        self._metrics = metrics
        self._clock = clock
        self._seen = _Seen()
        self._until_s = 0.0
        self._told = ""
        self._has_withdrawn = False

    def is_won(self) -> bool:
        return self._clock() < self._until_s

    async def serve(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Runs `lead` whenever this is the leader, and cancels it when it is not. Until cancelled:
        then the lease is given up, so that another takes over at once."""
        try:
            while True:
                if await self._try():
                    await self._lead(lead)
                else:
                    await asyncio.sleep(self._pause_s())
        finally:
            await self.withdraw()

    async def withdraw(self) -> None:
        """For good. Who leads gives the lease up, so that nobody has to wait for it to end."""
        was_won, self._has_withdrawn = self.is_won(), True
        self._until_s = 0.0
        if not was_won:
            return
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await self._write(self._spec(is_new=False) | {"holderIdentity": ""})

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        log.info("leading", extra={"identity": self._identity})
        self._metrics.leader.set(1)
        works = [asyncio.ensure_future(lead()), asyncio.ensure_future(self._renew())]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._metrics.leader.set(0)
            for work in works:
                work.cancel()
            await asyncio.wait(works)
        for work in works:
            if not work.cancelled():
                work.result()
        log.warning("not leading any more", extra={"holder": self._seen.holder})

    async def _renew(self) -> None:
        """Until it is lost."""
        while self.is_won():
            await asyncio.sleep(self._terms.look_every_s)
            await self._try()

    def _pause_s(self) -> float:
        seen = self._seen
        left_s = seen.since_s + seen.lease_s - self._clock()
        return min(self._terms.look_every_s, max(left_s, 0.05))

    async def _try(self) -> bool:
        """Take or renew it. Where there is no answer, it is as it was."""
        if self._has_withdrawn:
            return False
        try:
            async with asyncio.timeout(self._terms.lease_s / 3):
                await self._take()
        except ConflictError:
            log.debug("another was faster")
        except (KubeError, TimeoutError) as error:
            self._tell(f"{type(error).__name__} {error}".strip())
        else:
            self._told = ""
        return self.is_won()

    def _tell(self, problem: str) -> None:
        """Once, and not with each try."""
        if problem != self._told:
            log.warning("the lease cannot be read or renewed", extra={"error": problem})
        self._told = problem

    async def _take(self) -> None:
        began_s = self._clock()
        try:
            self._look(await self._kube.read(LEASE, self._namespace, NAME))
        except NotFoundError:
            if not self._is_free():
                return  # whoever held it knows no better yet
            manifest = {"metadata": {"namespace": self._namespace, "name": NAME}}
            made = await self._kube.create(LEASE, manifest | {"spec": self._spec(is_new=True)})
        else:
            if not self._is_free():
                self._until_s = 0.0
                return
            made = await self._write(self._spec(is_new=self._seen.holder != self._identity))
        self._look(made)
        self._until_s = began_s + self._terms.renewed_for_s

    def _look(self, body: Manifest) -> None:
        meta, spec = body["metadata"], body.get("spec") or {}
        if meta["resourceVersion"] != self._seen.version:
            self._seen = _Seen(
                version=meta["resourceVersion"],
                holder=spec.get("holderIdentity") or "",
                lease_s=float(spec.get("leaseDurationSeconds") or self._terms.lease_s),
                transitions=int(spec.get("leaseTransitions") or 0),
                since_s=self._clock(),
            )

    def _is_free(self) -> bool:
        seen = self._seen
        if seen.holder in {"", self._identity}:
            return True
        return self._clock() >= seen.since_s + seen.lease_s

    async def _write(self, spec: Manifest) -> Manifest:
        patch = {"metadata": {"resourceVersion": self._seen.version}, "spec": spec}
        return await self._kube.patch(LEASE, self._namespace, NAME, patch)

    def _spec(self, *, is_new: bool) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._terms.lease_s)),
            "renewTime": now,
        }
        if is_new:
            spec |= {"acquireTime": now, "leaseTransitions": self._seen.transitions + 1}
        return spec
