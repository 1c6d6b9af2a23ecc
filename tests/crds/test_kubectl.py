"""What a person sees at the terminal: apply, get, explain, and the bounds at their largest."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runestone_testing.kube import ApiServer

pytestmark = pytest.mark.kube

ROOT = Path(__file__).parents[2]
NAMESPACE = "crd-kubectl"


@pytest.fixture(scope="module")
def server(crd_server: ApiServer) -> ApiServer:
    """With the examples in a namespace that no other test uses."""
    kubectl(crd_server, "create", "namespace", NAMESPACE)
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        text = path.read_text().replace("namespace: shop", f"namespace: {NAMESPACE}")
        kubectl(crd_server, "apply", "-f", "-", input=text)
    return crd_server


def kubectl(server: ApiServer, *args: str, input: str | None = None) -> str:
    done = server.kubectl(*args, input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_status(server: ApiServer, kind: str, name: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    options = ("--subresource=status", "--type=merge", "-p", patch)
    kubectl(server, "patch", kind, name, "-n", NAMESPACE, *options)


def condition(type_: str, status: str, message: str = "") -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": "Tested",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }


CONDITIONS = [
    condition("Accepted", "True"),
    condition("ResolvedRefs", "False"),
    condition("Programmed", "Unknown", "3/3 sidecars"),
]


def row(server: ApiServer, kind: str, name: str, *options: str) -> dict[str, str]:
    table = kubectl(server, "get", kind, name, "-n", NAMESPACE, *options)
    header, line = table.splitlines()
    starts = [header.index(word) for word in header.split()] + [None]
    cells = [line[start:end].strip() for start, end in zip(starts, starts[1:], strict=False)]
    return dict(zip(header.split(), cells, strict=True))


def test_examples_apply_as_they_are(server: ApiServer) -> None:
    shop = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    kubectl(server, "apply", "-f", "-", input=shop)
    kubectl(server, "apply", "--dry-run=server", "-f", str(ROOT / "examples"))


def test_pools_show_what_is_wrong_with_them(server: ApiServer) -> None:
    counts = {"providers": 2, "readyProviders": 1, "models": 4, "sidecars": "3/3"}
    set_status(server, "pp", "frontier", {**counts, "conditions": CONDITIONS})
    seen = row(server, "pp", "frontier", "-o", "wide")
    assert seen.pop("AGE")
    assert seen == {
        "NAME": "frontier",
        "STRATEGY": "Priority",
        "PROVIDERS": "2",
        "READY": "1",
        "MODELS": "4",
        "ACCEPTED": "True",
        "RESOLVED": "False",
        "PROGRAMMED": "Unknown",
        "SIDECARS": "3/3",
        "SHARING": "Same",
        "REASON": "Tested",
        "MESSAGE": "3/3 sidecars",
    }


def test_keys_show_whose_they_are_and_not_what_they_are(server: ApiServer) -> None:
    status = {"keyPrefix": "sk-rs-ab12", "secretName": "checkout-api-key", "sidecars": "1/3"}
    set_status(server, "ak", "checkout", {**status, "conditions": CONDITIONS})
    seen = row(server, "ak", "checkout")
    assert seen.pop("AGE")
    assert seen == {
        "NAME": "checkout",
        "TENANT": "checkout",
        "PREFIX": "sk-rs-ab12",
        "POLICY": "default",
        "ENABLED": "true",
        "ACCEPTED": "True",
        "RESOLVED": "False",
        "PROGRAMMED": "Unknown",
        "SIDECARS": "1/3",
    }


def test_policies_show_which_is_the_default(server: ApiServer) -> None:
    set_status(server, "rp", "default", {"rules": 4, "sidecars": "3/3", "conditions": CONDITIONS})
    seen = row(server, "rp", "default")
    assert seen.pop("AGE")
    assert seen == {
        "NAME": "default",
        "DEFAULT": "true",
        "POLICY": "Default",
        "RULES": "4",
        "ACCEPTED": "True",
        "RESOLVED": "False",
        "PROGRAMMED": "Unknown",
        "SIDECARS": "3/3",
    }


def test_all_kinds_are_listed_by_category(server: ApiServer) -> None:
    names = kubectl(server, "get", "runestone", "-n", NAMESPACE, "-o", "name").split()
    assert {name.partition(".")[0] for name in names} == {"providerpool", "apikey", "routingpolicy"}


def test_waiting_for_a_condition_works(server: ApiServer) -> None:
    set_status(server, "ak", "reports", {"conditions": [condition("Programmed", "True")]})
    kubectl(server, "wait", "--for=condition=Programmed", "ak/reports", "-n", NAMESPACE)


def test_status_is_apart_from_the_spec(server: ApiServer) -> None:
    patch = '{"status": {"keyPrefix": "sk-forged"}}'
    options = ("-n", NAMESPACE, "--type=merge", "-p", patch)
    kubectl(server, "patch", "ak", "checkout-fixed", *options)
    path = "jsonpath={.status.keyPrefix}"
    assert kubectl(server, "get", "ak", "checkout-fixed", "-n", NAMESPACE, "-o", path) == ""


def test_explain_tells_what_a_field_is_for(server: ApiServer) -> None:
    text = kubectl(server, "explain", "providerpool.spec.providers.timeouts.firstByte")
    assert "From the request sent to the first byte of the answer" in " ".join(text.split())


def test_a_document_with_several_mistakes_is_told_all_of_them(server: ApiServer) -> None:
    document = {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "ApiKey",
        "metadata": {"name": "wrong", "namespace": NAMESPACE},
        "spec": {"tenant": "-", "allowedModels": ["a b"], "rotation": {"interval": "a day"}},
    }
    refused = server.kubectl("apply", "-f", "-", input=json.dumps(document))
    assert refused.returncode != 0
    assert refused.stderr.count("spec.") == 3
    # The comparison of interval and overlap keeps silent about what has no value to compare.
    assert "type conversion error" not in refused.stderr


def test_the_largest_pool_is_accepted(server: ApiServer) -> None:
    """Its CEL rules stay within the API server's budget at run time, not by estimate alone."""
    models = [
        {
            "name": f"model-{number}",
            "contextWindow": 128000,
            "maxOutputTokens": 128000,
            "cost": {"inputPerMillion": "1.25", "cachedInputPerMillion": "1.25"},
        }
        for number in range(100)
    ]
    providers = [
        {
            "name": f"provider-{number}",
            "type": "OpenAI",
            "baseURL": f"https://host-{number}.example/v1",
            "credentials": [{"secretRef": {"name": f"s-{n}", "key": "k"}} for n in range(8)],
            "headers": {f"x-header-{n}": "value" for n in range(16)},
            "models": models,
            "timeouts": {"connect": "5s", "firstByte": "60s", "idle": "60s", "total": "600s"},
        }
        for number in range(64)
    ]
    document = {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "ProviderPool",
        "metadata": {"name": "largest", "namespace": NAMESPACE},
        "spec": {"strategy": "Weighted", "providers": providers},
    }
    text = yaml.safe_dump(document)
    kubectl(server, "create", "--dry-run=server", "-f", "-", input=text)


def test_the_largest_policy_is_accepted(server: ApiServer) -> None:
    rules = [
        {
            "name": f"rule-{number}",
            "match": {"models": [f"model-{n}-*" for n in range(32)], "headers": {"x-a": "b"}},
            "targets": [
                {"pool": f"platform/pool-{n}", "provider": "p", "model": "model", "weight": 1}
                for n in range(16)
            ],
            "fallbacks": [{"pool": f"platform/pool-{n}"} for n in range(8)],
            "stickyBy": "User",
        }
        for number in range(128)
    ]
    document = {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "RoutingPolicy",
        "metadata": {"name": "largest", "namespace": NAMESPACE},
        "spec": {"rules": rules, "aliases": {f"alias-{n}": f"model-{n}" for n in range(256)}},
    }
    kubectl(server, "create", "--dry-run=server", "-f", "-", input=json.dumps(document))
