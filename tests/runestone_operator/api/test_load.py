"""From a document to a resource, or to words about what is wrong with it."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.problems import FieldError
from runestone_operator.api.resource import ApiKey, ProviderPool, RoutingPolicy

API_VERSION = "runestone.dev/v1alpha1"


def key(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "checkout", "namespace": "shop"}
    spec = {"tenant": "checkout"} | spec
    return {"apiVersion": API_VERSION, "kind": "ApiKey", "metadata": metadata, "spec": spec}


def pool(**provider: Any) -> dict[str, Any]:
    basics = {"name": "a", "type": "OpenAI", "baseURL": "http://a/v1", "models": [{"name": "m"}]}
    return {
        "apiVersion": API_VERSION,
        "kind": "ProviderPool",
        "metadata": {"name": "house"},
        "spec": {"providers": [basics | provider]},
    }


def parsed_key(document: dict[str, Any]) -> ApiKey:
    resource = parse(document)
    assert isinstance(resource, ApiKey), resource
    return resource


def errors(document: dict[str, Any]) -> list[str]:
    refused = parse(document)
    assert isinstance(refused, Rejected), refused
    return [str(error) for error in refused.errors]


@pytest.mark.parametrize(
    ("kind", "spec", "type_"),
    [
        ("ProviderPool", pool()["spec"], ProviderPool),
        ("ApiKey", {"tenant": "t"}, ApiKey),
        ("RoutingPolicy", {}, RoutingPolicy),
    ],
    ids=["pool", "key", "policy with an empty spec"],
)
def test_each_kind(kind: str, spec: dict[str, Any], type_: type) -> None:
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "n"}, "spec": spec}
    assert isinstance(parse(document), type_)


def test_metadata_as_the_api_server_gives_it() -> None:
    document = key()
    document["metadata"] |= {
        "uid": "5f2c",
        "generation": 7,
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "deletionTimestamp": "2026-01-03T00:00:00Z",
        "labels": {"team": "a"},
        "annotations": {"runestone.dev/rotate": "1"},
        "resourceVersion": "12",
        "managedFields": [{"manager": "kubectl"}],
    }
    meta = parsed_key(document | {"status": {"anything": "goes"}}).meta
    assert (meta.name, meta.namespace, meta.uid, meta.generation) == ("checkout", "shop", "5f2c", 7)
    assert meta.creation_timestamp is not None
    assert meta.creation_timestamp.when == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert meta.deletion_timestamp is not None
    assert meta.labels == {"team": "a"}
    assert meta.annotations == {"runestone.dev/rotate": "1"}


def test_a_document_without_a_namespace_is_in_the_callers() -> None:
    resource = parse(pool(), namespace="shop")
    assert isinstance(resource, ProviderPool)
    assert resource.meta.namespace == "shop"


def test_what_was_read_of_a_refused_document_is_kept() -> None:
    refused = parse(key(enabled="maybe"))
    assert isinstance(refused, Rejected)
    assert refused.kind == "ApiKey"
    assert refused.meta is not None
    assert (refused.meta.namespace, refused.meta.name) == ("shop", "checkout")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"apiVersion": "v1"}, ["apiVersion: must be runestone.dev/v1alpha1"]),
        ({"kind": "Pool"}, ["kind: must be one of ProviderPool, ApiKey, RoutingPolicy"]),
        ({"metadata": None}, ["metadata: is required"]),
        ({"metadata": {}}, ["metadata.name: is required"]),
        ({"metadata": []}, ["metadata: must be a map of fields"]),
        (
            {"metadata": {"name": "A b"}},
            ["metadata.name: must be a Kubernetes object name (a DNS subdomain)"],
        ),
        (
            {"metadata": {"name": "a", "annotations": {"x": True}}},
            ["metadata.annotations.x: must be a string (a number or a yes/no needs quotes)"],
        ),
        ({"spec": None}, ["spec: is required"]),
        ({"spec": "x"}, ["spec: must be a map of fields"]),
        ({"specs": {}}, ["specs: unknown field"]),
    ],
    ids=lambda value: None if isinstance(value, list) else "-".join(value),
)
def test_what_surrounds_the_spec(change: dict[str, Any], expected: list[str]) -> None:
    assert errors(key() | change) == expected


def test_an_error_knows_its_place() -> None:
    refused = parse(pool(headers={"x-team": "a\nb"}))
    assert isinstance(refused, Rejected)
    (error,) = refused.errors
    assert error.location == ("spec", "providers", 0, "headers", "x-team")
    assert error.path == "spec.providers[0].headers[x-team]"


def test_broken_rules_are_all_told_each_at_its_field() -> None:
    document = pool(timeouts={"connect": "9s", "idle": "9s", "total": "8s"}, tls={})
    assert errors(document) == [
        "spec.providers[0].tls: tls has no effect on an http:// baseURL",
        "spec.providers[0].timeouts.connect: "
        "connect must not be longer than total (600s unless set)",
        "spec.providers[0].timeouts.idle: idle must not be longer than total (600s unless set)",
    ]


def test_a_duplicate_is_told_where_it_comes_again() -> None:
    models = [{"name": "a"}, {"name": "b"}, {"name": "a"}]
    assert errors(pool(models=models)) == [
        'spec.providers[0].models[2]: duplicate value "a"',
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (pool(baseUrl="x"), "spec.providers[0].baseUrl: unknown field (did you mean baseURL?)"),
        (pool(base_url="x"), "spec.providers[0].base_url: unknown field (did you mean baseURL?)"),
        (pool(zzz="x"), "spec.providers[0].zzz: unknown field"),
        (
            key(limits={"requestPerMinute": 1}),
            "spec.limits.requestPerMinute: unknown field (did you mean requestsPerMinute?)",
        ),
        (
            pool(models=[{"name": "m", "cost": {"inputPerMillion": "1", "outputPerMilion": "1"}}]),
            "spec.providers[0].models[0].cost.outputPerMilion: unknown field"
            " (did you mean outputPerMillion?)",
        ),
    ],
    ids=["case", "underscore", "no idea", "in an optional field", "deep"],
)
def test_a_typo_is_named(document: dict[str, Any], expected: str) -> None:
    assert errors(document) == [expected]


def test_values_are_never_repeated() -> None:
    secret = "sk-live-0123456789abcdefghijklmnop"
    places: list[dict[str, Any]] = [
        pool(type=secret),
        pool(baseURL=f"https://{secret}@a/v1"),
        pool(headers={"authorization": f"Bearer {secret}"}),
        pool(headers={"x-key": f"{secret}\n"}),
        pool(apiKey=secret),
        pool(weight=secret),
        pool(credentials=[{"secretRef": secret}]),
        pool(credentials=[{"secretRef": {"name": f"{secret}/", "key": "k"}}]),
        pool(models=[{"name": f"{secret} "}]),
        key(secretRef=secret),
        key(enabled=secret),
        key(roles=[secret]),
        key(expiresAt=secret),
        key(limits={"budget": {"usd": secret, "period": secret}}),
    ]
    for document in places:
        assert secret not in " ".join(errors(document))


def test_numbers_and_booleans_are_not_guessed() -> None:
    document = pool(weight="100", priority=True, models=[{"name": 4, "contextWindow": 1.5}])
    assert sorted(errors(document)) == [
        "spec.providers[0].models[0].contextWindow: must be a whole number, without quotes",
        "spec.providers[0].models[0].name: must be a string (a number or a yes/no needs quotes)",
        "spec.providers[0].priority: must be a whole number, without quotes",
        "spec.providers[0].weight: must be a whole number, without quotes",
    ]


def test_a_time_without_quotes_is_a_time() -> None:
    document = key(**yaml.safe_load("expiresAt: 2027-01-31T00:00:00Z"))
    stamp = parsed_key(document).spec.expires_at
    assert stamp is not None
    assert stamp.when == datetime(2027, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["expiresAt: 2027-01-31T00:00:00", "expiresAt: 2027-01-31"], ids=["no offset", "a date"]
)
def test_half_a_time_is_none(text: str) -> None:
    assert len(errors(key(**yaml.safe_load(text)))) == 1


@pytest.mark.parametrize(
    "text",
    ["tenant: !!binary aGk=", "tenant: .nan", "tenant: &a [*a]", "tenant: !!set {a}"],
    ids=["bytes", "not a number", "a list that holds itself", "a set"],
)
def test_what_json_cannot_say_is_refused(text: str) -> None:
    assert errors(key(**yaml.safe_load(text))) == [
        "spec: holds something that JSON has no form for"
    ]


def test_any_depth_is_refused_in_words() -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    assert errors(key(tenant=deep)) == ["spec: holds something that JSON has no form for"]


FIELD_NAMES = st.sampled_from(
    ["name", "providers", "models", "spec", "rules", "targets", "match", "headers", "timeouts"]
    + ["tenant", "limits", "aliases", "sharing", "selector", "matchLabels", "credentials", "x"]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD_NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(["ProviderPool", "ApiKey", "RoutingPolicy"]),
    metadata=JSON_VALUES,
    spec=st.dictionaries(FIELD_NAMES, JSON_VALUES, max_size=5),
)
def test_nothing_makes_it_raise(kind: str, metadata: Any, spec: Any) -> None:
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    result = parse(document)
    if isinstance(result, Rejected):
        assert result.errors
        assert all(isinstance(error, FieldError) and error.message for error in result.errors)
