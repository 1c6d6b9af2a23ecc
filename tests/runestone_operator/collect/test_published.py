from __future__ import annotations

import pytest

from runestone_contract.bundle import encode
from runestone_contract.canonical import credentials_digest, digest
from runestone_contract.config import Config, Policy
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.published import Published
from runestone_operator.kinds import CONFIG_MAP
from runestone_testing.bodies import config_map, view
from runestone_testing.resources import secret

BUNDLE = encode(Config(namespace="shop", policies=(Policy(id="shop/-", default=True),)))


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    index, shard = BUNDLE.index.decode(), BUNDLE.shards[0].decode()
    cache.put(view(config_map("shop", "runestone-config", **{"index.json": index})))
    cache.put(view(config_map("shop", "runestone-config-0", **{"shard-0.jsonl": shard})))
    return cache


def test_a_whole_bundle_is_read_back(cache: Cache) -> None:
    published = Published(cache)

    assert published.lines("shop") == {"policy shop/-": BUNDLE.shards[0].strip()}
    assert published.digest("shop") == BUNDLE.digest
    assert published.lines("bank") is None
    assert published.digest("bank") is None


@pytest.mark.parametrize("content", [{"shard-0.jsonl": "{}\n"}, {}], ids=["changed", "emptied"])
def test_what_is_not_whole_is_none(cache: Cache, content: dict[str, str]) -> None:
    published = Published(cache)
    assert published.lines("shop") is not None

    cache.put(view(config_map("shop", "runestone-config-0", **content), version=2))

    assert published.lines("shop") is None


def test_a_broken_index_has_no_digest(cache: Cache) -> None:
    cache.put(view(config_map("shop", "runestone-config", **{"index.json": "{"}), version=2))
    published = Published(cache)
    assert published.digest("shop") is None
    assert published.lines("shop") is None


def test_what_is_deleted_is_none(cache: Cache) -> None:
    published = Published(cache)
    assert published.lines("shop") is not None
    published.forget("shop")
    for name in ("runestone-config", "runestone-config-0"):
        cache.remove(CONFIG_MAP, "shop", name, 5)
    assert published.lines("shop") is None


def test_credentials_are_known_by_their_hashes(cache: Cache) -> None:
    published = Published(cache)
    assert published.credential_hashes("shop") is None
    assert published.credentials("shop") == credentials_digest({})

    document = secret("shop", "runestone-credentials", cred="value\n")
    cache.put(view(document, version=1))
    assert published.credential_hashes("shop") is None  # no label of ours

    document["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "runestone-operator"}
    cache.put(view(document, version=2))
    assert published.credential_hashes("shop") == {"cred": digest(b"value")}
    assert published.credentials("shop") == credentials_digest({"cred": digest(b"value")})
