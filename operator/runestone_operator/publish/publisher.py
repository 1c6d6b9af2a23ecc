"""Brings the managed objects of a namespace to what was compiled, writing only what differs.

Shards first, then the Secret, then the index, which names the shards by checksum: a pod that is
refreshed half-way sees an index that does not fit, and keeps what it has.
"""

from collections.abc import Iterable, Mapping

from runestone_contract.bundle import Bundle
from runestone_contract.names import CREDENTIALS_SECRET, NATS_SECRET, OVERFLOW_KEY_SECRET
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.published import CONFIG_MAP_NAMES, Published
from runestone_operator.collect.views import View, build_view, secret_value
from runestone_operator.compiler.inputs import SecretSource, fact_of
from runestone_operator.errors import ConflictError, NotFoundError, StaleInputsError
from runestone_operator.kinds import CONFIG_MAP, RESOURCES, SECRET, Kind
from runestone_operator.publish.kube import Kube, Manifest
from runestone_operator.publish.manifests import (
    ConfigMapContent,
    credentials_manifest,
    index_content,
    shard_contents,
)
from runestone_operator.publish.nats_user import NatsUsers
from runestone_operator.publish.overflow_key import overflow_credential
from runestone_operator.publish.parallel import for_each

Credentials = Mapping[str, SecretSource]


class Publisher:
    def __init__(
        self, kube: Kube, cache: Cache, published: Published, nats_users: NatsUsers
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._published = published
        self._nats_users = nats_users

    async def publish(self, namespace: str, bundle: Bundle, credentials: Credentials) -> int:
        """How many objects were written. Raises StaleInputsError and KubeErrors."""
        shards, index = shard_contents(bundle), index_content(bundle)
        stale = [content for content in shards if self._differs(namespace, content)]
        await for_each(stale, lambda shard: self._write(CONFIG_MAP, shard.manifest(namespace)))
        written = len(stale)
        overflow = await overflow_credential(self._kube, self._cache, namespace)
        nats = await self._nats_users.credential(namespace)
        everything = {**credentials, **overflow, **nats}
        written += await self._publish_credentials(namespace, everything)
        if self._differs(namespace, index):
            await self._write(CONFIG_MAP, index.manifest(namespace))
            written += 1
        wanted = {content.name for content in (*shards, index)}
        await self._delete(namespace, set(CONFIG_MAP_NAMES) - wanted)
        return written

    async def retire(self, namespace: str) -> None:
        """Take everything away, if it is really so that no resource is left."""
        for kind in RESOURCES:
            async for page in self._kube.list_metadata(kind, namespace=namespace):
                if page.get("items"):
                    raise StaleInputsError(f"{kind.name}s of {namespace}")
        if self._cache.secret(namespace, OVERFLOW_KEY_SECRET) is not None:
            await self._delete_one(SECRET, namespace, OVERFLOW_KEY_SECRET)
        user = self._cache.secret(namespace, NATS_SECRET)
        if user is not None and user.is_managed:
            await self._delete_one(SECRET, namespace, NATS_SECRET)
        await self._delete(namespace, CONFIG_MAP_NAMES)
        if self._published.credential_hashes(namespace) is not None:
            await self._delete_one(SECRET, namespace, CREDENTIALS_SECRET)

    def is_present(self, namespace: str) -> bool:
        config_maps = (self._cache.config_map(namespace, name) for name in CONFIG_MAP_NAMES)
        return any(config_maps) or self._published.credential_hashes(namespace) is not None

    def _differs(self, namespace: str, content: ConfigMapContent) -> bool:
        view = self._cache.config_map(namespace, content.name)
        return view is None or view.data != content.data

    async def _publish_credentials(self, namespace: str, credentials: Credentials) -> int:
        wanted = {entry: self._hash_of(source) for entry, source in credentials.items()}
        if (self._published.credential_hashes(namespace) or {}) == wanted:
            return 0
        values = await self._read_values(credentials)
        await self._write(SECRET, credentials_manifest(namespace, values))
        return 1

    def _hash_of(self, source: SecretSource) -> str | None:
        view = self._cache.secret(source.namespace, source.name)
        fact = view.facts.get(source.key) if view else None
        return fact.sha256 if fact else None

    async def _read_values(self, credentials: Credentials) -> dict[str, bytes]:
        """Values are read when they are needed, and kept no longer than that."""
        data: dict[tuple[str, str], Mapping[str, str]] = {}

        async def read(place: tuple[str, str]) -> None:
            data[place] = await self._read_secret(*place)

        await for_each({(source.namespace, source.name) for source in credentials.values()}, read)
        return {
            entry: self._value(source, data[source.namespace, source.name])
            for entry, source in credentials.items()
        }

    async def _read_secret(self, namespace: str, name: str) -> Mapping[str, str]:
        try:
            body = await self._kube.read(SECRET, namespace, name)
        except NotFoundError as error:
            raise StaleInputsError(f"Secret {namespace}/{name}") from error
        return body.get("data") or {}

    def _value(self, source: SecretSource, data: Mapping[str, str]) -> bytes:
        value = secret_value(data.get(source.key)).strip()
        if fact_of(value).sha256 != self._hash_of(source):
            raise StaleInputsError(f"Secret {source.namespace}/{source.name}")
        return value

    async def _write(self, kind: Kind, manifest: Manifest) -> None:
        """Over the version that is known, and no other: an operator that has stood still does not
        undo what was written since."""
        meta = manifest["metadata"]
        known = self._view(kind, meta["namespace"], meta["name"])
        if known is not None:
            manifest = manifest | {"metadata": meta | {"resourceVersion": str(known.version)}}
        try:
            made = await self._kube.apply(kind, manifest)
        except (ConflictError, NotFoundError) as error:
            await self._look_again(kind, meta["namespace"], meta["name"])
            raise StaleInputsError(f"{kind.name} {meta['namespace']}/{meta['name']}") from error
        self._cache.put(build_view(kind, made))
        strange = set(made.get("data") or {}) - set(manifest["data"])
        if strange:  # apply leaves alone what another hand has added
            made = await self._kube.drop_data(kind, meta["namespace"], meta["name"], strange)
            self._cache.put(build_view(kind, made))

    def _view(self, kind: Kind, namespace: str, name: str) -> View | None:
        if kind is SECRET:
            return self._cache.secret(namespace, name)
        return self._cache.config_map(namespace, name)

    async def _look_again(self, kind: Kind, namespace: str, name: str) -> None:
        """The watch may be slow to tell."""
        try:
            self._cache.put(build_view(kind, await self._kube.read(kind, namespace, name)))
        except NotFoundError:
            known = self._view(kind, namespace, name)
            if known is not None:
                self._cache.remove(kind, namespace, name, known.version)

    async def _delete(self, namespace: str, names: Iterable[str]) -> None:
        for name in names:
            if self._cache.config_map(namespace, name) is not None:
                await self._delete_one(CONFIG_MAP, namespace, name)

    async def _delete_one(self, kind: Kind, namespace: str, name: str) -> None:
        known = self._view(kind, namespace, name)
        version = known.version if known else None
        try:
            await self._kube.delete(kind, namespace, name, version=version)
        except NotFoundError:
            return
        except ConflictError as error:
            await self._look_again(kind, namespace, name)
            raise StaleInputsError(f"{kind.name} {namespace}/{name}") from error
