from __future__ import annotations

import base64
import re

from runestone_contract.bundle import encode
from runestone_contract.config import Config, Key
from runestone_operator.api.load import parse
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.history import first_history
from runestone_operator.compiler.inputs import fact_of
from runestone_operator.publish.client_key import generate_key
from runestone_operator.publish.manifests import (
    client_key_manifest,
    credentials_manifest,
    index_content,
    shard_contents,
)
from runestone_testing.bodies import body
from runestone_testing.resources import key

OURS = {"app.kubernetes.io/managed-by": "runestone-operator"}


def test_config_maps_hold_the_bundles_files() -> None:
    keys = tuple(Key(id=f"shop/{'k' * 60}-{number}", tenant="t" * 60) for number in range(8000))
    bundle = encode(Config(namespace="shop", keys=keys))
    assert len(bundle.shards) > 1

    contents = [*shard_contents(bundle), index_content(bundle)]

    files = {file: text for content in contents for file, text in content.data.items()}
    assert files == {name: data.decode() for name, data in bundle.files().items()}
    assert [content.name for content in contents] == [
        *(f"runestone-config-{number}" for number in range(len(bundle.shards))),
        "runestone-config",
    ]
    assert contents[0].manifest("shop")["metadata"] == {
        "namespace": "shop",
        "name": "runestone-config-0",
        "labels": OURS,
    }


def test_credentials_are_equal_whatever_the_order() -> None:
    one = credentials_manifest("shop", {"b": b"2", "a": b"\xff"})
    other = credentials_manifest("shop", {"a": b"\xff", "b": b"2"})
    assert (
        list(one["data"].items()) == list(other["data"].items()) == [("a", "/w=="), ("b", "Mg==")]
    )
    assert one["metadata"]["name"] == "runestone-credentials"


def test_a_generated_key_belongs_to_its_resource() -> None:
    parsed = parse(body(key("shop"), uid="u"))
    assert isinstance(parsed, ApiKey)

    made = client_key_manifest(parsed, "sk-rs-value", first_history(parsed, 0))

    assert made["metadata"]["name"] == "client-api-key"
    assert made["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "runestone.dev/v1alpha1",
            "kind": "ApiKey",
            "name": "client",
            "uid": "u",
            "controller": True,
        }
    ]
    values = {name: base64.b64decode(value) for name, value in made["data"].items()}
    assert values == {"api-key": b"sk-rs-value", "base-url": b"http://localhost:4003/v1"}


def test_generated_keys_are_keys_and_never_the_same() -> None:
    made = {generate_key() for _ in range(100)}
    assert len(made) == 100
    for value in made:
        assert re.fullmatch(r"sk-rs-[A-Za-z0-9]{43}", value)
        assert fact_of(value.encode()).client_key
    assert len({letter for value in made for letter in value[6:]}) == 62
