"""Every template, over values in which every two choices meet, checked as data."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.charts import NAMESPACE, combinations, of_kind, one, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.charts import Document

pytestmark = pytest.mark.kube
COMBINATIONS = combinations()
WORKLOADS = ("Deployment", "StatefulSet")
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}
# Made by the operator, or by whoever gave its name as a value.
MADE_ELSEWHERE = {
    ("ConfigMap", "runestone-config"),
    *(("ConfigMap", f"runestone-config-{number}") for number in range(16)),
    ("Secret", "runestone-credentials"),
    ("Secret", "runestone-nats-auth"),
    ("ServiceAccount", "there-already"),
    ("ServiceAccount", "default"),
    ("Secret", "pull"),
}


@pytest.fixture(params=COMBINATIONS.values(), ids=list(COMBINATIONS))
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


def workloads(documents: list[Document]) -> list[Document]:
    return [document for document in documents if document["kind"] in WORKLOADS]


def pod_of(workload: Document) -> Document:
    template: Document = workload["spec"]["template"]
    return template


def containers(documents: list[Document]) -> Iterator[Document]:
    for workload in workloads(documents):
        yield from pod_of(workload)["spec"]["containers"]


def names_of(documents: list[Document], kind: str) -> set[str]:
    return {document["metadata"]["name"] for document in of_kind(documents, kind)}


def test_objects_are_named_labelled_and_placed(documents: list[Document]) -> None:
    places = Counter(
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents
    )
    assert [place for place, count in places.items() if count > 1] == []
    for kind, namespace, name in places:
        assert len(name) <= 63, (kind, name)
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name), (kind, name)
        assert (namespace is None) == (kind in CLUSTER_WIDE), (kind, name)
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", document["metadata"]["name"]
        assert labels["app.kubernetes.io/instance"] == "runestone"
        assert all(isinstance(value, str) for value in labels.values())


def test_a_stateful_sets_pods_can_be_named(documents: list[Document]) -> None:
    """Its name and a hash of eleven characters are a label of them."""
    assert [name for name in names_of(documents, "StatefulSet") if len(name) > 52] == []


def test_pods_may_do_nothing_that_they_need_not(documents: list[Document]) -> None:
    for workload in workloads(documents):
        security = pod_of(workload)["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(documents):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_only_the_operator_has_a_token(documents: list[Document]) -> None:
    for workload in workloads(documents):
        spec = pod_of(workload)["spec"]
        has_token = spec.get("automountServiceAccountToken", True)
        assert has_token == workload["metadata"]["name"].endswith("-operator")


def test_containers_are_watched_and_bounded(documents: list[Document]) -> None:
    for container in containers(documents):
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports, (container["name"], probe)
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_images_are_pinned(documents: list[Document]) -> None:
    for container in containers(documents):
        assert re.search(r"(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$", container["image"])
        assert ":latest" not in container["image"]


def test_variables_are_text(documents: list[Document]) -> None:
    """What YAML takes for a number or a boolean, the API server refuses."""
    for container in containers(documents):
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names)), container["name"]
        values = [variable["value"] for variable in container["env"] if "value" in variable]
        assert [value for value in values if not isinstance(value, str) or not value] == []


def test_selectors_find_the_pods_that_they_are_for(documents: list[Document]) -> None:
    found = {
        document["metadata"]["name"]: pod_of(document)["metadata"]["labels"]
        for document in workloads(documents)
    }
    for workload in workloads(documents):
        name = workload["metadata"]["name"]
        selector = workload["spec"]["selector"]["matchLabels"]
        assert [other for other in found if selector.items() <= found[other].items()] == [name]
    for document in documents:
        for selector in selectors_of(document):
            matching = [name for name in found if selector.items() <= found[name].items()]
            assert len(matching) == 1, (document["kind"], document["metadata"]["name"], selector)


def selectors_of(document: Document) -> Iterator[dict[str, str]]:
    spec = document.get("spec", {})
    match document["kind"]:
        case "Service":
            yield spec["selector"]
        case "PodDisruptionBudget":
            yield spec["selector"]["matchLabels"]
        case "NetworkPolicy":
            yield spec["podSelector"]["matchLabels"]
            for peer in peers_of(spec):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                if "app.kubernetes.io/component" in labels:
                    yield labels


def peers_of(spec: Document) -> Iterator[Document]:
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        yield from (*rule.get("from", ()), *rule.get("to", ()))


def test_pods_spread_over_nodes_unless_told_where_to_go(documents: list[Document]) -> None:
    for workload in workloads(documents):
        spec, labels = pod_of(workload)["spec"], pod_of(workload)["metadata"]["labels"]
        assert ("affinity" in spec) != ("topologySpreadConstraints" in spec)
        for constraint in spec.get("topologySpreadConstraints", ()):
            assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


def test_services_lead_to_ports_that_are_there(documents: list[Document]) -> None:
    for service in of_kind(documents, "Service"):
        selector = service["spec"]["selector"]
        (pod,) = (
            pod_of(workload)
            for workload in workloads(documents)
            if selector.items() <= pod_of(workload)["metadata"]["labels"].items()
        )
        ports = {port["name"] for c in pod["spec"]["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_network_policies_name_ports_that_are_there(documents: list[Document]) -> None:
    ports = {port["name"] for container in containers(documents) for port in container["ports"]}
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= ports


def test_references_lead_somewhere(documents: list[Document]) -> None:
    there = {(d["kind"], d["metadata"]["name"]) for d in documents} | MADE_ELSEWHERE
    there |= {("Secret", d["spec"]["secretName"]) for d in of_kind(documents, "Certificate")}
    referred = set(itertools.chain.from_iterable(map(references_of, documents)))
    assert referred - there == set()


def references_of(document: Document) -> Iterator[tuple[str, str]]:
    spec = document.get("spec", {})
    match document["kind"]:
        case "Deployment" | "StatefulSet":
            pod = spec["template"]["spec"]
            yield "ServiceAccount", pod.get("serviceAccountName", "default")
            if "serviceName" in spec:
                yield "Service", spec["serviceName"]
            yield from (("Secret", secret["name"]) for secret in pod.get("imagePullSecrets", ()))
            yield from volume_references(pod)
        case "ClusterRoleBinding" | "RoleBinding":
            yield document["roleRef"]["kind"], document["roleRef"]["name"]
            yield from ((subject["kind"], subject["name"]) for subject in document["subjects"])
        case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
            services = (hook["clientConfig"]["service"] for hook in document["webhooks"])
            yield from (("Service", service["name"]) for service in services)
        case "HorizontalPodAutoscaler":
            yield spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
        case "ValidatingAdmissionPolicyBinding":
            yield "ValidatingAdmissionPolicy", spec["policyName"]
        case "Certificate" if spec["issuerRef"]["kind"] == "Issuer":
            yield "Issuer", spec["issuerRef"]["name"]


def volume_references(pod: Document) -> Iterator[tuple[str, str]]:
    for volume in pod.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", ()):
            for kind in source:
                yield {"configMap": "ConfigMap", "secret": "Secret"}[kind], source[kind]["name"]


def test_mounts_have_volumes_and_volumes_are_mounted(documents: list[Document]) -> None:
    for workload in workloads(documents):
        spec = pod_of(workload)["spec"]
        claims = workload["spec"].get("volumeClaimTemplates", ())
        volumes = [volume["name"] for volume in spec.get("volumes", ())]
        volumes += [claim["metadata"]["name"] for claim in claims]
        mounts = {m["name"] for c in spec["containers"] for m in c.get("volumeMounts", ())}
        assert len(volumes) == len(set(volumes))
        assert set(volumes) == mounts, workload["metadata"]["name"]
        assert "subPath" not in str(spec)  # what is mounted by it is never refreshed


def test_budgets_never_hold_up_the_drain_of_a_node(documents: list[Document]) -> None:
    replicas = {d["metadata"]["name"]: d["spec"].get("replicas") for d in workloads(documents)}
    for budget in of_kind(documents, "PodDisruptionBudget"):
        scaled = replicas[budget["metadata"]["name"]]
        assert scaled is None or scaled > 1
        assert budget["spec"]["maxUnavailable"] >= 1


def test_the_operators_account_is_the_one_with_the_rights(documents: list[Document]) -> None:
    pod = pod_of(one(documents, "Deployment", "-operator"))["spec"]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for binding in of_kind(documents, kind):
            assert binding["subjects"] == [
                {
                    "kind": "ServiceAccount",
                    "name": pod["serviceAccountName"],
                    "namespace": NAMESPACE,
                }
            ]


def test_the_webhook_never_waits_for_its_own_pods(documents: list[Document]) -> None:
    for configuration in of_kind(documents, "MutatingWebhookConfiguration"):
        for hook in configuration["webhooks"]:
            for workload in workloads(documents):
                labels = pod_of(workload)["metadata"]["labels"]
                assert not selects(hook["objectSelector"], labels), workload["metadata"]["name"]
        assert "caBundle" not in str(configuration)


@pytest.mark.parametrize(
    ("pod", "namespace", "hooks"),
    [
        pytest.param({"runestone.dev/inject": "true"}, {}, ["pod"], id="asks"),
        pytest.param({"runestone.dev/inject": "yes"}, {}, ["pod"], id="asks wrongly"),
        pytest.param({"runestone.dev/inject": "false"}, {"asks": "true"}, [], id="refuses"),
        pytest.param({}, {}, [], id="none asks"),
        pytest.param({}, {"asks": "true"}, ["namespace"], id="namespace asks"),
        pytest.param({"runestone.dev/inject": "true"}, {"asks": "true"}, ["pod"], id="both ask"),
        pytest.param({"runestone.dev/inject": "true"}, {"name": "kube-system"}, [], id="excluded"),
    ],
)
def test_who_is_injected(pod: dict[str, str], namespace: dict[str, str], hooks: list[str]) -> None:
    labels = {"kubernetes.io/metadata.name": namespace.get("name", "team")}
    if "asks" in namespace:
        labels["runestone.dev/inject"] = namespace["asks"]
    configuration = one(render({}), "MutatingWebhookConfiguration")
    called = [
        hook["name"].partition(".")[0]
        for hook in configuration["webhooks"]
        if selects(hook["objectSelector"], pod) and selects(hook["namespaceSelector"], labels)
    ]
    assert called == hooks


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """As the API server does."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        {
            "Exists": expression["key"] in labels,
            "DoesNotExist": expression["key"] not in labels,
            "NotIn": labels.get(expression["key"]) not in expression.get("values", ()),
        }[expression["operator"]]
        for expression in selector.get("matchExpressions", ())
    )
