"""Certificates, keys and kubeconfig files: what kubeadm would make, by one authority a cluster.

Who may do what is then for RBAC to say, as in any cluster: no part has more than it has elsewhere.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.layout import API_SERVICE_IP, DNS_DOMAIN, NODE

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.layout import Layout, Link


@dataclass(frozen=True, slots=True)
class User:
    """Whom the API server takes the bearer of a certificate for."""

    name: str
    group: str = "runestone:none"


ADMIN = User("runestone:admin", "system:masters")
CLIENTS = {
    "kubelet": User(f"system:node:{NODE}", "system:nodes"),
    "kube-controller-manager": User("system:kube-controller-manager"),
    "kube-scheduler": User("system:kube-scheduler"),
    "kube-proxy": User("system:kube-proxy"),
}
API_TO_KUBELET = User("runestone:kube-apiserver", "system:masters")


def write_credentials(layout: Layout, link: Link) -> None:
    layout.keys.mkdir(mode=0o700)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(layout.keys / "ca.crt")
    authority.private_key_pem.write_to_path(layout.keys / "ca.key")
    names = [f"kubernetes{tail}" for tail in ("", ".default", ".default.svc")]
    names += [f"kubernetes.default.svc.{DNS_DOMAIN}", "localhost", "127.0.0.1"]
    _write(
        authority.issue_cert(*names, API_SERVICE_IP, link.node_ip), layout.keys / "kube-apiserver"
    )
    _write(authority.issue_cert(NODE, link.node_ip), layout.keys / "kubelet-server")
    _write(_client(authority, API_TO_KUBELET), layout.keys / "kube-apiserver-kubelet")
    _write_service_account_key(layout.keys / "service-accounts.key")
    for program, user in CLIENTS.items():
        _write_kubeconfig(authority, user, link, layout.keys / f"{program}.kubeconfig")
    _write_kubeconfig(authority, ADMIN, link, layout.kubeconfig)


def _client(authority: trustme.CA, user: User) -> trustme.LeafCert:
    # Without any name of a host the field for them is empty, and Go takes no such certificate.
    return authority.issue_cert(
        "client.invalid", common_name=user.name, organization_name=user.group
    )


def _chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def _write(leaf: trustme.LeafCert, path: Path) -> None:
    path.with_suffix(".crt").write_bytes(_chain(leaf))
    leaf.private_key_pem.write_to_path(path.with_suffix(".key"))


def _write_service_account_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _write_kubeconfig(authority: trustme.CA, user: User, link: Link, path: Path) -> None:
    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    leaf = _client(authority, user)
    cluster = {
        "server": link.api_url,
        "certificate-authority-data": encoded(authority.cert_pem.bytes()),
    }
    bearer = {
        "client-certificate-data": encoded(_chain(leaf)),
        "client-key-data": encoded(leaf.private_key_pem.bytes()),
    }
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "runestone", "cluster": cluster}],
        "users": [{"name": user.name, "user": bearer}],
        "contexts": [{"name": "runestone", "context": {"cluster": "runestone", "user": user.name}}],
        "current-context": "runestone",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
