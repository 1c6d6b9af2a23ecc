"""A real Kubernetes API server (etcd and kube-apiserver) for tests, from hack/kube-tools.

It is the API alone: no controller and no node. So nothing runs pods, expands Deployments, collects
what an owner reference leaves behind, makes `default` service accounts or finishes the deletion of
a namespace: tests that share a server keep apart by namespaces of their own names.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runestone_testing.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

KUBE_TOOLS = Path(__file__).resolve().parents[3] / "hack" / "kube-tools"
BUILD_VARIABLE = "RUNESTONE_BUILD_KUBE"
START_TIMEOUT_S: Final = 60.0
KUBECTL_TIMEOUT_S: Final = 60.0


class KubeToolsMissingError(Exception):
    """The programs are not built; the text says what to run."""


@dataclass(frozen=True, slots=True)
class User:
    """Someone the API server knows by a fixed token; what they may do is for RBAC to say."""

    name: str
    groups: tuple[str, ...] = ()


def service_account(namespace: str, name: str) -> User:
    """The identity that a pod has which runs under this service account."""
    return User(
        f"system:serviceaccount:{namespace}:{name}",
        ("system:serviceaccounts", f"system:serviceaccounts:{namespace}"),
    )


ADMIN = User("admin", ("system:masters",))
OPERATOR = service_account("runestone-system", "runestone-operator")
ALICE = User("alice", ("team-a",))
BOB = User("bob", ("team-b",))
NOBODY = User("nobody")  # for the test that no role was forgotten: bind none to it
USERS = (ADMIN, OPERATOR, ALICE, BOB, NOBODY)


def find_programs() -> Path:
    """The folder of etcd, kube-apiserver and kubectl; builds them only where the caller asks."""
    may_build = os.environ.get(BUILD_VARIABLE) == "1"
    found = subprocess.run(
        [sys.executable, KUBE_TOOLS, *([] if may_build else ["--cached"])],
        stdout=subprocess.PIPE,
        stderr=None if may_build else subprocess.PIPE,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise KubeToolsMissingError(
            f"{(found.stderr or '').strip()}\nThis test needs a real API server: "
            f"run hack/kube-tools once, or set {BUILD_VARIABLE}=1 or KUBEBUILDER_ASSETS."
        )
    return Path(found.stdout.splitlines()[-1])


class ApiServer:
    """etcd and kube-apiserver on 127.0.0.1, with data that lives until `close`.

    `stop` and `start` take the API server alone away and bring it back: same port, same data, same
    certificates and tokens. `users` are those that `token_for` and `kubeconfig` know beside USERS.
    """

    def __init__(self, *, users: Sequence[User] = ()) -> None:
        self._programs = find_programs()
        self._tokens = {user: secrets.token_hex(16) for user in (*USERS, *users)}
        self._folder = Path(tempfile.mkdtemp(prefix="runestone-kube-"))
        self._etcd_socket = self._folder / "etcd.sock"
        # Bound and never listening: it keeps the port ours while the API server is away, and
        # SO_REUSEPORT (--permit-port-sharing there) lets that one listen on it.
        self._port_holder = socket.socket()
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port_holder.bind(("127.0.0.1", 0))
        self.port: int = self._port_holder.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file = self._folder / "ca.crt"
        self._write_credentials()
        self._admin_kubeconfig = self.kubeconfig()
        self._tls = ssl.create_default_context(cafile=str(self.ca_file))
        self._etcd: ChildProcess | None = None
        self._server: ChildProcess | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def admin_token(self) -> str:
        return self._tokens[ADMIN]

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the programs that run now."""
        return tuple(p.pid for p in (self._etcd, self._server) if p is not None and p.is_running)

    def start(self) -> None:
        """Return once the API server is ready; it must not be running."""
        if self._server is not None and self._server.is_running:
            raise RuntimeError("the API server is running already")
        if self._etcd is None:
            self._etcd = self._start_etcd()
        self._server = ChildProcess(self._server_command(), log=self._folder / "kube-apiserver.log")
        self._server.wait_until(self.is_ready, timeout_s=START_TIMEOUT_S)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Take the API server away, gracefully or by SIGKILL; etcd and the data stay."""
        if self._server is not None:
            self._server.stop(by)

    def restart(self, by: signal.Signals = signal.SIGTERM) -> None:
        self.stop(by)
        self.start()

    def close(self) -> None:
        """End both programs and delete their data; calling it again does nothing."""
        for process in (self._server, self._etcd):
            if process is not None:
                process.stop(signal.SIGKILL)
        self._port_holder.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_ready(self) -> bool:
        with contextlib.closing(
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self._tls)
        ) as connection:
            try:
                authorization = {"Authorization": f"Bearer {self.admin_token}"}
                connection.request("GET", "/readyz", headers=authorization)
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    def token_for(self, user: User) -> str:
        """The token by which a client acts as this user, who must be one of `users` or USERS."""
        if user not in self._tokens:
            known = ", ".join(known.name for known in self._tokens)
            raise LookupError(f"{user} has no token (only {known}): pass users= to ApiServer")
        return self._tokens[user]

    def kubeconfig(self, *, token: str | None = None, namespace: str = "default") -> Path:
        """A new kubeconfig file, valid until `close`; without a token it is the administrator's."""
        cluster = {
            "server": self.url,
            "certificate-authority-data": base64.b64encode(self.ca_file.read_bytes()).decode(),
        }
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token or self.admin_token}}],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": "test", "namespace": namespace},
                }
            ],
            "current-context": "test",
        }
        handle, path = tempfile.mkstemp(dir=self._folder, prefix="kubeconfig-", suffix=".yaml")
        with os.fdopen(handle, "w") as file:
            json.dump(config, file)
        return Path(path)

    def kubectl(
        self, *args: str, input: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as the administrator unless told otherwise; the exit code is for the caller.

        It sees nothing of the user's own: its home, and so its discovery cache, is this server's.
        """
        return subprocess.run(
            [self._programs / "kubectl", *args],
            env={
                "HOME": str(self._folder),
                "KUBECONFIG": str(kubeconfig or self._admin_kubeconfig),
            },
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=KUBECTL_TIMEOUT_S,
            check=False,
        )

    def _write_credentials(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
            self._folder / "server.pem"
        )
        key = ec.generate_private_key(ec.SECP256R1())
        (self._folder / "service-accounts.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        with (self._folder / "tokens.csv").open("w", newline="") as file:
            for uid, (user, token) in enumerate(self._tokens.items()):
                csv.writer(file).writerow([token, user.name, uid, ",".join(user.groups)])

    def _start_etcd(self) -> ChildProcess:
        # Unix sockets need no free port. The advertised address must be host:port, and no one asks.
        peers = f"unix://{self._folder / 'peer.sock'}"
        etcd = ChildProcess(
            [
                str(self._programs / "etcd"),
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls=unix://{self._etcd_socket}",
                "--advertise-client-urls=http://127.0.0.1:0",
                f"--listen-peer-urls={peers}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            log=self._folder / "etcd.log",
        )
        etcd.wait_until(self._etcd_answers, timeout_s=START_TIMEOUT_S)
        return etcd

    def _etcd_answers(self) -> bool:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            return client.connect_ex(str(self._etcd_socket)) == 0

    def _server_command(self) -> list[str]:
        keys = self._folder / "service-accounts.pem"
        return [
            str(self._programs / "kube-apiserver"),
            f"--etcd-servers=unix://{self._etcd_socket}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--permit-port-sharing",
            # Else it looks for a default route, and there may be none.
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self._folder / 'server.pem'}",
            f"--tls-private-key-file={self._folder / 'server.pem'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={keys}",
            f"--service-account-key-file={keys}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            # Else an open watch holds a graceful stop up for a minute.
            "--shutdown-watch-termination-grace-period=5s",
            # No controller makes the `default` service accounts without which it refuses pods.
            "--disable-admission-plugins=ServiceAccount",
        ]
