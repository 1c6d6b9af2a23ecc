"""What a platform team has before it reads a word: a cluster with volumes, a provider, a shell."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runestone_testing.node import ROOT
from runestone_testing.pages import Reader
from runestone_testing.shop_node import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.node import Node

PROVIDERS: Final = "vendors"
PROVIDER_KEY: Final = "sk-e2e-docs-0000000000000000000000"


@contextlib.contextmanager
def volume(node: Node, name: str) -> Iterator[None]:
    """For the first claim that asks for no class, as a cluster's default class would give."""
    volumes = Path(os.environ["KUBECONFIG"]).parent / "volumes"
    volumes.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"{name}-", dir=volumes)  # goes with the cluster
    node.kubectl("wait", "--for=delete", f"pv/{name}", "--timeout=110s")
    on_node = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    node.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": folder},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}
                },
            },
        }
    )
    try:
        yield
    finally:
        node.kubectl("delete", "pv", name, "--wait=false")


@contextlib.contextmanager
def providers(node: Node) -> Iterator[str]:
    """The URL of OpenAI's API."""
    node.kubectl("apply", "-f", str(FILES / "standin.yaml"))
    try:
        node.kubectl("-n", PROVIDERS, "rollout", "status", "deployment/standin", "--timeout=110s")
        yield f"http://standin.{PROVIDERS}.svc.cluster.local/v1"
    finally:
        node.kubectl("delete", "namespace", PROVIDERS, "--timeout=60s")


def reader(folder: Path, base_url: str) -> Reader:
    """In a folder that has the chart where a checkout has it."""
    (folder / "charts").symlink_to(ROOT / "charts")
    (folder / "crds").symlink_to(ROOT / "crds")
    return Reader(
        folder, os.environ | {"OPENAI_API_KEY": PROVIDER_KEY, "OPENAI_BASE_URL": base_url}
    )
