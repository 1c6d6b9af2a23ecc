"""What holds for any resources, valid or not, in any order, over any bundle in force.

Names are few, so that references meet, miss and clash.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import given, note, settings
from hypothesis import strategies as st

from runestone_contract import bundle
from runestone_contract.config import Config, Pool, Rule
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.resource import (
    API_VERSION,
    ApiKey,
    ProviderPool,
    Resource,
    RoutingPolicy,
)
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import Inputs, ValueFact, fact_of
from runestone_operator.compiler.verdicts import ConditionType, Reason

Document = dict[str, Any]
Draw = Callable[..., Any]

CANARY = "canary"
NAMES = st.sampled_from(["a", "b", "c"])
MODELS = st.sampled_from(["gpt-4o", "claude-3-opus", "llama", "qwen"])
GLOBS = st.sampled_from(["*", "gpt-*", "llama", "claude-3-opu?"])
NAMESPACES = st.sampled_from(["shop", "east", "west"])
TIMES = st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
CLIENT_KEYS = st.sampled_from(
    [
        f"sk-{CANARY}-0123456789abcdefgh1".encode(),
        f"sk-{CANARY}-0123456789abcdefgh2\n".encode(),
        f"sk-{CANARY}-0123456789abcdefgh3".encode(),
    ]
)
INVALID: dict[str, Document] = {
    "ProviderPool": {},
    "ApiKey": {},
    "RoutingPolicy": {"default": "yes"},
}
USELESS = st.sampled_from([b"", b"\n", f"{CANARY} with spaces".encode()])
CREDENTIALS = st.sampled_from([f"sk-{CANARY}-a".encode(), f"sk-{CANARY}-b".encode()])


def some(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | part


def distinct(part: st.SearchStrategy[Any], *, least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(part, min_size=least, max_size=3, unique=True)


def secret_ref(*keys: str) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({"name": NAMES, "key": st.sampled_from(keys)})


POOL_REF = NAMES | st.builds("{}/{}".format, NAMESPACES, NAMES)


@st.composite
def metadata(draw: Draw, namespace: str, name: str) -> Document:
    meta = {"name": name, "namespace": namespace, "creationTimestamp": draw(TIMES)}
    if draw(st.integers(0, 9)) == 9:
        meta["deletionTimestamp"] = "2026-03-01T00:00:00Z"
    return meta


@st.composite
def provider(draw: Draw, name: str) -> Document:
    models = draw(distinct(MODELS, least=1))
    return {
        "name": name,
        "type": draw(st.sampled_from(["OpenAI", "Anthropic"])),
        "baseURL": "https://provider.example/v1",
        "credentials": [
            {"secretRef": ref} for ref in draw(st.lists(secret_ref("credential"), max_size=1))
        ],
        "models": [{"name": model, "upstreamName": draw(some(MODELS))} for model in models],
        "tls": draw(some(st.fixed_dictionaries({"caSecretRef": secret_ref("credential", "no")}))),
    }


@st.composite
def pool_spec(draw: Draw) -> Document:
    sharing = [
        None,
        {"namespaces": "All"},
        {"namespaces": "Selector", "selector": {"matchLabels": {"team": draw(NAMES)}}},
    ]
    return {
        "sharing": draw(st.sampled_from(sharing)),
        "providers": [draw(provider(name)) for name in draw(distinct(NAMES, least=1))],
    }


KEY_SPEC = st.fixed_dictionaries(
    {
        "tenant": NAMES,
        "enabled": st.booleans(),
        "allowedModels": distinct(GLOBS),
        "routingPolicyRef": some(st.fixed_dictionaries({"name": NAMES})),
        "serviceAccounts": distinct(NAMES),
        "secretRef": some(secret_ref("key", "key", "credential", "no")),
    }
)


@st.composite
def policy_rule(draw: Draw, name: str, *, last: bool) -> Document:
    target = st.fixed_dictionaries(
        {
            "pool": POOL_REF,
            "provider": some(NAMES),
            "model": some(MODELS),
        }
    )
    fallback = st.fixed_dictionaries({"pool": POOL_REF, "model": some(MODELS)})
    match = st.fixed_dictionaries(
        {
            "tenants": distinct(NAMES, least=1),
            "apiKeys": some(distinct(NAMES, least=1)),
            "models": some(distinct(GLOBS, least=1)),
        }
    )
    weights = draw(st.sampled_from([[None] * 3, [90, 10, 0], [1, 0, 0]]))
    targets = draw(st.lists(target, min_size=1, max_size=3))
    pairs = zip(targets, weights, strict=False)
    return {
        "name": name,
        "match": draw(some(match) if last else match),
        "targets": [made | {"weight": weight} for made, weight in pairs],
        "fallbacks": draw(st.lists(fallback, max_size=1)),
    }


@st.composite
def policy_spec(draw: Draw) -> Document:
    names = draw(distinct(NAMES))
    return {
        "default": draw(st.booleans()),
        "policy": draw(st.sampled_from(["Default", "Cost"])),
        "rules": [draw(policy_rule(name, last=name == names[-1])) for name in names],
        "aliases": draw(
            st.dictionaries(st.sampled_from(["fast", "llama"]), st.sampled_from(["qwen", "gpt-4o"]))
        ),
    }


@st.composite
def documents(draw: Draw) -> list[Document]:
    """Resources, each kind and name once in a namespace; now and then one that is not valid."""
    pools = draw(st.lists(st.tuples(NAMESPACES, NAMES), max_size=6, unique=True))
    places = [("ProviderPool", *place, pool_spec()) for place in pools]
    places += [("ApiKey", "shop", name, KEY_SPEC) for name in draw(distinct(NAMES))]
    places += [("RoutingPolicy", "shop", name, policy_spec()) for name in draw(distinct(NAMES))]
    made: list[Document] = []
    for kind, namespace, name, spec in places:
        valid = draw(st.integers(0, 9)) < 9
        made.append(
            {
                "apiVersion": API_VERSION,
                "kind": kind,
                "metadata": draw(metadata(namespace, name)),
                "spec": draw(spec) if valid else INVALID[kind],
            }
        )
    return made


@st.composite
def secrets(draw: Draw) -> dict[tuple[str, str], dict[str, ValueFact]]:
    """Most of what is referred to is there, and most of that can be used."""
    parts = {"key": CLIENT_KEYS, "credential": CREDENTIALS | CLIENT_KEYS, "api-key": CLIENT_KEYS}
    made: dict[tuple[str, str], dict[str, ValueFact]] = {}
    for namespace in ("shop", "east", "west"):
        for name in ("a", "b", "c", "a-api-key", "b-api-key"):
            if draw(st.integers(0, 9)) < 8:
                made[namespace, name] = {
                    key: fact_of(draw(part if draw(st.integers(0, 9)) < 8 else USELESS))
                    for key, part in parts.items()
                }
    return made


@dataclasses.dataclass(frozen=True)
class World:
    documents: list[Document]
    secrets: dict[tuple[str, str], dict[str, ValueFact]]
    team: str

    def __repr__(self) -> str:  # what is in it is noted where a test fails
        return f"<{len(self.documents)} resources>"

    def inputs(self) -> Inputs:
        note(yaml.safe_dump_all(self.documents) + yaml.safe_dump({"secrets": repr(self.secrets)}))
        parsed = [parse(document) for document in self.documents]
        return Inputs(
            namespace="shop",
            namespace_labels={"team": self.team},
            pools=[item for item in parsed if isinstance(item, ProviderPool)],
            keys=[item for item in parsed if isinstance(item, ApiKey)],
            policies=[item for item in parsed if isinstance(item, RoutingPolicy)],
            secrets=self.secrets,
            unparsed=[item for item in parsed if isinstance(item, Rejected)],
        )


WORLDS = st.builds(World, documents(), secrets(), NAMES)


def lines_of(compiled: Compiled) -> dict[str, bytes]:
    assert compiled.bundle is not None
    return bundle.lines_by_identity(compiled.bundle.files())


def permuted(given_: Inputs, random: Any) -> Inputs:
    def shuffled(items: Any) -> Any:
        mixed = list(items.items() if isinstance(items, dict) else items)
        random.shuffle(mixed)
        return dict(mixed) if isinstance(items, dict) else mixed

    names = ("pools", "keys", "policies", "secrets", "unparsed", "previous")
    return dataclasses.replace(given_, **{name: shuffled(getattr(given_, name)) for name in names})


@settings(max_examples=100)
@given(WORLDS, WORLDS, st.randoms(use_true_random=False))
def test_compiles_anything_to_something_whole(before: World, after: World, random: Any) -> None:
    in_force = lines_of(compile_namespace(before.inputs()))
    now = dataclasses.replace(after.inputs(), previous=in_force)
    compiled = compile_namespace(now)

    assert compile_namespace(permuted(now, random)) == compiled, "order does not matter"
    again = dataclasses.replace(now, previous=lines_of(compiled))
    assert compile_namespace(again) == compiled, "a second pass changes nothing"
    check_bundle(compiled)
    check_references(compiled)
    check_rights(compiled.config)
    check_verdicts(now, compiled)
    assert CANARY not in repr(compiled).replace(f"sk-{CANARY}"[:10], "")
    assert CANARY.encode() not in b"".join(lines_of(compiled).values())


def check_bundle(compiled: Compiled) -> None:
    assert compiled.bundle is not None
    read = bundle.decode(compiled.bundle.files())
    assert {r.id: r for r in read.records()} == {r.id: r for r in compiled.config.records()}
    identities = Counter(map(bundle.identity_of, compiled.config.records()))
    assert set(identities.values()) <= {1}


def check_references(compiled: Compiled) -> None:
    config = compiled.config
    pools = {pool.id: pool for pool in config.pools}
    for policy in config.policies:
        for rule in policy.rules:
            check_rule(rule, pools)
    policies = {policy.id for policy in config.policies}
    lost = {
        verdict.resource.name
        for verdict in compiled.verdicts
        if verdict.type is ConditionType.RESOLVED_REFS and "RoutingPolicy" in verdict.message
    }
    for key in config.keys:
        assert key.policy in {None, *policies} or key.id.partition("/")[2] in lost
    kept = {
        f"shop/{verdict.resource.name}"
        for verdict in compiled.verdicts
        if verdict.reason is Reason.INVALID_SPEC
    }
    readable = {entry for pool in config.pools if pool.id not in kept for entry in entries(pool)}
    named = {entry for pool in config.pools for entry in entries(pool)}
    assert readable <= compiled.credentials.keys() <= named


def entries(pool: Pool) -> set[str]:
    return {
        entry
        for provider in pool.providers
        for entry in (*provider.credentials, provider.tls.ca)
        if entry is not None
    }


def check_rule(rule: Rule, pools: dict[str, Pool]) -> None:
    for target in (*rule.targets, *rule.fallbacks):
        candidates = [
            provider
            for provider in pools[target.pool].providers
            if target.provider in {None, provider.name}
        ]
        assert candidates
        served = {model.name for provider in candidates for model in provider.models}
        assert target.model in {None, *served}
    weights = [target.weight for target in rule.targets if target.weight is not None]
    assert not weights or any(weights)


def check_rights(config: Config) -> None:
    """Exactly one policy is the default; no key and no account speaks for two."""
    assert [policy.default for policy in config.policies].count(True) == 1
    hashes = [entry.sha256 for key in config.keys for entry in key.hashes]
    accounts = [account for key in config.keys for account in key.service_accounts]
    assert len(set(hashes)) == len(hashes)
    assert len(set(accounts)) == len(accounts)


def check_verdicts(now: Inputs, compiled: Compiled) -> None:
    said = Counter((verdict.resource, verdict.type) for verdict in compiled.verdicts)
    assert set(said.values()) <= {1}
    resources: list[Resource | Rejected] = [*now.pools, *now.keys, *now.policies, *now.unparsed]
    metas = [
        (item.kind, item.meta)
        for item in resources
        if item.meta and item.meta.namespace == "shop" and not item.meta.deletion_timestamp
    ]
    judged = {(resource.kind.value, resource.name) for resource, _ in said}
    assert judged == {(kind, meta.name) for kind, meta in metas}
    for resource in {resource for resource, _ in said}:
        assert (resource, ConditionType.ACCEPTED) in said
        assert (resource, ConditionType.RESOLVED_REFS) in said
    for verdict in compiled.verdicts:
        good = verdict.reason in {Reason.ACCEPTED, Reason.RESOLVED}
        assert verdict.status == (good or verdict.type is ConditionType.CONFLICTED)
