"""What the charts share with the programs: rights, names, ports, files."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from runestone_contract import names
from runestone_operator.settings import read_settings
from runestone_sidecar.settings import NUMBERS, TEXTS
from runestone_testing.charts import CRD_CHART, ROOT, helm, of_kind, one, render

if TYPE_CHECKING:
    from runestone_testing.charts import Document

pytestmark = pytest.mark.kube
GATEWAY = {"gateway": {"enabled": True}}
RIGHTS = sorted((ROOT / "hack" / "rbac").glob("*.yaml"))


def unlabelled(document: Document) -> Document:
    metadata = {name: value for name, value in document["metadata"].items() if name != "labels"}
    return {**document, "metadata": metadata}


def test_the_operator_has_the_rights_that_it_is_tested_with_and_no_more() -> None:
    wanted = [each for path in RIGHTS for each in yaml.safe_load_all(path.read_text())]
    kinds = {document["kind"] for document in wanted}
    assert {"ClusterRole", "Role"} <= kinds
    found = [document for document in render({}) if document["kind"] in kinds]

    def by_kind(document: Document) -> str:
        return f"{document['kind']} {document['metadata']['name']}"

    assert sorted(map(unlabelled, found), key=by_kind) == sorted(wanted, key=by_kind)


def test_another_releases_rights_are_of_its_own_objects() -> None:
    values = {"operator": {"serviceAccount": {"name": "runner"}}}
    found = render(values, release="blue", namespace="gateways")
    (binding,) = of_kind(found, "RoleBinding")
    assert binding["metadata"] == binding["metadata"] | {
        "name": "blue-runestone-operator",
        "namespace": "gateways",
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "runner", "namespace": "gateways"}
    ]
    account = one(found, "ServiceAccount")["metadata"]
    assert (account["name"], account["namespace"]) == ("runner", "gateways")
    policy = one(found, "ValidatingAdmissionPolicy")
    binding = one(found, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    (condition,) = policy["spec"]["matchConditions"]
    assert "'system:serviceaccount:gateways:runner'" in condition["expression"]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_the_crds_are_those_of_the_project(keep: bool) -> None:
    text = helm("template", "crds", CRD_CHART, values={"keep": keep})
    found = {d["metadata"]["name"]: d for d in yaml.safe_load_all(text)}
    wanted = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert found.keys() == {crd["metadata"]["name"] for crd in wanted}
    for crd in wanted:
        made = found[crd["metadata"]["name"]]
        assert made["spec"] == crd["spec"]
        policy = made["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def gateway_pod(values: dict[str, Any]) -> Document:
    found = one(render(GATEWAY | values), "Deployment", "-gateway")
    pod: Document = found["spec"]["template"]
    return pod


def test_the_gateway_mounts_what_the_operator_writes() -> None:
    volumes = {volume["name"]: volume for volume in gateway_pod({})["spec"]["volumes"]}
    sources = [source["configMap"] for source in volumes["config"]["projected"]["sources"]]
    shards = [names.shard_config_map(number) for number in range(names.MAX_SHARDS)]
    assert sources == [{"name": n, "optional": True} for n in (names.CONFIG_MAP, *shards)]
    assert volumes["credentials"]["secret"]["secretName"] == names.CREDENTIALS_SECRET
    (container,) = gateway_pod({})["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {
        "config": TEXTS["config_dir"].default,
        "credentials": TEXTS["credentials_dir"].default,
    }


def test_the_gateway_is_watched_like_a_sidecar() -> None:
    assert gateway_pod({})["metadata"]["labels"][names.INJECT_LABEL] == "true"
    (container,) = gateway_pod({})["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"rs-api": names.API_PORT, "rs-health": names.HEALTH_PORT}


def test_the_gateway_ends_what_it_has_begun() -> None:
    """Those who route to it learn of its end, then it drains, and only then the grace ends."""
    spec = gateway_pod({"gateway": {"enabled": True, "drainSeconds": 100}})["spec"]
    (container,) = spec["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    wait_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert env["RUNESTONE_DRAIN_SECONDS"] == "100"
    assert spec["terminationGracePeriodSeconds"] > wait_s + 100


def test_the_sidecars_settings_are_known_to_it() -> None:
    (container,) = gateway_pod({})["spec"]["containers"]
    known = {text.variable for text in TEXTS.values()} | {n.variable for n in NUMBERS.values()}
    assert {variable["name"] for variable in container["env"]} <= known


@pytest.mark.parametrize("kind", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
def test_the_webhooks_are_those_that_the_operator_is_tested_with(kind: str) -> None:
    tested = list(yaml.safe_load_all((ROOT / "hack" / "webhook" / "operator.yaml").read_text()))

    def hooks(documents: list[Document]) -> list[Document]:
        (found,) = [document for document in documents if document["kind"] == kind]
        assert found["metadata"]["name"].startswith("runestone-")
        return [without_places(hook) for hook in found["webhooks"]]

    assert hooks(render({})) == hooks(tested)


def without_places(hook: Document) -> Document:
    """Excluded namespaces are the installation's; what a default says need not be said."""
    made: Document = {"matchPolicy": "Equivalent"} | hook
    for selector in ("namespaceSelector", "objectSelector"):
        made[selector] = requirements(hook.get(selector) or {})
    return made


def requirements(selector: Document) -> list[str]:
    labels = [f"{key} In {[value]}" for key, value in selector.get("matchLabels", {}).items()]
    expressions = [
        f"{one['key']} {one['operator']} {one.get('values', '')}".strip()
        for one in selector.get("matchExpressions", [])
        if one["key"] not in {"kubernetes.io/metadata.name", "runestone.dev/gateway"}
    ]
    return sorted([*labels, *expressions])


@pytest.mark.parametrize("mounted", [False, True], ids=["own certificate", "cert-manager"])
def test_the_operators_settings_are_read_as_they_are_meant(mounted: bool) -> None:
    values = {"webhook": {"certManager": {"enabled": mounted}}, "sidecar": {"env": [{"name": "A"}]}}
    operator = one(render(values, namespace="gateways"), "Deployment", "-operator")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value", "gateways") for variable in container["env"]}

    webhook = read_settings(env).webhook

    assert webhook is not None
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["webhook"] == webhook.port
    assert (webhook.cert_dir is not None) is mounted
    assert webhook.mutating == "runestone-injector"
    assert webhook.sidecar.env[-1] == {"name": "A"}
    assert webhook.sidecar.resources["limits"]["memory"]
    assert webhook.sidecar.nats_url.startswith("nats://")


def test_G14_the_gateway_cannot_reach_a_clouds_metadata() -> None:
    spec = one(render(GATEWAY), "NetworkPolicy", "-gateway")["spec"]
    peers, names_only = spec["egress"]
    blocks = [peer["ipBlock"] for peer in peers["to"] if "ipBlock" in peer]
    for metadata in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254"):
        address = ip_address(metadata)
        within = [block for block in blocks if address in ip_network(block["cidr"])]
        assert within
        assert all(any(address in ip_network(e) for e in block["except"]) for block in within)
    assert {port["port"] for port in names_only["ports"]} == {53}
