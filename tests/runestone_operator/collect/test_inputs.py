from __future__ import annotations

from runestone_operator.collect.cache import Cache
from runestone_operator.collect.inputs import collect_inputs
from runestone_operator.compiler.compile import compile_namespace
from runestone_operator.compiler.verdicts import Reason
from runestone_testing.bodies import namespace, view
from runestone_testing.resources import key, policy, pool, secret


def filled(*documents: dict[str, object]) -> Cache:
    cache = Cache()
    for document in documents:
        cache.put(view(document))
    return cache


def test_a_namespace_gets_its_own_and_what_is_shared() -> None:
    cache = filled(
        namespace("shop", team="research"),
        pool("shop"),
        key("shop"),
        policy("shop"),
        secret("shop"),
        secret("shop", "unused"),
        pool("bank", "shared", sharing={"namespaces": "All"}),
        pool("bank", "private"),
        key("bank"),
        secret("bank"),
        secret("bank", "unused"),
    )

    inputs = collect_inputs(cache, "shop", {"pool shop/pool": b"{}"}, now_s=0)

    assert inputs.namespace_labels == {"team": "research"}
    assert [f"{p.meta.namespace}/{p.meta.name}" for p in inputs.pools] == [
        "shop/pool",
        "bank/shared",
    ]
    assert [key.meta.namespace for key in inputs.keys] == ["shop"]
    assert [policy.meta.namespace for policy in inputs.policies] == ["shop"]
    assert set(inputs.secrets) == {("shop", "openai"), ("shop", "unused"), ("bank", "openai")}
    assert inputs.previous == {"pool shop/pool": b"{}"}
    assert inputs.displaced_keys == frozenset()


def test_what_cannot_be_read_is_told_apart() -> None:
    cache = filled(namespace("shop"), pool("shop", strategy="Best"), pool("bank", strategy="Best"))

    inputs = collect_inputs(cache, "shop", {}, now_s=0)

    assert inputs.pools == []
    (unparsed,) = inputs.unparsed
    assert unparsed.meta is not None and unparsed.meta.namespace == "shop"


def test_a_secret_that_is_not_the_keys_own_displaces_it() -> None:
    own = secret("shop", "client-api-key", api_key="sk-rs-" + "a" * 43)
    own["metadata"]["ownerReferences"] = [{"uid": "uid", "controller": True}]
    foreign = secret("shop", "other-api-key", api_key="sk-rs-" + "b" * 43)
    cache = filled(
        namespace("shop"),
        own,
        foreign,
        key("shop"),
        key("shop", "other"),
        key("shop", "brings", secretRef={"name": "other-api-key", "key": "api-key"}),
    )

    inputs = collect_inputs(cache, "shop", {}, now_s=0)
    compiled = compile_namespace(inputs)

    assert inputs.displaced_keys == {"other"}
    assert [record.id for record in compiled.config.keys] == ["shop/brings", "shop/client"]
    said = {(v.resource.name, v.reason) for v in compiled.verdicts}
    assert ("other", Reason.SECRET_NOT_OWNED) in said
