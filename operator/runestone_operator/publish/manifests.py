"""What a namespace's configuration is written as: plain dicts, equal for equal input."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_contract.bundle import Bundle
from runestone_contract.names import (
    CONFIG_MAP,
    CREDENTIALS_SECRET,
    INDEX_FILE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OVERFLOW_KEY_ENTRY,
    OVERFLOW_KEY_SECRET,
    shard_config_map,
    shard_file,
)
from runestone_operator.api.resource import API_VERSION, ApiKey
from runestone_operator.collect.history import KeyHistory
from runestone_operator.compiler.inputs import GENERATED_KEY_ENTRY, key_secret
from runestone_operator.inject.names import BASE_URL

Manifest = dict[str, Any]

BASE_URL_ENTRY: Final = "base-url"


@dataclass(frozen=True, slots=True)
class ConfigMapContent:
    """A ConfigMap that must be there, and the one file that it holds."""

    name: str
    data: Mapping[str, str]

    def manifest(self, namespace: str) -> Manifest:
        return {"metadata": _metadata(namespace, self.name), "data": dict(self.data)}


def shard_contents(bundle: Bundle) -> list[ConfigMapContent]:
    return [
        ConfigMapContent(shard_config_map(number), {shard_file(number): data.decode()})
        for number, data in enumerate(bundle.shards)
    ]


def index_content(bundle: Bundle) -> ConfigMapContent:
    return ConfigMapContent(CONFIG_MAP, {INDEX_FILE: bundle.index.decode()})


def credentials_manifest(namespace: str, values: Mapping[str, bytes]) -> Manifest:
    return secret_manifest(namespace, CREDENTIALS_SECRET, values)


def overflow_key_manifest(namespace: str, value: bytes) -> Manifest:
    return secret_manifest(namespace, OVERFLOW_KEY_SECRET, {OVERFLOW_KEY_ENTRY: value})


def secret_manifest(namespace: str, name: str, values: Mapping[str, bytes]) -> Manifest:
    return {
        "metadata": _metadata(namespace, name),
        "type": "Opaque",
        "data": {entry: _encoded(values[entry]) for entry in sorted(values)},
    }


def client_key_manifest(key: ApiKey, value: str, history: KeyHistory) -> Manifest:
    """The Secret of a generated key. It goes when its ApiKey goes: no finalizer is needed."""
    meta = key.meta
    owner = {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
    }
    return {
        "metadata": _metadata(meta.namespace, key_secret(key).name)
        | {"ownerReferences": [owner], "annotations": history.annotations()},
        "type": "Opaque",
        "data": _client_key_data(value),
    }


def new_client_key_patch(value: str, history: KeyHistory, version: int) -> Manifest:
    """The whole of a rotation in one write, which the API server refuses if the Secret is not
    as of this version any more."""
    meta = {"resourceVersion": str(version), "annotations": history.annotations()}
    return {"metadata": meta, "data": _client_key_data(value)}


def _client_key_data(value: str) -> Manifest:
    return {
        GENERATED_KEY_ENTRY: _encoded(value.encode()),
        BASE_URL_ENTRY: _encoded(BASE_URL.encode()),
    }


def _metadata(namespace: str, name: str) -> Manifest:
    return {"namespace": namespace, "name": name, "labels": {MANAGED_BY_LABEL: MANAGED_BY}}


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
