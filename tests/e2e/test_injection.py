"""Pods on a real node that the operator's webhook has given a sidecar, installed by the chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.node import PYTHON_IMAGE, Node, container, pod, python
from runestone_testing.resources import key, policy, pool, secret
from runestone_testing.shop_node import SYSTEM, chart_values, helm, install_chart
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.resources import Document

pytestmark = pytest.mark.e2e

LONG_S = 10  # of a stream, and longer than a pod's containers would be given at once
PROVIDER = f"""
import http.server, json, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/told":
            print("told", asked, flush=True)
            return self.reply(b"{{}}", "application/json")
        chunk = {{"id": "c", "object": "chat.completion.chunk", "created": 1}}
        chunk["model"] = asked["model"]
        chunk["choices"] = [{{"index": 0, "delta": {{"content": "hi"}}, "finish_reason": None}}]
        if asked.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for number in range({LONG_S} * 2):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")
                self.wfile.flush()
                time.sleep(0.5)
            chunk["choices"][0]["finish_reason"] = "stop"
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\ndata: [DONE]\\n\\n")
            return
        message = {{"role": "assistant", "content": "hi"}}
        choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
        usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        answer = {{**chunk, "object": "chat.completion", "choices": [choice], "usage": usage}}
        self.reply(json.dumps(answer).encode(), "application/json")
    def reply(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""
ASK = """
import json, os, sys, urllib.request
def ask(**more):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], **more}
    return urllib.request.urlopen(urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json",
         "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    ), timeout=60)
def tell(**what):
    urllib.request.urlopen(urllib.request.Request(
        "http://provider/told", json.dumps(what).encode(), {"Content-Type": "application/json"},
    ), timeout=60)
"""
ASK_ONCE = (
    ASK
    + """
print(json.load(ask())["choices"][0]["message"]["content"])
"""
)
SERVE_ON = (
    ASK_ONCE
    + """
import time
print("ready", flush=True)
time.sleep(3600)
"""
)
# Ends when it has read its stream to the end, though it was asked to end in the middle.
STREAM = (
    ASK
    + """
import signal
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
lines = []
for line in ask(stream=True):
    if not lines:
        print("streaming", flush=True)
    lines.append(line)
tell(asked_to_end=bool(told), whole=lines[-2].strip() == b"data: [DONE]", after=ask().status)
"""
)


@pytest.fixture(scope="module")
def installed(node: Node) -> Iterator[None]:
    """By the chart; without NATS."""
    install_chart(chart_values() | {"nats": {"enabled": False}})
    yield
    helm("uninstall", "runestone", "--namespace", SYSTEM)


@pytest.fixture(scope="module")
def shop(node: Node, namespace: str, installed: None) -> str:
    """Resources in force, and a provider that answers."""
    serve = container(
        "provider",
        PYTHON_IMAGE,
        *python(PROVIDER),
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    provider = pool(namespace)
    provider["spec"]["providers"][0]["baseURL"] = f"http://provider.{namespace}.svc/v1"
    documents = [
        {"apiVersion": "runestone.dev/v1alpha1"} | one
        for one in (
            provider,
            policy(namespace),
            key(namespace, "checkout"),
            key(namespace, "account", serviceAccounts=["nightly"]),
        )
    ]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": "nightly"},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "provider"},
        "spec": {"selector": {"app": "provider"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    node.apply(
        *documents,
        {"apiVersion": "v1"} | secret(namespace),
        account,
        service,
        pod(namespace, "provider", serve, labels={"app": "provider"}),
    )
    node.wait_ready(namespace, "provider")
    node.kubectl(
        *("-n", namespace, "wait", "--for=condition=Programmed", "--timeout=120s"),
        *("pp,ak,rp", "--all"),
    )
    return namespace


def asking(
    namespace: str, name: str, *containers: Any, key: str | None = "checkout", **spec: Any
) -> Document:
    made = pod(namespace, name, *containers, **{"terminationGracePeriodSeconds": 5} | spec)
    made["metadata"]["labels"] = {"runestone.dev/inject": "true"}
    if key is not None:
        made["metadata"]["annotations"] = {"runestone.dev/api-key": key}
    return made


def template(document: Document) -> Document:
    """Of a pod that something else makes."""
    meta = {name: document["metadata"].get(name, {}) for name in ("labels", "annotations")}
    return {"metadata": meta, "spec": document["spec"]}


def app(program: str, **more: Any) -> dict[str, Any]:
    return container("app", PYTHON_IMAGE, *python(program), **more)


def logs(node: Node, namespace: str, name: str, container: str = "app") -> str:
    return node.try_kubectl("-n", namespace, "logs", name, "-c", container).stdout


def test_a_deployment_asks_models_with_what_it_finds_in_its_environment(
    node: Node, shop: str
) -> None:
    document = asking(shop, "web", app(SERVE_ON))
    document["metadata"]["labels"]["app"] = "web"
    node.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": shop, "name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(document),
            },
        }
    )
    node.kubectl("-n", shop, "rollout", "status", "deployment/web", "--timeout=120s")
    for name in node.kubectl("-n", shop, "get", "pods", "-lapp=web", "-oname").split():
        wait_until(f"{name} has asked", lambda name=name: "ready" in logs(node, shop, name))
        assert logs(node, shop, name).startswith("hi\n")

    def sidecars() -> str:
        return str(node.get(shop, "ak", "checkout")["status"].get("sidecars"))

    wait_until("both sidecars are counted", lambda: sidecars() == "2/2")


def test_a_job_and_its_init_containers_end(node: Node, shop: str) -> None:
    first = container("first", PYTHON_IMAGE, *python(ASK_ONCE))
    document = asking(
        shop,
        "once",
        app(ASK_ONCE),
        key=None,
        initContainers=[first],
        restartPolicy="Never",
        serviceAccountName="nightly",
    )
    node.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": shop, "name": "once"},
            "spec": {"backoffLimit": 0, "template": template(document)},
        }
    )
    node.kubectl("-n", shop, "wait", "--for=condition=Complete", "job/once", "--timeout=120s")
    (name,) = node.kubectl("-n", shop, "get", "pods", "-ljob-name=once", "-oname").split()
    assert logs(node, shop, name, "first") == logs(node, shop, name) == "hi\n"


def test_a_stream_that_the_app_reads_to_its_end_is_whole(node: Node, shop: str) -> None:
    document = asking(shop, "streaming", app(STREAM), terminationGracePeriodSeconds=60)
    node.apply(document | {"spec": document["spec"] | {"restartPolicy": "Never"}})
    wait_until("it streams", lambda: "streaming" in logs(node, shop, "streaming"))
    node.kubectl("-n", shop, "delete", "pod", "streaming", "--timeout=120s")
    told = logs(node, shop, "provider", "provider")
    assert "{'asked_to_end': True, 'whole': True, 'after': 200}" in told


def test_a_pod_waits_for_its_key(node: Node, shop: str) -> None:
    node.apply(asking(shop, "early", app(SERVE_ON), key="late"))

    def waiting() -> str:
        states = node.get(shop, "pod", "early").get("status", {}).get("containerStatuses", [])
        return str([one["state"].get("waiting", {}).get("reason") for one in states])

    wait_until("it waits", lambda: "CreateContainerConfigError" in waiting())
    node.apply({"apiVersion": "runestone.dev/v1alpha1"} | key(shop, "late"))
    wait_until("it has asked", lambda: "ready" in logs(node, shop, "early"))


def test_whoever_writes_an_unfit_pod_is_told(node: Node, shop: str) -> None:
    unfit = asking(shop, "unfit", app("pass"), hostNetwork=True)
    done = node.try_kubectl("apply", "--server-side", "-f", "-", text=json.dumps(unfit))
    assert "runestone: a pod with hostNetwork: true cannot have" in done.stderr
    unfit["metadata"]["labels"]["app"] = "unfit"
    node.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": shop, "name": "unfit"},
            "spec": {"selector": {"matchLabels": {"app": "unfit"}}, "template": template(unfit)},
        }
    )

    def events() -> str:
        return node.kubectl("-n", shop, "get", "events", "-ojsonpath={.items[*].message}")

    wait_until("the ReplicaSet tells", lambda: "runestone: a pod with hostNetwork" in events())


def test_a_pod_cannot_see_what_its_sidecar_holds(node: Node, shop: str) -> None:
    node.apply(asking(shop, "nosy", app(SERVE_ON)))
    node.wait_ready(shop, "nosy")
    look = "import os; print(os.path.exists('/etc/runestone'), 'sk-provider' in str(os.environ))"
    assert node.exec(shop, "nosy", *python(look)).split() == ["False", "False"]


def test_the_sidecar_does_not_hold_the_apps_token(node: Node, shop: str) -> None:
    node.apply(asking(shop, "apart", app(SERVE_ON)))
    node.wait_ready(shop, "apart")
    look = "import os; print(os.listdir('/var/run/secrets/kubernetes.io/serviceaccount'))"
    assert "token" in node.exec(shop, "apart", *python(look))
    sidecar = ("-n", shop, "exec", "apart", "-c", "runestone", "--", "python", "-c", look)
    assert node.kubectl(*sidecar).strip() == "[]"
