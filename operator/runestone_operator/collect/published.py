"""What the ConfigMaps and the managed Secret of a namespace hold now, read back from them.

The compiler goes back to it where a resource can no longer be used. It is the cluster's word and
not our memory's, so that two operators, or one before and after a restart, go back to the same.
"""

from collections.abc import Mapping

from runestone_contract.bundle import BundleError, lines_by_identity, parse_index
from runestone_contract.canonical import credentials_digest
from runestone_contract.names import (
    CONFIG_MAP,
    CREDENTIALS_SECRET,
    INDEX_FILE,
    MAX_SHARDS,
    shard_config_map,
)
from runestone_operator.collect.cache import Cache

CONFIG_MAP_NAMES = (CONFIG_MAP, *map(shard_config_map, range(MAX_SHARDS)))

Lines = Mapping[str, bytes]
"""Of a bundle: "kind id" -> the record's line."""


class Published:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._read: dict[str, tuple[tuple[int, ...], Lines | None]] = {}

    def lines(self, namespace: str) -> Lines | None:
        """None where there is no bundle, or none that is whole."""
        views = [self._cache.config_map(namespace, name) for name in CONFIG_MAP_NAMES]
        there = [view for view in views if view is not None]
        versions = tuple(view.version for view in there)
        if self._read.get(namespace, ((), None))[0] != versions:
            files = {file: text.encode() for view in there for file, text in view.data.items()}
            self._read[namespace] = (versions, _parse(files))
        return self._read[namespace][1] if versions else None

    def digest(self, namespace: str) -> str | None:
        view = self._cache.config_map(namespace, CONFIG_MAP)
        try:
            return parse_index(view.data[INDEX_FILE].encode()).digest if view else None
        except (KeyError, BundleError):
            return None

    def credentials(self, namespace: str) -> str:
        """As a sidecar reports the directory that it has them in."""
        return credentials_digest(self.credential_hashes(namespace) or {})

    def credential_hashes(self, namespace: str) -> Mapping[str, str] | None:
        """None where there is no Secret of ours."""
        view = self._cache.secret(namespace, CREDENTIALS_SECRET)
        if view is None or not view.is_managed:
            return None
        return {entry: fact.sha256 for entry, fact in view.facts.items()}

    def forget(self, namespace: str) -> None:
        self._read.pop(namespace, None)


def _parse(files: Mapping[str, bytes]) -> Lines | None:
    try:
        return lines_by_identity(files)
    except BundleError:
        return None
