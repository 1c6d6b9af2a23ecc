"""The operator's own Secrets for NATS: the seed that all is signed with, and what its server needs.

The seed is made once, by create alone: of two operators that race, or of one that died on the way,
the next meets "exists already" and takes what is there. One that is there and is no seed is never
replaced: with another, every namespace would lose its account. The rest follows from the seed.
"""

import hashlib
import logging
from typing import Any, Final

from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view, secret_value
from runestone_operator.errors import BadSeedError, ConflictError, NotFoundError
from runestone_operator.kinds import SECRET
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.server_config import auth_config
from runestone_operator.nats.trust import Trust
from runestone_operator.publish.kube import Kube, Manifest
from runestone_operator.publish.manifests import secret_manifest

SEED_SECRET: Final = "runestone-nats-operator"
SEED_ENTRY: Final = "operator.seed"
AUTH_SECRET: Final = "runestone-nats-auth"
AUTH_ENTRY: Final = "auth.conf"

log = logging.getLogger(__name__)


class Trustee:
    def __init__(self, kube: Kube, cache: Cache, *, namespace: str, folder: str) -> None:
        self._kube = kube
        self._cache = cache
        self._namespace = namespace
        self._folder = folder
        self.trust: Trust | None = None  # None: it could not be read or made yet

    @property
    def is_in_order(self) -> bool:
        """Whether both Secrets are known to be as they should; asks nobody."""
        trust = self.trust
        if trust is None:
            return False
        config = auth_config(trust, self._folder)
        return self._holds(SEED_SECRET, SEED_ENTRY, trust.operator.seed) and self._holds(
            AUTH_SECRET, AUTH_ENTRY, config
        )

    async def ensure(self) -> None:
        """Raises KubeErrors, and BadSeedError."""
        seed = await self._seed()
        trust = Trust(KeyPair.parse(Role.OPERATOR, seed))
        config = auth_config(trust, self._folder)
        if not self._holds(AUTH_SECRET, AUTH_ENTRY, config):
            self._keep(
                await self._kube.apply(SECRET, self._manifest(AUTH_SECRET, {AUTH_ENTRY: config}))
            )
            log.info("NATS is told whom to trust", extra={"secret": AUTH_SECRET})
        self.trust = trust

    async def _seed(self) -> str:
        try:
            return self._read(await self._kube.read(SECRET, self._namespace, SEED_SECRET))
        except NotFoundError:
            # Where it was deleted under us, what we hold is what the server trusts.
            operator = self.trust.operator if self.trust else KeyPair.generate(Role.OPERATOR)
        try:
            manifest = self._manifest(SEED_SECRET, {SEED_ENTRY: operator.seed})
            return self._read(await self._kube.create(SECRET, manifest))
        except ConflictError:
            return self._read(await self._kube.read(SECRET, self._namespace, SEED_SECRET))

    def _read(self, body: Manifest) -> str:
        self._keep(body)
        value = secret_value((body.get("data") or {}).get(SEED_ENTRY))
        try:
            return value.strip().decode("ascii")
        except UnicodeDecodeError:
            raise BadSeedError(Role.OPERATOR.name.lower()) from None

    def _keep(self, body: dict[str, Any]) -> None:
        self._cache.put(build_view(SECRET, body))

    def _manifest(self, name: str, values: dict[str, str]) -> Manifest:
        encoded = {entry: value.encode() for entry, value in values.items()}
        return secret_manifest(self._namespace, name, encoded)

    def _holds(self, name: str, entry: str, value: str) -> bool:
        view = self._cache.secret(self._namespace, name)
        fact = view.facts.get(entry) if view else None
        return fact is not None and fact.sha256 == _sha256(value.strip())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
