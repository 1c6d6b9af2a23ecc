"""The command line and the configuration of each program of the node. Nothing is started here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cluster.layout import (
    API_PORT,
    CONTAINERD_SOCKET,
    DNS_DOMAIN,
    DNS_SERVICE_IP,
    NODE,
    PODS,
    SERVICES,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.layout import Layout, Link

ETCD_SOCKET: Final = "/run/etcd.sock"  # of the node's own /run: no network reaches it
PAUSE_IMAGE: Final = "runestone.local/pause:1"


@dataclass(frozen=True, slots=True)
class Component:
    """One program that the node keeps running."""

    name: str
    argv: tuple[str, ...]


def components(layout: Layout, link: Link, *, api: Path, node: Path) -> tuple[Component, ...]:
    """In the order in which they are started; `api` and `node` are the folders of programs."""
    keys, config = layout.keys, layout.config
    return (
        _etcd(layout, api / "etcd"),
        _api_server(layout, link, api / "kube-apiserver"),
        Component("containerd", ("containerd", f"--config={config / 'containerd.toml'}")),
        _controller_manager(keys, node / "kube-controller-manager"),
        Component(
            "kube-scheduler",
            (
                str(node / "kube-scheduler"),
                f"--kubeconfig={keys / 'kube-scheduler.kubeconfig'}",
                "--leader-elect=false",
            ),
        ),
        Component(
            "kubelet",
            (
                str(node / "kubelet"),
                f"--config={config / 'kubelet.json'}",
                f"--kubeconfig={keys / 'kubelet.kubeconfig'}",
                f"--hostname-override={NODE}",
                f"--node-ip={link.node_ip}",
            ),
        ),
        Component(
            "kube-proxy", (str(node / "kube-proxy"), f"--config={config / 'kube-proxy.json'}")
        ),
    )


def _etcd(layout: Layout, program: Path) -> Component:
    peers = "unix:///run/etcd-peers.sock"
    return Component(
        "etcd",
        (
            str(program),
            f"--data-dir={layout.folder / 'etcd'}",
            f"--listen-client-urls=unix://{ETCD_SOCKET}",
            # It must be host:port, and no one asks for it.
            "--advertise-client-urls=http://127.0.0.1:0",
            f"--listen-peer-urls={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
    )


def _api_server(layout: Layout, link: Link, program: Path) -> Component:
    keys = layout.keys
    service_accounts = keys / "service-accounts.key"
    return Component(
        "kube-apiserver",
        (
            str(program),
            f"--etcd-servers=unix://{ETCD_SOCKET}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={link.node_ip}",
            f"--tls-cert-file={keys / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={keys / 'kube-apiserver.key'}",
            f"--client-ca-file={keys / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
            f"--service-account-signing-key-file={service_accounts}",
            f"--service-account-key-file={service_accounts}",
            # Else exec and logs look the node's name up in a DNS that does not know it.
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={keys / 'ca.crt'}",
            f"--kubelet-client-certificate={keys / 'kube-apiserver-kubelet.crt'}",
            f"--kubelet-client-key={keys / 'kube-apiserver-kubelet.key'}",
            # Else an open watch holds a graceful stop up for a minute.
            "--shutdown-watch-termination-grace-period=5s",
        ),
    )


def _controller_manager(keys: Path, program: Path) -> Component:
    return Component(
        "kube-controller-manager",
        (
            str(program),
            f"--kubeconfig={keys / 'kube-controller-manager.kubeconfig'}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={keys / 'service-accounts.key'}",
            f"--root-ca-file={keys / 'ca.crt'}",
            f"--cluster-signing-cert-file={keys / 'ca.crt'}",
            f"--cluster-signing-key-file={keys / 'ca.key'}",
        ),
    )


def write_config(layout: Layout) -> None:
    layout.config.mkdir()
    (layout.config / "containerd.toml").write_text(_containerd(layout))
    for name, content in (
        ("cni/10-pods.conflist", _pod_network()),
        ("kubelet.json", _kubelet(layout)),
        ("kube-proxy.json", _kube_proxy(layout)),
    ):
        path = layout.config / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1))
    # No name server of the machine is asked: what is not the cluster's is not there. An empty file
    # would have containerd take the machine's.
    (layout.config / "resolv.conf").write_text("nameserver 127.0.0.1\n")


def _containerd(layout: Layout) -> str:
    return f"""\
version = 2
root = {json.dumps(str(layout.folder / "containerd"))}
state = "/run/containerd"
oom_score = 0
# It would make a folder below /opt.
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Where the machine withholds CAP_SYS_RESOURCE, runc could set no lower score than it has itself.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = {json.dumps(str(layout.config / "cni"))}
"""


def _pod_network() -> dict[str, Any]:
    """A veth pair and a route a pod, no bridge: what goes from pod to pod by a Service then passes
    the node's packet filter on the way back too, whether or not the kernel filters bridges."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(layout: Layout) -> dict[str, Any]:
    keys = layout.keys
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": str(layout.config / "resolv.conf"),
        # The machine's disk is not the node's: it may be full of other things.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        # No registry could give an image back that was collected.
        "imageGCHighThresholdPercent": 100,
    }


def _kube_proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": str(layout.keys / "kube-proxy.kubeconfig")},
        # The number of tracked connections is the whole machine's to say.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
