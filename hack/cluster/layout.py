"""Where a cluster keeps what, and the addresses in it. Nothing here touches the machine.

Everything of a cluster is below one folder, but what is worth keeping for the next: programs and
images, which are cached beside it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DEFAULT_NAME: Final = "runestone"

NODE: Final = "node1"
API_PORT: Final = 6443
# Inside the cluster's own network namespace, so that these collide with nothing of the machine.
PODS: Final = "10.124.0.0/24"
SERVICES: Final = "10.96.0.0/16"
API_SERVICE_IP: Final = "10.96.0.1"
DNS_SERVICE_IP: Final = "10.96.0.10"
DNS_DOMAIN: Final = "cluster.local"
CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"  # of the node's own /run


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "runestone" / "cluster"


@dataclass(frozen=True, slots=True)
class Link:
    """The veth pair by which the machine and the node see each other: one of 256 small networks.

    198.18.0.0/15 is for benchmarks of networks (RFC 2544): no machine has its neighbours there.
    """

    number: int

    @property
    def host_device(self) -> str:
        return f"runestone{self.number}"

    @property
    def host_ip(self) -> str:
        return f"198.18.{self.number}.1"

    @property
    def node_ip(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def api_url(self) -> str:
        return f"https://{self.node_ip}:{API_PORT}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one cluster."""

    name: str
    folder: Path

    @property
    def cgroup(self) -> str:
        """In every hierarchy; kubelet's pods are below it."""
        return f"runestone/{self.name}"

    @property
    def pid_file(self) -> Path:
        return self.folder / "node.pid"

    @property
    def link_file(self) -> Path:
        """The number of its link."""
        return self.folder / "link"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def mounts(self) -> Path:
        """Sources of the node's mounts: its /var/lib/kubelet, /var/log and so on."""
        return self.folder / "mounts"

    @property
    def lock_file(self) -> Path:
        """Of all clusters."""
        return self.folder.with_name(".lock")

    def link(self) -> Link:
        return Link(int(self.link_file.read_text()))


def layout_of(name: str) -> Layout:
    """By name; RUNESTONE_CLUSTER_DIR moves the folder that holds one folder a cluster."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise ClusterError(f"{name!r} is no name for a cluster: lower-case letters, digits and -")
    base = Path(os.environ.get("RUNESTONE_CLUSTER_DIR") or cache_folder() / "nodes").absolute()
    hidden = [top for top in ("/run", "/var/lib", "/var/log") if base.is_relative_to(top)]
    if hidden:
        raise ClusterError(f"{base}: a node has a {hidden[0]} of its own and would not see it")
    return Layout(name, base / name)
