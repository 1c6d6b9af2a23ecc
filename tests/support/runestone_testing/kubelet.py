"""Stands in for the kubelets of a cluster: mounts what a pod mounts, and refreshes it when the pod
has changed, as kubelet does.

Without a change of the pod it refreshes nothing: who relies on kubelet's own round waits for ever.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx

from runestone_contract.names import CREDENTIALS_SECRET
from runestone_testing.bundles import swap
from runestone_testing.resources import pod
from runestone_testing.sidecar import Sidecar, running_sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.operators import Cluster


Content = tuple[dict[str, bytes], dict[str, bytes]]  # of the configuration, of the credentials


@dataclass
class RunningPod:
    name: str
    ip: str
    root: Path
    sidecar: Sidecar | None = None
    seen: dict[str, str] = field(default_factory=dict)  # its annotations


class Kubelet:
    """Of one namespace; each of its pods is a real sidecar on an address of its own."""

    def __init__(self, cluster: Cluster, namespace: str, root: Path, *, health_port: int) -> None:
        self.pods: dict[str, RunningPod] = {}
        self._cluster = cluster
        self._namespace = namespace
        self._root = root
        self._health_port = health_port
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._fetched: tuple[dict[str, str], Content] | None = None  # for these annotations
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._stack.close()
        self._thread.join()

    def start(self, name: str, number: int, **spec: Any) -> Sidecar:
        """A pod with its sidecar at 127.0.0.`number`; `spec` goes into the pod's."""
        running = RunningPod(name, f"127.0.0.{number}", self._root / name)
        document = pod(self._namespace, name)
        document["spec"] |= spec
        self._cluster.apply(document)
        self._mount(running, self._fetch())
        running.sidecar = self._stack.enter_context(
            running_sidecar(
                running.root,
                self._root,
                HEALTH_HOST=running.ip,
                HEALTH_PORT=str(self._health_port),
            )
        )
        self.pods[name] = running
        status = {"phase": "Running", "podIP": running.ip, "podIPs": [{"ip": running.ip}]}
        meta = {"metadata": {"namespace": self._namespace, "name": name}}
        self._cluster.apply({"kind": "Pod", **meta, "status": status}, subresource="/status")
        return running.sidecar

    def _follow(self) -> None:
        path, client = self._cluster.path("Pod", self._namespace), self._cluster.client
        while not self._stop.is_set():
            params = {"watch": "true", "timeoutSeconds": "2", "resourceVersion": "0"}
            try:
                with client.stream("GET", path, params=params, timeout=30) as events:
                    for line in events.iter_lines():
                        self._heard(json.loads(line)["object"])
            except (httpx.HTTPError, RuntimeError):
                continue  # the API server is away, or the test is over

    def _heard(self, body: dict[str, Any]) -> None:
        running = self.pods.get(body["metadata"]["name"])
        annotations = body["metadata"].get("annotations", {})
        if running is not None and annotations != running.seen:
            running.seen = annotations
            if self._fetched is None or self._fetched[0] != annotations:
                self._fetched = (annotations, self._fetch())
            self._mount(running, self._fetched[1])

    def _fetch(self) -> Content:
        secrets = self._cluster.secret_values(self._namespace, CREDENTIALS_SECRET)
        files = self._cluster.files(self._namespace)
        return {name: text.encode() for name, text in files.items()}, secrets

    def _mount(self, running: RunningPod, content: Content) -> None:
        files, secrets = content
        swap(running.root / "credentials", secrets)
        swap(running.root / "config", files)
