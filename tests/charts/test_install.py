"""The charts on a real API server: accepted as they are, installed, upgraded, and gone again."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from runestone_testing.charts import (
    CHART,
    CRD_CHART,
    NAMESPACE,
    RELEASE,
    HelmError,
    combinations,
    helm,
    merged,
    one,
    render,
)
from runestone_testing.kube import ApiServer, KubeToolsMissingError
from runestone_testing.operators import Cluster, OperatorProcess, eventually
from runestone_testing.resources import key, pool, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runestone_testing.charts import Document, Values

pytestmark = pytest.mark.kube

# Their CRDs are not there.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
CRDS = tuple(f"{kind}.runestone.dev" for kind in ("apikeys", "providerpools", "routingpolicies"))
PLAIN = {"monitoring": {"scrapeConfig": {"enabled": True}, "dashboard": {"enabled": True}}}
EVERYTHING = merged(
    PLAIN,
    {
        "operator": {"replicas": 2},
        "gateway": {"enabled": True, "autoscaling": {"enabled": True}},
    },
)


class Release:
    """Helm as an administrator of a cluster of its own."""

    def __init__(self, api: ApiServer, home: Path) -> None:
        self.api = api
        self._env = {"KUBECONFIG": str(api.kubeconfig()), "HOME": str(home)}

    def helm(self, *arguments: str | Path, values: Values | None = None) -> str:
        return helm(*arguments, "--namespace", NAMESPACE, values=values, env=self._env)

    def kubectl(self, *arguments: str, documents: list[Document] | None = None) -> str:
        given = {"apiVersion": "v1", "kind": "List", "items": documents}
        text = None if documents is None else json.dumps(given)
        done = self.api.kubectl(*arguments, input=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def everything(self) -> set[str]:
        """All objects that there are, but what the API server makes for itself at any time."""
        kinds = set(self.kubectl("api-resources", "--verbs=list", "-o", "name").split())
        kinds -= {"events", "events.events.k8s.io"}
        kinds -= {"apiservices.apiregistration.k8s.io"}  # follow the CRDs
        listed = json.loads(self.kubectl("get", ",".join(sorted(kinds)), "-A", "-o", "json"))
        return {
            f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
            for item in listed["items"]
            if (item["kind"], item["metadata"].get("namespace")) != ("Lease", "kube-system")
        }


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    try:
        api = ApiServer()
    except KubeToolsMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with api:
        made = Release(api, tmp_path_factory.mktemp("home"))
        for name in (NAMESPACE, "models"):
            made.kubectl("create", "namespace", name)
            # A pod that may do more than "restricted" lets it is warned of
            made.kubectl("label", "ns", name, "pod-security.kubernetes.io/warn=restricted")
        yield made


@pytest.fixture
def clean(release: Release) -> Iterator[Release]:
    """For tests that install: the CRDs that an uninstall keeps go before the next."""
    yield release
    release.kubectl("delete", "crd", "--ignore-not-found", *CRDS)
    eventually("the CRDs are gone", lambda: crds_are_gone(release))


@pytest.mark.parametrize("name", list(combinations()))
def test_the_api_server_accepts_every_object_without_a_warning(release: Release, name: str) -> None:
    found = render(combinations()[name])
    known = [document for document in found if not document["apiVersion"].startswith(FOREIGN)]
    how = ("--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors")
    answer = release.kubectl("apply", *how, "-f", "-", documents=known)
    assert len(answer.splitlines()) == len(known)


def crds_are_gone(release: Release) -> bool:
    return "runestone.dev" not in release.kubectl("get", "crds", "-o", "name")


def test_install_upgrade_uninstall_leaves_the_crds_alone(clean: Release) -> None:
    before = clean.everything()
    notes = clean.helm("install", RELEASE, CHART, values=PLAIN)
    assert f"kubectl -n {NAMESPACE} rollout status deployment/runestone-operator" in notes
    installed = clean.everything() - before

    clean.helm("upgrade", RELEASE, CHART, values=EVERYTHING)
    upgraded = clean.everything() - before
    assert {f"Deployment {NAMESPACE}/runestone-gateway"} <= upgraded - installed

    clean.helm("upgrade", RELEASE, CHART, values=PLAIN)
    again = {name for name in clean.everything() - before if not name.startswith("Secret")}
    assert again == {name for name in installed if not name.startswith("Secret")}

    told = clean.helm("uninstall", RELEASE)
    left = clean.everything() - before
    assert {name.partition(" ")[0] for name in left} == {"CustomResourceDefinition"}
    assert len(left) == 3
    assert all(name.partition("/")[2] in told for name in left)


def test_an_upgrade_loses_no_job_by_another_number_of_servers(clean: Release) -> None:
    three: Values = {"nats": {"replicas": 3}}
    clean.helm("install", RELEASE, CHART)
    with pytest.raises(HelmError, match=r"nats\.replicas cannot go from 1 to 3"):
        clean.helm("upgrade", RELEASE, CHART, values=three)
    clean.kubectl("-n", NAMESPACE, "scale", "statefulset/runestone-nats", "--replicas=0")
    clean.helm("upgrade", RELEASE, CHART)
    clean.kubectl("-n", NAMESPACE, "delete", "statefulset", "runestone-nats")
    clean.helm("upgrade", RELEASE, CHART, values=three)
    with pytest.raises(HelmError, match=r"nats\.replicas cannot go from 3 to 1"):
        clean.helm("upgrade", RELEASE, CHART, values={"nats": {"replicas": 1}})
    clean.helm("uninstall", RELEASE)


def test_kept_crds_are_taken_up_by_the_next_install(clean: Release) -> None:
    clean.helm("install", RELEASE, CHART)
    with pytest.raises(HelmError, match="exists and cannot be imported"):
        clean.helm("install", "other", CRD_CHART)
    clean.helm("uninstall", RELEASE)
    clean.helm("install", RELEASE, CHART)
    clean.helm("uninstall", RELEASE)


def test_D12_the_charts_go_in_any_order_with_the_operator_down(clean: Release) -> None:
    """Nothing of ours has a finalizer, so nothing waits for an operator that is not there."""
    before = clean.everything()
    clean.helm("install", "crds", CRD_CHART, values={"keep": False})
    clean.helm("install", RELEASE, CHART, values={"crds": {"enabled": False}})
    pool = {"name": "openai", "type": "OpenAI", "models": [{"name": "gpt-4o-mini"}]}
    pool |= {"credentials": [{"secretRef": {"name": "openai", "key": "api-key"}}]}
    for kind, spec in (("ProviderPool", {"providers": [pool]}), ("ApiKey", {"tenant": "t"})):
        document = {
            "apiVersion": "runestone.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "a", "namespace": "models"},
            "spec": spec,
        }
        eventually("it is served", lambda: apply_is_taken(clean, document))  # noqa: B023
    clean.helm("uninstall", "crds")  # the wrong order: the operator would still want them
    eventually("the CRDs are gone", lambda: crds_are_gone(clean))
    clean.helm("uninstall", RELEASE)
    assert clean.everything() - before == set()


def apply_is_taken(release: Release, document: Document) -> bool:
    done = release.api.kubectl("apply", "-f", "-", input=json.dumps(document))
    return done.returncode == 0


def test_an_upgrade_leaves_what_the_operator_wrote_into_the_webhooks(clean: Release) -> None:
    clean.helm("install", RELEASE, CHART)
    kinds = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
    names = ("runestone-injector", "runestone-validation")
    for kind, name in zip(kinds, names, strict=True):
        found = json.loads(clean.kubectl("get", kind, name, "-o", "json"))
        told = [{"name": h["name"], "clientConfig": {"caBundle": CA}} for h in found["webhooks"]]
        partial = {key: found[key] for key in ("apiVersion", "kind")} | {
            "metadata": {"name": name},
            "webhooks": told,
        }
        how = ("--server-side", "--validate=false", "--field-manager=runestone-operator", "-f", "-")
        clean.kubectl("apply", *how, documents=[partial])
    clean.helm("upgrade", RELEASE, CHART, values={"webhook": {"timeoutSeconds": 7}})
    for kind, name in zip(kinds, names, strict=True):
        found = json.loads(clean.kubectl("get", kind, name, "-o", "json"))
        assert {hook["timeoutSeconds"] for hook in found["webhooks"]} == {7}
        assert {hook["clientConfig"].get("caBundle") for hook in found["webhooks"]} == {CA}
    clean.helm("uninstall", RELEASE)


def test_the_commands_of_the_notes_leave_nothing_at_all(
    clean: Release, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The operator runs meanwhile, as the chart starts it and with the rights that it gives."""
    before = clean.everything()
    notes = clean.helm("install", RELEASE, CHART)
    cluster = Cluster(clean.api)
    request.addfinalizer(cluster.client.close)
    operator = one(render({}), "Deployment", "-operator")["spec"]["template"]["spec"]
    env = {each["name"]: each.get("value", NAMESPACE) for each in operator["containers"][0]["env"]}
    env |= {"WEBHOOK_PORT": "0"}
    with OperatorProcess(cluster, tmp_path / "log", env=env) as process:
        process.wait_until_ready()
        for document in (secret("models"), pool("models"), key("models")):
            cluster.apply(document)
        eventually("it is published", lambda: cluster.is_published("models"))
        eventually("the webhooks are told whom to trust", lambda: has_bundle(clean))
        assert [line for line in process.lines() if "(403)" in str(line)] == []
    clean.helm("uninstall", RELEASE)
    assert clean.everything() - before != set()

    left_on_purpose = notes.partition("What is left then, on purpose:")[2]
    commands = re.findall(r"^ +kubectl (.+)$", left_on_purpose, re.M)
    assert len(commands) == 4
    for command in commands:
        clean.kubectl(*command.split())
    cluster.delete("Secret", "models", "openai")
    # Nobody collects here what has an owner that is gone: these are the ApiKey's.
    owned = {"Secret models/client-api-key"}
    eventually("nothing is left", lambda: clean.everything() - before <= owned)
    cluster.delete("Secret", "models", "client-api-key")


def has_bundle(release: Release) -> bool:
    found = release.kubectl(
        "get", "mutatingwebhookconfigurations", RELEASE + "-injector", "-o", "json"
    )
    return all(hook["clientConfig"].get("caBundle") for hook in json.loads(found)["webhooks"])


CA = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"
