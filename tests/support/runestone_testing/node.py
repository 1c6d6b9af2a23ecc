"""A real cluster with a node, for tests that run in its network: hack/e2e starts both.

So a test reaches Services and pods by their addresses, as any process on a node does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runestone_testing.resources import Document

ROOT: Final = Path(__file__).parents[3]
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OPERATOR_IMAGE: Final = f"runestone-operator:{VERSION}"
SIDECAR_IMAGE: Final = f"runestone-sidecar:{VERSION}"
PYTHON_IMAGE: Final = "python:3.13-slim"
KUBECTL_TIMEOUT_S: Final = 120.0
READY_TIMEOUT_S: Final = 120.0  # an image of 300 MB may have to be unpacked on a busy machine


class NoClusterError(Exception):
    """The tests were not started in a cluster's network."""


@dataclass(frozen=True, slots=True)
class Node:
    """The cluster as its administrator has it."""

    name: str

    @classmethod
    def from_environment(cls) -> Node:
        name = os.environ.get("RUNESTONE_CLUSTER")
        if not name or not os.environ.get("KUBECONFIG"):
            raise NoClusterError("these tests run in the network of a cluster: hack/e2e")
        return cls(name)

    def kubectl(self, *args: str, text: str | None = None) -> str:
        """What it put out; AssertionError, with what it said, where it failed."""
        done = self.try_kubectl(*args, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}{done.stdout}"
        return done.stdout

    def try_kubectl(
        self, *args: str, text: str | None = None, within_s: float = KUBECTL_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", *args],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def apply(self, *documents: Document) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(items))

    def get(self, namespace: str, kind: str, name: str) -> Document:
        found: Document = json.loads(self.kubectl("-n", namespace, "get", kind, name, "-ojson"))
        return found

    @contextlib.contextmanager
    def stopped(self, program: str) -> Iterator[None]:
        """One of the cluster's own programs stands still: its connections stand, nothing comes."""
        pid = self._pid_of(program)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _pid_of(self, program: str) -> int:
        """Of several clusters on a machine, this one is whose network we are in."""
        network = Path("/proc/self/ns/net").readlink()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                argv = (folder / "cmdline").read_bytes().split(b"\0")
                is_it = Path(argv[0].decode()).name == program
                if is_it and (folder / "ns" / "net").readlink() == network:
                    return int(folder.name)
        raise AssertionError(f"no {program} runs in this cluster")

    @contextlib.contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """A namespace that is there, its ServiceAccount too, until the end of the block."""
        wait_until(  # one of that name may be on its way out
            f"the namespace {name} is made",
            lambda: self.try_kubectl("create", "namespace", name).returncode == 0,
            within_s=READY_TIMEOUT_S,
            every_s=0.5,
        )
        try:
            wait_until(
                f"the service account of {name}",
                lambda: self.try_kubectl("-n", name, "get", "sa", "default").returncode == 0,
            )
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def wait_ready(self, namespace: str, *names: str) -> None:
        """Until every container of these pods is ready."""
        self._wait(namespace, "--for=condition=Ready", *(f"pod/{name}" for name in names))

    def wait_done(self, namespace: str, name: str, *, within_s: float = READY_TIMEOUT_S) -> str:
        """Until the pod has ended well; what it put out."""
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        self._wait(namespace, ended, f"pod/{name}", within_s=within_s)
        return self.kubectl("-n", namespace, "logs", name)

    def _wait(self, namespace: str, *what: str, within_s: float = READY_TIMEOUT_S) -> None:
        seconds = f"--timeout={within_s:.0f}s"
        done = self.try_kubectl("-n", namespace, "wait", seconds, *what, within_s=within_s + 30)
        if done.returncode != 0:
            happened = self.try_kubectl("-n", namespace, "describe", "pods").stdout
            raise AssertionError(f"{done.stderr}\n{happened}")

    def exec(self, namespace: str, pod: str, *command: str) -> str:
        return self.kubectl("-n", namespace, "exec", pod, "--", *command)


def pod(
    namespace: str,
    name: str,
    *containers: dict[str, Any],
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Document:
    """A pod that no grace holds up at its end; `spec` is the rest of it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": labels or {},
            "annotations": annotations or {},
        },
        "spec": {"terminationGracePeriodSeconds": 0, "containers": list(containers), **spec},
    }


def container(name: str, image: str, *command: str, **more: Any) -> dict[str, Any]:
    """Of an image that the cluster has, for there is no registry."""
    given: dict[str, Any] = {"command": list(command)} if command else {}
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **given, **more}


def python(program: str) -> Sequence[str]:
    return ["python3", "-c", program]


def sleeper(name: str = "app", **more: Any) -> dict[str, Any]:
    """A container to exec into."""
    return container(name, PYTHON_IMAGE, "sleep", "infinity", **more)
