"""The cluster does what tests on it build upon: Deployments, Services, DNS, exec, volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_testing.node import PYTHON_IMAGE, Node, container, pod, python, sleeper
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from runestone_testing.resources import Document

pytestmark = pytest.mark.e2e

SERVE = """
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(socket.gethostname().encode())
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""
FETCH = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
"""
RESOLVE = """
import socket, sys
try:
    print(socket.gethostbyname(sys.argv[1]))
except socket.gaierror as error:
    print(error.errno == socket.EAI_NONAME)
"""


def deployment(namespace: str, name: str, *, replicas: int) -> Document:
    labels = {"app": name}
    serve = container(
        "web",
        PYTHON_IMAGE,
        *python(SERVE),
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [serve]},
            },
        },
    }


def service(namespace: str, name: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


@pytest.fixture(scope="module")
def web(node: Node, namespace: str) -> set[str]:
    """Two servers behind one Service, and a pod to ask them from; the servers' host names."""
    node.apply(
        deployment(namespace, "web", replicas=2),
        service(namespace, "web"),
        pod(namespace, "client", sleeper()),
    )
    node.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=120s")
    node.wait_ready(namespace, "client")
    ask = (*python(FETCH), "http://web", "1")
    wait_until(  # kube-proxy hears of the pods a moment after kubectl
        "the Service answers",
        lambda: node.try_kubectl("-n", namespace, "exec", "client", "--", *ask).returncode == 0,
        every_s=0.2,
    )
    listed = node.kubectl("-n", namespace, "get", "pods", "-lapp=web", "-oname")
    return {line.removeprefix("pod/") for line in listed.split()}


def fetch(node: Node, namespace: str, pod: str, *, url: str, times: int = 1) -> set[str]:
    return set(node.exec(namespace, pod, *python(FETCH), url, str(times)).split())


@pytest.mark.parametrize("host", ["web", "web.cluster.svc.cluster.local"])
def test_service_is_reached_by_its_name(
    node: Node, namespace: str, web: set[str], host: str
) -> None:
    assert fetch(node, namespace, "client", url=f"http://{host}") <= web


def test_service_is_reached_from_the_pods_behind_it(
    node: Node, namespace: str, web: set[str]
) -> None:
    for name in web:
        assert fetch(node, namespace, name, url="http://web", times=8) <= web


def test_service_is_reached_from_the_node(node: Node, namespace: str, web: set[str]) -> None:
    """The API server reaches webhooks in the same way, from the same network."""
    address = node.get(namespace, "service", "web")["spec"]["clusterIP"]

    assert httpx.get(f"http://{address}", trust_env=False, timeout=30).text in web


@pytest.mark.parametrize(
    ("name", "resolves_to"),
    [
        ("kubernetes.default", "10.96.0.1"),
        ("kube-dns.kube-system.svc.cluster.local", "10.96.0.10"),
        ("api.openai.com", "True"),
        ("nobody.default.svc.cluster.local", "True"),
    ],
    ids=["short", "whole", "outside", "unknown"],
)
@pytest.mark.usefixtures("web")
def test_names_are_looked_up(node: Node, namespace: str, name: str, resolves_to: str) -> None:
    assert node.exec(namespace, "client", *python(RESOLVE), name).strip() == resolves_to


def test_nothing_outside_is_reached(node: Node, namespace: str, web: set[str]) -> None:
    assert web
    done = node.try_kubectl(
        "-n", namespace, "exec", "client", "--", *python(FETCH), "http://192.0.2.1", "1"
    )

    assert done.returncode != 0
    assert "unreachable" in done.stderr


def config_map(namespace: str, value: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": "settings"},
        "data": {"value": value},
    }


def test_an_annotation_wakes_kubelet_to_a_changed_volume(node: Node, namespace: str) -> None:
    mounts = [{"name": "settings", "mountPath": "/etc/settings"}]
    volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
    reader = pod(namespace, "reader", sleeper(volumeMounts=mounts), volumes=volumes)
    node.apply(config_map(namespace, "first"), reader)
    node.wait_ready(namespace, "reader")

    def read() -> str:
        return node.exec(namespace, "reader", "cat", "/etc/settings/value")

    assert read() == "first"

    node.apply(config_map(namespace, "second"))
    node.kubectl("-n", namespace, "annotate", "pod", "reader", "runestone.dev/config=second")

    wait_until("the volume is fresh", lambda: read() == "second", every_s=0.2)


def test_logs_are_read(node: Node, namespace: str) -> None:
    says = container("app", PYTHON_IMAGE, *python("print('heard')"))
    node.apply(pod(namespace, "speaker", says, restartPolicy="Never"))

    assert node.wait_done(namespace, "speaker") == "heard\n"
