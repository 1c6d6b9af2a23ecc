"""The operator's webhooks on an API server that reaches them at a port of this machine, and the
pods that it makes of pods."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from runestone_testing.operators import ROOT, Cluster, eventually

if TYPE_CHECKING:
    import httpx

CONFIGURATIONS: Final = ROOT / "hack" / "webhook" / "operator.yaml"
INJECTOR: Final = ("MutatingWebhookConfiguration", None, "runestone-injector")
VALIDATION: Final = ("ValidatingWebhookConfiguration", None, "runestone-validation")
CERT_SECRET: Final = "runestone-webhook-cert"
IMAGE: Final = "registry.example/runestone-sidecar:1"

Document = dict[str, Any]


def webhook_env(port: int, **env: str) -> dict[str, str]:
    """Of an operator; it looks at its certificate often."""
    return {
        "WEBHOOK_PORT": str(port),
        "WEBHOOK_HOSTS": "127.0.0.1",
        "WEBHOOK_CHECK_SECONDS": "0.2",
        "WEBHOOK_LINGER_SECONDS": "0",
        "RUNESTONE_SIDECAR_IMAGE": IMAGE,
        "RUNESTONE_WATCHDOG_SECONDS": "0.2",
    } | env


def configurations(port: int) -> list[Document]:
    """As they are installed, but for the address."""
    documents: list[Document] = list(yaml.safe_load_all(CONFIGURATIONS.read_text()))
    for document in documents:
        for hook in document["webhooks"]:
            path = hook["clientConfig"].pop("service")["path"]
            hook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
    return documents


def install(cluster: Cluster, port: int) -> None:
    for document in configurations(port):
        cluster.apply(document)


def bundles(cluster: Cluster) -> set[str]:
    """What the webhooks are told to trust."""
    hooks = [hook for place in (INJECTOR, VALIDATION) for hook in webhooks(cluster, place)]
    return {hook["clientConfig"].get("caBundle", "") for hook in hooks}


def trusted(cluster: Cluster) -> bytes:
    """The authorities that all webhooks are told to trust; none while they differ."""
    found = bundles(cluster)
    return base64.b64decode(found.pop()) if len(found) == 1 else b""


def webhooks(cluster: Cluster, place: tuple[str, None, str]) -> list[Document]:
    found: list[Document] = (cluster.get(*place) or {}).get("webhooks", [])
    return found


def until_called(cluster: Cluster, namespace: str) -> None:
    """Until the API server trusts and reaches the webhook."""

    def is_injected() -> bool:
        made = create(cluster, labelled(namespace, "probe", key="probe"), dry_run=True)
        return has_sidecar(made.json())

    eventually("a pod is injected", is_injected)


def labelled(namespace: str, name: str, *, key: str | None = None, **spec: Any) -> Document:
    annotations = {} if key is None else {"runestone.dev/api-key": key}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"runestone.dev/inject": "true"},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "app", "image": "app"}]} | spec,
    }


def create(cluster: Cluster, pod: Document, *, dry_run: bool = False) -> httpx.Response:
    """As a controller does: the answer is the pod, or a refusal."""
    return cluster.client.post(
        cluster.path("Pod", pod["metadata"]["namespace"]),
        params={"dryRun": "All"} if dry_run else {},
        content=json.dumps(pod),
        headers={"Content-Type": "application/json"},
    )


def has_sidecar(pod: Document) -> bool:
    first = pod.get("spec", {}).get("initContainers") or []
    return any(container["name"] == "runestone" for container in first)
