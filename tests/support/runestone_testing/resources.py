"""Small valid documents of the three kinds, for tests that care about one thing of them."""

from __future__ import annotations

import base64
from typing import Any

Document = dict[str, Any]


def pool(
    namespace: str,
    name: str = "pool",
    *,
    model: str = "gpt-4o",
    secret: str = "openai",
    **spec: Any,
) -> Document:
    provider = {
        "name": "main",
        "type": "OpenAI",
        "baseURL": "http://127.0.0.1:9101/v1",
        "credentials": [{"secretRef": {"name": secret, "key": "api-key"}}],
        "models": [{"name": model}],
    }
    return {
        "kind": "ProviderPool",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"providers": [provider]} | spec,
    }


def key(namespace: str, name: str = "client", **spec: Any) -> Document:
    return {
        "kind": "ApiKey",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"tenant": "team"} | spec,
    }


def policy(namespace: str, name: str = "policy", *, to: str = "pool", **spec: Any) -> Document:
    return {
        "kind": "RoutingPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"default": True, "rules": [{"name": "all", "targets": [{"pool": to}]}]} | spec,
    }


def secret(namespace: str, name: str = "openai", **values: str) -> Document:
    values = values or {"api-key": f"sk-provider-{namespace}-{name}-0123456789"}
    return {
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "data": {
            entry.replace("_", "-"): base64.b64encode(value.encode()).decode()
            for entry, value in values.items()
        },
    }


def pod(namespace: str, name: str, *, inject: str = "true") -> Document:
    """One that has its sidecar already."""
    return {
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"runestone.dev/inject": inject},
        },
        "spec": {
            "initContainers": [
                {"name": "runestone", "image": "sidecar", "restartPolicy": "Always"}
            ],
            "containers": [{"name": "app", "image": "app"}],
        },
    }
