"""The images of this checkout run on a real node."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.bundle import encode
from runestone_contract.names import API_PORT, CONFIG_MAP, CREDENTIALS_SECRET, HEALTH_PORT
from runestone_testing.bundles import CLIENT_KEY, PROVIDER_KEY, config, provider
from runestone_testing.node import (
    OPERATOR_IMAGE,
    PYTHON_IMAGE,
    SIDECAR_IMAGE,
    VERSION,
    Node,
    container,
    pod,
    python,
)

if TYPE_CHECKING:
    from runestone_testing.resources import Document

pytestmark = pytest.mark.e2e

PRINT_VERSION = "from importlib.metadata import version; print(version('runestone'))"
LIST_MODELS = f"""
import urllib.request
request = urllib.request.Request(
    "http://127.0.0.1:{API_PORT}/v1/models", headers={{"Authorization": "Bearer {CLIENT_KEY}"}}
)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


def test_operator_image_is_of_this_version(node: Node, namespace: str) -> None:
    prints = container("operator", OPERATOR_IMAGE, "python", "-c", PRINT_VERSION)
    node.apply(pod(namespace, "version", prints, restartPolicy="Never"))

    assert node.wait_done(namespace, "version").strip() == VERSION


def published(namespace: str) -> list[Document]:
    """What the operator would publish."""
    bundle = encode(config(provider("http://127.0.0.1:9")))
    files = {name: content.decode() for name, content in bundle.files().items()}
    credential = base64.b64encode(PROVIDER_KEY.encode()).decode()
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": CONFIG_MAP},
            "data": files,
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": namespace, "name": CREDENTIALS_SECRET},
            "data": {"cred-a": credential},
        },
    ]


def sidecar() -> dict[str, Any]:
    """A native sidecar: the application starts when it is ready."""
    mounts = [("config", "/etc/runestone/config"), ("credentials", "/etc/runestone/credentials")]
    return container(
        "runestone",
        SIDECAR_IMAGE,
        restartPolicy="Always",
        startupProbe={
            "httpGet": {"path": "/health/ready", "port": HEALTH_PORT},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        volumeMounts=[{"name": name, "mountPath": path} for name, path in mounts],
        securityContext={"readOnlyRootFilesystem": True, "runAsNonRoot": True},
    )


def test_sidecar_serves_the_bundle_that_kubelet_mounted(node: Node, namespace: str) -> None:
    application = container("app", PYTHON_IMAGE, *python(LIST_MODELS))
    volumes = [
        {"name": "config", "configMap": {"name": CONFIG_MAP}},
        {"name": "credentials", "secret": {"secretName": CREDENTIALS_SECRET}},
    ]
    started = pod(
        namespace,
        "gateway",
        application,
        initContainers=[sidecar()],
        volumes=volumes,
        restartPolicy="Never",
    )
    node.apply(*published(namespace), started)

    answer = json.loads(node.wait_done(namespace, "gateway"))

    assert [model["id"] for model in answer["data"]] == ["gpt-4o-mini"]
