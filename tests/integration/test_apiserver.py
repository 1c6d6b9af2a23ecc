"""The API server the other tests stand on: real, of the pinned version, and gone when they are."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runestone_testing import kube
from runestone_testing.kube import ALICE, NOBODY, OPERATOR, ApiServer, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.kube

VERSION = "v1.37.2"
NOTE = json.dumps(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"said": "yes"}}
)
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: Group, name: team-a}]
"""


@pytest.fixture
def namespace(apiserver: ApiServer, request: pytest.FixtureRequest) -> str:
    name = request.node.originalname.replace("_", "-")
    assert apiserver.kubectl("create", "namespace", name).returncode == 0
    return str(name)


@pytest.fixture
def short_tmp_path() -> Iterator[str]:
    """Where pytest puts tmp_path, the path of a Unix socket may grow too long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield folder


def test_version_is_the_pinned_one(apiserver: ApiServer) -> None:
    said = json.loads(apiserver.kubectl("version", "--output=json").stdout)

    assert said["serverVersion"]["gitVersion"] == VERSION
    assert said["clientVersion"]["gitVersion"] == VERSION


def test_apply_keeps_a_configmap(apiserver: ApiServer, namespace: str) -> None:
    applied = apiserver.kubectl("apply", "-n", namespace, "-f", "-", input=NOTE)
    read = apiserver.kubectl("get", "configmap", "note", "-n", namespace, "-o", "jsonpath={.data}")

    assert (applied.returncode, applied.stderr) == (0, "")
    assert json.loads(read.stdout) == {"said": "yes"}


@pytest.mark.parametrize("user", [OPERATOR, NOBODY], ids=lambda user: user.name.rpartition(":")[2])
def test_rbac_denies_a_user_without_a_role(apiserver: ApiServer, user: User) -> None:
    kubeconfig = apiserver.kubeconfig(token=apiserver.token_for(user))

    denied = apiserver.kubectl("get", "configmaps", kubeconfig=kubeconfig)

    assert denied.returncode == 1
    assert f'User "{user.name}" cannot list resource "configmaps"' in denied.stderr


def test_rbac_grants_a_group_its_role_and_no_more(apiserver: ApiServer, namespace: str) -> None:
    assert apiserver.kubectl("apply", "-n", namespace, "-f", "-", input=ROLE).returncode == 0
    token = apiserver.token_for(ALICE)
    kubeconfig = apiserver.kubeconfig(token=token, namespace=namespace)

    read = apiserver.kubectl("get", "configmaps", "-o", "name", kubeconfig=kubeconfig)
    written = apiserver.kubectl("apply", "-f", "-", input=NOTE, kubeconfig=kubeconfig)
    elsewhere = apiserver.kubectl("get", "configmaps", "-n", "default", kubeconfig=kubeconfig)

    assert read.returncode == 0
    assert "forbidden" in written.stderr
    assert "forbidden" in elsewhere.stderr


def test_an_unknown_token_is_nobody_at_all(apiserver: ApiServer) -> None:
    refused = apiserver.kubectl("get", "ns", kubeconfig=apiserver.kubeconfig(token="made-up"))

    assert "Unauthorized" in refused.stderr


def test_a_user_without_a_token_is_an_error(apiserver: ApiServer) -> None:
    with pytest.raises(LookupError, match="carol"):
        apiserver.token_for(User("carol"))


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_restart_keeps_port_data_and_tokens(own_apiserver: ApiServer, by: signal.Signals) -> None:
    kubeconfig, before = own_apiserver.kubeconfig(), own_apiserver.pids
    assert own_apiserver.kubectl("apply", "-f", "-", input=NOTE).returncode == 0

    own_apiserver.stop(by)
    away = own_apiserver.kubectl("get", "configmap", "note", kubeconfig=kubeconfig)
    own_apiserver.start()
    back = own_apiserver.kubectl("get", "configmap", "note", "-o", "name", kubeconfig=kubeconfig)

    assert "refused" in away.stderr
    assert back.stdout == "configmap/note\n"
    assert own_apiserver.pids != before


def test_an_open_watch_does_not_hold_up_a_graceful_stop(own_apiserver: ApiServer) -> None:
    tls = ssl.create_default_context(cafile=str(own_apiserver.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", own_apiserver.port, context=tls)
    authorization = {"Authorization": f"Bearer {own_apiserver.admin_token}"}
    with contextlib.closing(connection):
        connection.request("GET", "/api/v1/namespaces?watch=1", headers=authorization)
        watch = connection.getresponse()
        assert json.loads(watch.readline())["type"] == "ADDED"
        began_s = time.monotonic()
        own_apiserver.stop()
        took_s = time.monotonic() - began_s
        watch.close()

    assert took_s < 60


def test_start_twice_is_an_error(apiserver: ApiServer) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        apiserver.start()


def test_close_ends_the_processes_and_deletes_the_data() -> None:
    with ApiServer() as server:
        pids, folder = server.pids, server.ca_file.parent
        assert len(pids) == 2

    assert not any(_is_alive(pid) for pid in pids)
    assert not folder.exists()


def test_a_killed_test_process_leaves_none_behind(short_tmp_path: str) -> None:
    """Started from a thread that ends at once, which must not end them."""
    script = (
        "import sys, threading\n"
        "from runestone_testing.kube import ApiServer\n"
        "server = ApiServer()\n"
        "thread = threading.Thread(target=server.start); thread.start(); thread.join()\n"
        "server.kubectl('get', 'ns')\n"
        "print(*server.pids, flush=True)\n"
        "sys.stdin.read()\n"
    )
    support = str(Path(kube.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": support, "TMPDIR": short_tmp_path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as test_process:
        assert test_process.stdout is not None
        pids = [int(pid) for pid in test_process.stdout.readline().split()]
        assert [_is_alive(pid) for pid in pids] == [True, True]
        test_process.kill()

    assert _comes_true(lambda: not any(_is_alive(pid) for pid in pids))


def test_missing_programs_name_what_builds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv(kube.BUILD_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(kube.KubeToolsMissingError, match="run hack/kube-tools"):
        ApiServer()


def _is_alive(pid: int) -> bool:
    """A zombie that no one has waited for is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _comes_true(is_true: Callable[[], bool], *, timeout_s: float = 10) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            return False
        os.sched_yield()
    return True
