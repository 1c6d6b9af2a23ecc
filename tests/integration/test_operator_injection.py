"""The API server asks the operator's webhook about pods and resources, and takes what it says."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from runestone_operator.admission.review import Answer, Request, build_patch
from runestone_operator.admission.server import AdmissionServer
from runestone_operator.certificate.pair import make_pair, now_utc
from runestone_operator.certificate.serving import Serving
from runestone_operator.metrics import Metrics
from runestone_testing.operators import Cluster, OperatorProcess, eventually
from runestone_testing.resources import key
from runestone_testing.run_command import free_port
from runestone_testing.webhooks import (
    IMAGE,
    configurations,
    create,
    has_sidecar,
    install,
    labelled,
    until_called,
    webhook_env,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kube

GOLDENS = sorted(
    (Path(__file__).parents[1] / "runestone_operator" / "inject" / "golden").glob("*.yaml")
)
INJECTED = {
    *("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    *("NO_PROXY", "no_proxy"),
}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def operator_env(port: int) -> dict[str, str]:
    return webhook_env(port)


@pytest.fixture(scope="module")
def called(cluster: Cluster, port: int, operator: OperatorProcess) -> Iterator[OperatorProcess]:
    install(cluster, port)
    until_called(cluster, cluster.create_namespace("probe"))
    yield operator
    assert 'outcome="error",webhook' not in (operator.read("/metrics") or "")


def first_of(pod: Document) -> Document:
    found: Document = pod["spec"]["initContainers"][0]
    return found


def secret_of(pod: Document) -> Document:
    env = {variable["name"]: variable for variable in pod["spec"]["containers"][0]["env"]}
    found: Document = env["OPENAI_API_KEY"]["valueFrom"]["secretKeyRef"]
    return found


def message(cluster: Cluster, pod: Document) -> str:
    answer = create(cluster, pod)
    assert answer.status_code == 422, answer.text
    return str(answer.json()["message"])


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_pods_of_every_shape_are_taken(
    cluster: Cluster, namespace: str, called: OperatorProcess, path: Path
) -> None:
    given = yaml.safe_load(path.read_text().partition("\n---\n")[0])["pod"]
    cluster.apply(key(namespace, "by-account", serviceAccounts=["nightly"]))
    pod = {"apiVersion": "v1", "kind": "Pod"} | given
    pod["metadata"] |= {"namespace": namespace, "generateName": "a-"}
    pod["metadata"].pop("name", None)

    def made() -> Document | None:  # as a controller does: the ApiKey may be news to the operator
        answer = create(cluster, pod)
        found: Document = answer.json()
        return found if answer.status_code == 201 else None

    sidecar = first_of(eventually("it is taken", made))
    assert (sidecar["name"], sidecar["image"]) == ("runestone", IMAGE)
    assert sidecar["restartPolicy"] == "Always"


SHAPES: dict[str, Document] = {
    "a database": {
        "securityContext": {"runAsUser": 0, "fsGroup": 2000, "supplementalGroups": [7]},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "containers": [
            {
                "name": "db",
                "image": "db",
                "ports": [{"containerPort": 5432, "hostPort": 5432}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            }
        ],
    },
    "a job": {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 600,
        "initContainers": [{"name": "fetch", "image": "fetch"}],
    },
    "a mesh's": {
        "initContainers": [
            {
                "name": "net",
                "image": "i",
                "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
            },
            {"name": "proxy", "image": "i", "restartPolicy": "Always"},
        ],
        "shareProcessNamespace": True,
    },
    "an agent": {
        "hostPID": True,
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "automountServiceAccountToken": False,
    },
    "with an environment": {
        "os": {"name": "linux"},
        "containers": [
            {
                "name": "app",
                "image": "app",
                "envFrom": [{"secretRef": {"name": "env"}}],
                "env": [
                    {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                    {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
                    {"name": "MODEL_KEY", "value": "$(OPENAI_API_KEY)"},
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_the_authors_stays(
    cluster: Cluster, namespace: str, called: OperatorProcess, shape: str
) -> None:
    bare = labelled(namespace, "bare", **SHAPES[shape])
    bare["metadata"]["labels"] = {}
    before = create(cluster, bare, dry_run=True).json()["spec"]

    pod = labelled(namespace, "a", key="app", **SHAPES[shape])
    answer = create(cluster, pod, dry_run=True)

    assert answer.status_code == 201, answer.text
    after = answer.json()["spec"]
    assert first_of(answer.json())["name"] == "runestone"
    assert bared(after) == bared(before)


def bared(spec: Document) -> Document:
    """Without what is injected."""
    made = json.loads(json.dumps(spec))
    for one in [*made.get("initContainers", []), *made["containers"]]:
        one["env"] = [each for each in one.get("env", ()) if each["name"] not in INJECTED]
    made["initContainers"] = [
        one for one in made.get("initContainers", []) if one["name"] != "runestone"
    ]
    made["volumes"] = [
        one for one in made.get("volumes", ()) if not one["name"].startswith("runestone-")
    ]
    return made  # type: ignore[no-any-return]


class Meddler:
    """Another webhook, asked after ours: it adds a container, and replaces an image."""

    async def answer(self, request: Request) -> Answer:
        pod = request.new
        assert pod is not None
        spec = json.loads(json.dumps(pod["spec"]))
        if any(one["name"] == "late" for one in spec["containers"]):
            return Answer("unchanged")
        spec["containers"].append({"name": "late", "image": "late"})
        spec["initContainers"][0]["image"] = "mirror.example/sidecar"
        return Answer("changed", patch=build_patch(pod, {"metadata": {}, "spec": spec}))


async def test_a_container_that_another_webhook_adds_may_use_the_sidecar(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    pair, serving, meddler = (
        make_pair(["127.0.0.1"], now=now_utc(), life_s=3600),
        Serving(),
        Meddler(),
    )
    serving.load(pair.cert, pair.key)
    server = AdmissionServer(mutate=meddler.answer, validate=meddler.answer, metrics=Metrics())
    server.leave()  # no connection is kept: none is left when it ends
    async with server.serve("127.0.0.1", 0, serving.context) as port:
        document, _ = configurations(port)
        document["metadata"]["name"] = "zz-meddler"
        document["webhooks"] = document["webhooks"][:1]
        document["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(pair.ca).decode()
        document["webhooks"][0]["namespaceSelector"] = {
            "matchLabels": {"kubernetes.io/metadata.name": namespace}
        }
        cluster.apply(document)

        def both() -> Document | None:
            made = create(cluster, labelled(namespace, "a", key="app"), dry_run=True).json()
            return made if len(made["spec"]["containers"]) == 2 else None

        try:
            made = await asyncio.to_thread(eventually, "both were asked", both)
        finally:
            cluster.delete("MutatingWebhookConfiguration", None, "zz-meddler")
    assert first_of(made)["image"] == "mirror.example/sidecar"
    late = made["spec"]["containers"][1]
    assert late["name"] == "late"
    assert {each["name"] for each in late["env"]} >= {"OPENAI_BASE_URL", "OPENAI_API_KEY"}


def test_a_pod_of_a_namespace_with_the_strictest_rules(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    strict = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"kind": "Namespace", "metadata": {"name": namespace, "labels": strict}})
    harmless = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    app = {"name": "app", "image": "app", "securityContext": harmless}
    answer = create(cluster, labelled(namespace, "a", key="app", containers=[app]))
    assert answer.status_code == 201, answer.text
    assert has_sidecar(answer.json())


def test_a_brought_key_is_taken_from_its_own_secret(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    cluster.apply(key(namespace, "brought", secretRef={"name": "own", "key": "the-key"}))
    pod = create(cluster, labelled(namespace, "a", key="brought")).json()  # it may be news to it
    assert secret_of(pod) == {"name": "own", "key": "the-key"}


def test_who_creates_a_pod_is_warned_of_a_key_that_is_not_there(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    answer = create(cluster, labelled(namespace, "a", key="later"))
    assert secret_of(answer.json()) == {"name": "later-api-key", "key": "api-key"}
    assert "does not exist (yet)" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"hostNetwork": True}, "hostNetwork", id="host network"),
        pytest.param(
            {"containers": [{"name": "a", "image": "a", "ports": [{"containerPort": 4004}]}]},
            "container a uses port 4004",
            id="port",
        ),
    ],
)
def test_who_creates_an_unfit_pod_is_told_why(
    cluster: Cluster,
    namespace: str,
    called: OperatorProcess,
    change: Document,
    words: str,
) -> None:
    told = message(cluster, labelled(namespace, "a", key="app", **change))
    assert words in told
    assert "denied the request: runestone: " in told


def test_a_pod_without_a_key_or_with_a_slip_in_its_label_is_refused(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    assert "runestone.dev/api-key is needed" in message(cluster, labelled(namespace, "a"))
    pod = labelled(namespace, "a", key="app")
    pod["metadata"]["labels"]["runestone.dev/inject"] = "yes"
    assert 'must be "true" or "false"' in message(cluster, pod)


def test_a_namespace_asks_for_all_its_pods_and_names_their_key(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    meta = {
        "name": namespace,
        "labels": {"runestone.dev/inject": "true"},
        "annotations": {"runestone.dev/api-key": "all"},
    }
    cluster.apply({"kind": "Namespace", "metadata": meta})

    def made(name: str, labels: dict[str, str], **spec: Any) -> Document:
        pod = labelled(namespace, name, **spec)
        pod["metadata"]["labels"] = labels
        answer = create(cluster, pod)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def is_known() -> bool:  # both to the API server, which selects, and to the operator
        pod = labelled(namespace, "x")
        pod["metadata"]["labels"] = {}
        found = create(cluster, pod, dry_run=True).json()
        return has_sidecar(found) and secret_of(found)["name"] == "all-api-key"

    eventually("the namespace's wish is known", is_known)
    assert made("a", {})["metadata"]["labels"] == {"runestone.dev/inject": "true"}
    assert not has_sidecar(made("b", {"runestone.dev/inject": "false"}))
    unfit = made("c", {}, hostNetwork=True)
    assert not has_sidecar(unfit)
    assert "hostNetwork" in unfit["metadata"]["annotations"]["runestone.dev/not-injected"]


def test_a_dry_run_leaves_nothing_behind(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    assert has_sidecar(create(cluster, labelled(namespace, "a", key="app"), dry_run=True).json())
    assert cluster.list("Pod", namespace) == []
    assert cluster.list("Event", namespace) == []


def test_what_the_installed_crds_let_through_is_refused_by_the_webhook(
    cluster: Cluster, namespace: str, called: OperatorProcess
) -> None:
    """CRDs of an older version may know fewer rules than the operator."""
    loosen(cluster)
    document = key(namespace, limits={"requestsPerMinute": 0})
    body = {"apiVersion": "runestone.dev/v1alpha1"} | document
    path = cluster.path("ApiKey", namespace)

    def refused() -> str | None:
        answer = cluster.client.post(path, json=body, params={"dryRun": "All"})
        told = str(answer.json().get("message"))
        return told if "denied the request" in told else None

    told = eventually("refused by the webhook", refused)
    assert "spec.limits.requestsPerMinute: must be at least 1" in told
    document["spec"]["limits"] = {"requestsPerMinute": 1}
    cluster.apply(document)
    cluster.apply(key(namespace, "later", routingPolicyRef={"name": "not-there-yet"}))
    cluster.delete("ApiKey", namespace, "client")


def loosen(cluster: Cluster) -> None:
    """A CRD without rules."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/apikeys.runestone.dev"
    crd = cluster.client.get(path).json()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert cluster.client.put(path, json=crd).is_success
