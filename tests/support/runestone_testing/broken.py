"""A cluster on which every condition that the operator sets is to be seen.

What one manifest can say is in tests/e2e/broken; here is what takes more: a CRD of an older
version, a quota, a configuration that is too large, a sidecar that does not answer.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from runestone_testing.node import PYTHON_IMAGE, ROOT, container, pod
from runestone_testing.reasons import Said
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.node import Node
    from runestone_testing.resources import Document

RESOURCES: Final = ROOT / "tests" / "e2e" / "broken" / "resources.yaml"
NAMESPACES: Final = (
    *("trouble", "trouble-b", "trouble-c"),
    *("trouble-full", "trouble-large", "trouble-silent"),
)
VALIDATION: Final = ("validatingwebhookconfiguration", "runestone-validation")
API_KEYS: Final = ("crd", "apikeys.runestone.dev")


@contextlib.contextmanager
def broken(node: Node) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in NAMESPACES:
            stack.enter_context(node.namespace(name))
        node.kubectl("apply", "--server-side", "-f", str(RESOURCES))
        _allow_no_config_map(node, "trouble-full")
        node.apply(pool("trouble-full"), large_pool("trouble-large"))
        node.apply(silent_sidecar("trouble-silent"))
        node.wait_ready("trouble-silent", "silent")
        node.apply(pool("trouble-silent"))
        _apply_what_an_older_crd_let_in(node, key("trouble", "invalid", requestsPerMinute=0))
        yield


def conditions(node: Node) -> set[Said]:
    listed = json.loads(node.kubectl("get", "pp,ak,rp", "--all-namespaces", "--output=json"))
    return {
        Said(*(said[field] for field in ("type", "status", "reason", "message")))
        for item in listed["items"]
        for said in item.get("status", {}).get("conditions", ())
    }


def pool(namespace: str, *models: str) -> Document:
    named = models or ("a-model",)
    provider = {
        "name": "own",
        "type": "OpenAI",
        "baseURL": "http://models.example.com/v1",
        "models": [{"name": model, "upstreamName": f"{model:x<128}"} for model in named],
    }
    return {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "ProviderPool",
        "metadata": {"namespace": namespace, "name": "models"},
        "spec": {"providers": [provider]},
    }


def large_pool(namespace: str) -> Document:
    """One resource is one record, and a record is in one ConfigMap."""
    made = pool(namespace, *(f"model-{number}" for number in range(256)))
    (provider,) = made["spec"]["providers"]
    made["spec"]["providers"] = [{**provider, "name": f"own-{number}"} for number in range(20)]
    return made


def key(namespace: str, name: str, **limits: int) -> Document:
    return {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": "ApiKey",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"tenant": "a", "limits": limits},
    }


def silent_sidecar(namespace: str) -> Document:
    """What is named so counts as one, whoever put it there."""
    sleeps = container("runestone", PYTHON_IMAGE, "sleep", "infinity")
    return pod(namespace, "silent", sleeps, labels={"runestone.dev/inject": "true"})


def _allow_no_config_map(node: Node, namespace: str) -> None:
    node.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"namespace": namespace, "name": "no-config-maps"},
            "spec": {"hard": {"count/configmaps": "0"}},
        }
    )
    wait_until(
        "the quota is in force",
        lambda: (
            node.get(namespace, "resourcequota", "no-config-maps").get("status", {}).get("hard")
        ),
    )


def _apply_what_an_older_crd_let_in(node: Node, document: Document) -> None:
    """Past the webhook too, as while no operator ran."""
    (crd, webhook) = (
        json.loads(node.kubectl("get", *what, "-ojson")) for what in (API_KEYS, VALIDATION)
    )
    loosened = json.loads(json.dumps(crd))
    schema = loosened["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    _put(node, API_KEYS, {"spec": {"versions": loosened["spec"]["versions"]}})
    _put(node, VALIDATION, {"webhooks": []})
    try:
        wait_until("it is let in", lambda: _is_let_in(node, document), every_s=0.2)
    finally:
        _put(node, API_KEYS, {"spec": {"versions": crd["spec"]["versions"]}})
        _put(node, VALIDATION, {"webhooks": webhook["webhooks"]})


def _put(node: Node, what: tuple[str, str], patch: dict[str, Any]) -> None:
    node.kubectl("patch", *what, "--type=merge", f"--patch={json.dumps(patch)}")


def _is_let_in(node: Node, document: Document) -> bool:
    text = json.dumps(document)
    return node.try_kubectl("apply", "--server-side", "-f", "-", text=text).returncode == 0
