"""The fourth pass: an account of NATS's for each namespace that is served, and for no other.

Level-triggered: with each connection, after each publish that may have changed whom to let in, and
once a period, what there is is looked at and put right. So a NATS whose store was lost is as it
was a moment after it is back. Nothing waits for it: a sidecar without an account does without NATS.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from runestone_contract.names import NATS_SECRET
from runestone_operator.errors import NatsAwayError, NatsRefusedError, NotFoundError
from runestone_operator.kinds import NAMESPACE, RESOURCES, SECRET
from runestone_operator.nats.server import Server
from runestone_operator.nats.trust import Home, Trust
from runestone_operator.reconcile.state import World

ALL: Final = "*"  # the pass over the server's list; no namespace is called so

Mark = Callable[[str], None]

log = logging.getLogger(__name__)


class Accounts:
    def __init__(self, world: World, server: Server, *, period_s: float) -> None:
        self.mark: Mark = lambda _: None  # has a pass run for a namespace, or for ALL
        self._world = world
        self._server = server
        self._period_s = period_s
        self._homes: dict[str, Home] = {}  # of the namespaces that should have one
        self._kept: dict[Home, str] = {}  # seen to be as it should, for these credentials
        self._left: dict[str, set[Home]] = {}  # by namespace: what may be to be removed
        self._refused: set[str] = set()

    def note(self, namespaces: Iterable[str]) -> None:
        """They were published, or are not served any more."""
        for namespace in namespaces:
            before, now = self._homes.get(namespace), self._wanted(namespace)
            if before is not None and before != now:
                self._left.setdefault(namespace, set()).add(before)
                self._kept.pop(before, None)
            if now is not None:
                self._homes[namespace] = now
            else:
                self._homes.pop(namespace, None)
                self._refused.discard(namespace)
            if namespace in self._left or (now is not None and not self._is_kept(now)):
                self.mark(namespace)
        self._count()

    def connected(self, is_up: bool) -> None:
        """Who knows what NATS has kept."""
        self._kept.clear()
        self._refused.clear()
        self._count()
        if is_up:
            self.mark(ALL)

    def forget_all(self) -> None:
        """Another writes from now on, or has written since."""
        for known in (self._homes, self._kept, self._left, self._refused):
            known.clear()
        self._count()

    async def run(self, name: str) -> float | None:
        trust = self._world.trust()
        if trust is None or not self._server.is_up:
            return None  # it is marked with the next connection
        try:
            if name == ALL:
                return await self._look(trust)
            await self._remove_left(trust, name)
            await self._keep(trust, name)
        except NatsAwayError:
            if not self._server.is_up:
                return None
            raise
        finally:
            self._count()
        return None

    def _wanted(self, namespace: str) -> Home | None:
        world = self._world
        if not world.is_served(namespace) or not world.nats_users.are_ours(namespace):
            return None
        return world.nats_users.home(namespace)

    def _is_kept(self, home: Home) -> bool:
        return self._kept.get(home) == self._world.nats_users.version(home.namespace)

    async def _keep(self, trust: Trust, namespace: str) -> None:
        home = self._homes.get(namespace)
        if home is None:
            return
        user = await self._world.nats_users.user(trust, home)
        version = self._world.nats_users.version(namespace)
        if user is None:  # not ours, or gone: then the next publish makes it anew
            return
        try:
            changed = await self._server.keep(trust, home, user)
        except NatsRefusedError:
            self._refused.add(namespace)
            raise
        self._refused.discard(namespace)
        self._kept[home] = version
        if changed:
            log.info("NATS account set", extra={"namespace": namespace})

    async def _look(self, trust: Trust) -> float:
        """At all that the server has: what is amiss is put right by the passes over namespaces."""
        for namespace in {*self._homes, *self._left}:
            self.mark(namespace)
        for home in (await self._server.homes()).values():
            if self._wanted(home.namespace) != home:
                self._left.setdefault(home.namespace, set()).add(home)
                self.mark(home.namespace)
        return self._period_s

    async def _remove_left(self, trust: Trust, namespace: str) -> None:
        for home in list(self._left.get(namespace, ())):
            if self._homes.get(namespace) == home:
                self._left[namespace].discard(home)
            elif await self._is_gone(home):
                await self._server.remove(trust, trust.account(home).public)
                self._left[namespace].discard(home)
                log.info("NATS account removed", extra={"namespace": namespace})
        if not self._left.get(namespace):
            self._left.pop(namespace, None)

    async def _is_gone(self, home: Home) -> bool:
        """By the API server's word: what an account has stored does not come back."""
        kube, namespace = self._world.kube, home.namespace
        try:
            found = await kube.read(NAMESPACE, None, namespace)
        except NotFoundError:
            return True
        if found["metadata"].get("uid") != home.uid:
            return True
        if "deletionTimestamp" in found["metadata"] or self._world.cache.running_pods(namespace):
            return False  # its pods may still be at work
        for kind in RESOURCES:
            async for page in kube.list_metadata(kind, namespace=namespace):
                if page.get("items"):
                    return False
        try:
            await kube.read(SECRET, namespace, NATS_SECRET)
        except NotFoundError:
            return True
        return False

    def _count(self) -> None:
        kept = sum(self._is_kept(home) for home in self._homes.values())
        refused = len(self._refused)
        states = {"current": kept, "refused": refused, "behind": len(self._homes) - kept - refused}
        for state, count in states.items():
            self._world.metrics.nats_accounts.labels(state).set(count)
