"""P16: what a namespace asks for of another one it gets by a grant alone, and without one it cannot
even tell whether it is there.

Each cell is a field that refers to something, a thing in another namespace that it could mean, and
a grant. The whole outcome, conditions included, is compared with that of a world in which the thing
does not exist. Everything goes by the operator's own way from objects to the compiler's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.bundle import lines_by_identity
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.inputs import collect_inputs
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.verdicts import ConditionType
from runestone_testing.bodies import namespace, view
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from collections.abc import Callable

Document = dict[str, Any]

OWNER, ASKER = "bank", "shop"
TREASURE = "sk-treasure-0123456789abcdefghijkl"
LABELS = {"team": "research"}


def selector(**labels: str) -> Document:
    return {"namespaces": "Selector", "selector": {"matchLabels": labels}}


GRANTS: dict[str, Document | None] = {
    "nothing said": None,
    "Same": {"namespaces": "Same"},
    "of another label": selector(team="other"),
    "of a label that is not there": selector(room="1"),
    "All": {"namespaces": "All"},
    "of its label": selector(**LABELS),
}
GRANTED = {"All", "of its label"}
NO_GRANT = [name for name in GRANTS if name not in GRANTED]


def foreign_pool(grant: str) -> Document:
    sharing = GRANTS[grant]
    spec: Document = {} if sharing is None else {"sharing": sharing}
    return pool(OWNER, "vault", secret="treasure", **spec)


def referring_pool(**provider: Any) -> Document:
    document = pool(ASKER, "own", secret="own")
    document["spec"]["providers"][0] |= provider
    return document


def rule(**fields: Any) -> Document:
    rules = [{"name": "first", "targets": [{"pool": "own"}]} | fields]
    return policy(ASKER, rules=rules)


@dataclass(frozen=True)
class Reference:
    """A field of the asking namespace, and what it could mean in the other one."""

    asks: Document
    thing: Callable[[str], Document]  # by the grant
    by_grant: bool = False  # whether any grant opens it


def hidden_secret(grant: str) -> Document:
    return secret(OWNER, "treasure", api_key=TREASURE)


def ref(name: str = "treasure") -> Document:
    return {"name": name, "key": "api-key"}


HOOK = {"allowedURLs": ["https://a.example/*"], "secretRef": ref()}
REFERENCES = {
    "ProviderPool credentials": Reference(
        referring_pool(credentials=[{"secretRef": ref()}]), hidden_secret
    ),
    "ProviderPool second credential": Reference(
        referring_pool(credentials=[{"secretRef": ref("own")}, {"secretRef": ref()}]),
        hidden_secret,
    ),
    "ProviderPool tls": Reference(referring_pool(tls={"caSecretRef": ref()}), hidden_secret),
    "ApiKey secretRef": Reference(key(ASKER, secretRef=ref()), hidden_secret),
    "ApiKey webhooks": Reference(key(ASKER, overflow={"webhooks": HOOK}), hidden_secret),
    "ApiKey signing": Reference(
        key(ASKER, signing={"required": True, "secretRef": ref()}), hidden_secret
    ),
    "ApiKey generated": Reference(
        key(ASKER, "vault"), lambda _: secret(OWNER, "vault-api-key", api_key=TREASURE)
    ),
    "ApiKey routingPolicyRef": Reference(
        key(ASKER, routingPolicyRef={"name": "vault"}),
        lambda _: policy(OWNER, "vault", to="vault"),
    ),
    "RoutingPolicy apiKeys": Reference(
        rule(match={"apiKeys": ["vault"]}), lambda _: key(OWNER, "vault")
    ),
    "RoutingPolicy target": Reference(
        rule(targets=[{"pool": f"{OWNER}/vault"}]), foreign_pool, by_grant=True
    ),
    "RoutingPolicy target by name": Reference(
        rule(targets=[{"pool": "vault"}]), foreign_pool, by_grant=True
    ),
    "RoutingPolicy target and provider": Reference(
        rule(targets=[{"pool": f"{OWNER}/vault", "provider": "main"}]), foreign_pool, by_grant=True
    ),
    "RoutingPolicy fallback": Reference(
        rule(fallbacks=[{"pool": f"{OWNER}/vault"}]), foreign_pool, by_grant=True
    ),
}
CELLS = [(name, grant) for name in REFERENCES for grant in GRANTS]
OPEN = [(name, grant) for name, grant in CELLS if REFERENCES[name].by_grant and grant in GRANTED]
CLOSED = [cell for cell in CELLS if cell not in OPEN]


def world(*documents: Document, labels: Document | None = None) -> Cache:
    cache = Cache()
    own = [namespace(ASKER, **(LABELS if labels is None else labels)), secret(ASKER, "own")]
    if not any(each["metadata"]["name"] == "own" for each in documents):
        own.append(pool(ASKER, "own", secret="own"))
    for document in (*own, namespace(OWNER, **LABELS), *documents):
        cache.put(view(document))
    return cache


def outcome(cache: Cache) -> Compiled:
    return compile_namespace(collect_inputs(cache, ASKER, {}, now_s=0))


def share_another(cache: Cache, grant: str) -> None:
    """A pool of that grant beside the thing: it is no key to anything but itself."""
    sharing = GRANTS[grant]
    if sharing is not None:
        cache.put(view(pool(OWNER, "other", secret="till", sharing=sharing)))
        cache.put(view(secret(OWNER, "till")))


def said(compiled: Compiled) -> str:
    return " ".join(verdict.message for verdict in compiled.verdicts)


def test_the_matrix_is_whole() -> None:
    assert len(CELLS) >= 48
    assert len(OPEN) + len(CLOSED) == len(CELLS)


@pytest.mark.parametrize(("name", "grant"), CLOSED)
def test_what_is_not_granted_is_as_if_it_were_not_there(name: str, grant: str) -> None:
    reference = REFERENCES[name]
    there, missing = world(reference.asks), world(reference.asks)
    if not reference.by_grant:
        share_another(there, grant)
        share_another(missing, grant)
    there.put(view(reference.thing(grant), version=2))

    compiled = outcome(there)

    assert compiled == outcome(missing)
    own = {source.namespace for source in compiled.credentials.values()}
    assert own <= ({ASKER, OWNER} if grant in GRANTED else {ASKER})
    assert "vault" not in {record.id.rpartition("/")[2] for record in compiled.config.pools}
    if name != "ApiKey generated":  # which the operator would make
        unresolved = [
            verdict
            for verdict in compiled.verdicts
            if verdict.type is ConditionType.RESOLVED_REFS and not verdict.status
        ]
        assert len(unresolved) == 1


@pytest.mark.parametrize(("name", "grant"), OPEN)
def test_what_is_granted_comes_alone(name: str, grant: str) -> None:
    reference = REFERENCES[name]
    beside = [pool(OWNER, "other"), key(OWNER, "other"), policy(OWNER, "other", to="other")]
    cache = world(reference.asks, reference.thing(grant), *beside, hidden_secret(grant))

    compiled = outcome(cache)

    assert f"{OWNER}/vault" in {record.id for record in compiled.config.pools}
    assert {record.id.partition("/")[0] for record in compiled.config.records()} == {ASKER, OWNER}
    foreign = [
        record.id for record in compiled.config.records() if record.id.startswith(f"{OWNER}/")
    ]
    assert foreign == [f"{OWNER}/vault"]
    sources = {source for source in compiled.credentials.values() if source.namespace == OWNER}
    assert [(source.name, source.key) for source in sources] == [("treasure", "api-key")]
    assert {verdict.resource.namespace for verdict in compiled.verdicts} == {ASKER}
    assert "treasure" not in said(compiled)


@pytest.mark.parametrize("name", [name for name in REFERENCES if REFERENCES[name].by_grant])
@pytest.mark.parametrize("grant", NO_GRANT)
def test_what_is_withdrawn_is_gone_at_once(name: str, grant: str) -> None:
    """Not even the last good version is kept of it."""
    reference = REFERENCES[name]
    granted = outcome(world(reference.asks, foreign_pool("All"), hidden_secret("All")))
    assert granted.bundle is not None
    previous = lines_by_identity(granted.bundle.files())
    cache = world(reference.asks, foreign_pool(grant), hidden_secret(grant))
    compiled = compile_namespace(collect_inputs(cache, ASKER, previous, now_s=0))

    assert f"{OWNER}/vault" not in {record.id for record in compiled.config.pools}
    assert {source.namespace for source in compiled.credentials.values()} == {ASKER}


def test_a_label_taken_away_withdraws_it() -> None:
    reference = REFERENCES["RoutingPolicy target"]
    documents = (reference.asks, foreign_pool("of its label"), hidden_secret(""))
    assert (
        outcome(world(*documents)).credentials != outcome(world(*documents, labels={})).credentials
    )
    assert outcome(world(*documents, labels={})) == outcome(world(reference.asks, labels={}))


@pytest.mark.parametrize("form", [f"{OWNER}/treasure", "../bank/treasure", "bank%2Ftreasure", ""])
@pytest.mark.parametrize("name", ["ProviderPool credentials", "ApiKey secretRef"])
def test_no_form_of_a_name_leads_out_of_the_namespace(name: str, form: str) -> None:
    """Refused by the API server too: the models are the same."""
    asks = (
        referring_pool(credentials=[{"secretRef": ref(form)}])
        if name.startswith("ProviderPool")
        else key(ASKER, secretRef=ref(form))
    )
    compiled = outcome(world(asks, hidden_secret("")))
    accepted = [
        verdict.status
        for verdict in compiled.verdicts
        if verdict.type is ConditionType.ACCEPTED
        and verdict.resource.name == asks["metadata"]["name"]
    ]
    assert accepted == [False]
    assert OWNER not in {source.namespace for source in compiled.credentials.values()}
