"""Who the sidecars of a namespace are at NATS: a Secret of credentials, made once.

With a trust of our own we issue them; whoever deletes the Secret has new ones issued, and the old
ones let nobody in any more. A Secret of that name that is not ours is used as it is: so a NATS
that somebody else runs is joined.
"""

import logging
from collections.abc import Callable, Mapping

from runestone_contract.names import NATS_CREDENTIALS, NATS_SECRET
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view, is_managed, secret_value
from runestone_operator.compiler.inputs import SecretSource
from runestone_operator.errors import ConflictError, NotFoundError, RefusedError
from runestone_operator.kinds import SECRET
from runestone_operator.nats.trust import Home, Trust
from runestone_operator.publish.kube import Kube, Manifest
from runestone_operator.publish.manifests import secret_manifest

Known = tuple[Trust, Home, str]  # and the SHA-256 of what was found to be issued by it for it

log = logging.getLogger(__name__)


class NatsUsers:
    def __init__(self, kube: Kube, cache: Cache, trust: Callable[[], Trust | None]) -> None:
        self._kube = kube
        self._cache = cache
        self._trust = trust
        self._known: dict[str, Known] = {}  # by the namespace

    def home(self, namespace: str) -> Home | None:
        view = self._cache.namespace(namespace)
        return Home(namespace, view.uid) if view is not None else None

    def version(self, namespace: str) -> str:
        """Changes with the credentials; empty where there are none."""
        view = self._cache.secret(namespace, NATS_SECRET)
        fact = view.facts.get(NATS_CREDENTIALS) if view else None
        return fact.sha256 if fact and fact.size else ""

    def are_ours(self, namespace: str) -> bool:
        view = self._cache.secret(namespace, NATS_SECRET)
        return view is not None and view.is_managed and bool(self.version(namespace))

    async def credential(self, namespace: str) -> Mapping[str, SecretSource]:
        """Where they are; nothing where none are and none can be issued. Raises KubeErrors."""
        trust, home = self._trust(), self.home(namespace)
        if trust is not None and home is not None:
            try:
                await self._ensure(trust, home)
            except RefusedError as error:
                log.warning(
                    "no NATS credentials", extra={"namespace": namespace, "error": str(error)}
                )
        if not self.version(namespace):
            return {}
        return {NATS_CREDENTIALS: SecretSource(namespace, NATS_SECRET, NATS_CREDENTIALS)}

    async def user(self, trust: Trust, home: Home) -> str | None:
        """Whom the account should let in, by the API server's word; None where it is not ours."""
        try:
            body = await self._kube.read(SECRET, home.namespace, NATS_SECRET)
        except NotFoundError:
            return None
        self._cache.put(build_view(SECRET, body))
        return trust.user_of(home, _content(body))

    def forget(self, namespace: str) -> None:
        self._known.pop(namespace, None)

    async def _ensure(self, trust: Trust, home: Home) -> None:
        view = self._cache.secret(home.namespace, NATS_SECRET)
        if view is None:
            await self._create(trust, home)
            view = self._cache.secret(home.namespace, NATS_SECRET)
        known = (trust, home, self.version(home.namespace))
        if view is None or not view.is_managed or self._known.get(home.namespace) == known:
            return
        if await self.user(trust, home) is None:
            await self._replace(trust, home)
        self._known[home.namespace] = (trust, home, self.version(home.namespace))

    async def _create(self, trust: Trust, home: Home) -> None:
        try:
            made = await self._kube.create(SECRET, _manifest(trust, home))
        except ConflictError:
            made = await self._kube.read(SECRET, home.namespace, NATS_SECRET)
        self._cache.put(build_view(SECRET, made))

    async def _replace(self, trust: Trust, home: Home) -> None:
        """What is there was issued by another trust, or for a namespace of that name that is gone,
        or was changed by another hand."""
        body = await self._kube.read(SECRET, home.namespace, NATS_SECRET)
        if is_managed(body["metadata"]):
            body = await self._kube.apply(SECRET, _manifest(trust, home))
            log.info("NATS credentials replaced", extra={"namespace": home.namespace})
        self._cache.put(build_view(SECRET, body))


def _manifest(trust: Trust, home: Home) -> Manifest:
    return secret_manifest(home.namespace, NATS_SECRET, {NATS_CREDENTIALS: trust.issue(home)})


def _content(body: Manifest) -> bytes:
    return secret_value((body.get("data") or {}).get(NATS_CREDENTIALS))
