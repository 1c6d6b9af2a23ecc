"""Which pods get a sidecar, which are refused, and in what words."""

from __future__ import annotations

from typing import Any

import pytest

from runestone_contract.names import NO_KEY
from runestone_operator.inject.facts import Admitted, Facts, KeySource, Kind, Refused
from runestone_operator.inject.inject import inject
from runestone_operator.settings import SidecarSettings

SETTINGS = SidecarSettings("runestone-sidecar")
KEY = KeySource("shop-api-key", "api-key")
WITH_KEY = Facts(key=KEY)
BY_NAMESPACE = Facts(asks=True, key=KEY)
Document = dict[str, Any]


def pod(
    label: str | None = "true", *, annotations: Document | None = None, **spec: Any
) -> Document:
    return {
        "metadata": {
            "name": "shop",
            "labels": {} if label is None else {"runestone.dev/inject": label},
            "annotations": annotations or {},
        },
        "spec": {"containers": [{"name": "app", "image": "shop"}]} | spec,
    }


def admitted(document: Document, facts: Facts = WITH_KEY) -> Admitted:
    outcome = inject(document, facts, SETTINGS)
    assert isinstance(outcome, Admitted)
    return outcome


def refusal(document: Document, facts: Facts = WITH_KEY) -> str:
    outcome = inject(document, facts, SETTINGS)
    assert isinstance(outcome, Refused)
    return outcome.reason


def env_of(made: Admitted, container: str = "app") -> dict[str, Any]:
    every = [*made.pod["spec"]["containers"], *made.pod["spec"]["initContainers"]]
    (found,) = [one for one in every if one["name"] == container]
    return {variable["name"]: variable for variable in found.get("env", ())}


def listening(port: int, **more: Any) -> Document:
    ports = [{"containerPort": port, "protocol": "TCP"} | more]
    return {"name": "web", "image": "web", "ports": ports}


UNFIT = [
    pytest.param({"hostNetwork": True}, "hostNetwork", id="host network"),
    pytest.param({"os": {"name": "windows"}}, "Windows", id="Windows by os"),
    pytest.param(
        {"nodeSelector": {"kubernetes.io/os": "windows"}}, "Windows", id="Windows by node"
    ),
    pytest.param({"containers": [listening(4003)]}, "container web uses port 4003", id="API port"),
    pytest.param({"containers": [listening(4004)]}, "uses port 4004", id="health port"),
    pytest.param(
        {"initContainers": [listening(4005)]}, "uses port 4005", id="in an init container"
    ),
    pytest.param(
        {"volumes": [{"name": "runestone-config", "emptyDir": {}}]}, "runestone-config", id="volume"
    ),
]


@pytest.mark.parametrize(("spec", "words"), UNFIT)
def test_a_pod_that_asks_and_cannot_is_refused(spec: Document, words: str) -> None:
    assert words in refusal(pod(**spec))


@pytest.mark.parametrize(("spec", "words"), UNFIT)
def test_what_its_namespace_asks_for_it_goes_without_and_says_so(
    spec: Document, words: str
) -> None:
    made = admitted(pod(None, **spec), BY_NAMESPACE)
    assert made.kind is Kind.SKIPPED
    assert words in made.pod["metadata"]["annotations"]["runestone.dev/not-injected"]
    assert words in made.warnings[0]
    assert made.pod["spec"] == pod(None, **spec)["spec"]


@pytest.mark.parametrize(
    ("label", "facts"),
    [
        pytest.param(None, WITH_KEY, id="nobody asks"),
        pytest.param("false", BY_NAMESPACE, id="it says otherwise than its namespace"),
        pytest.param("false", WITH_KEY, id="it says no"),
    ],
)
def test_who_does_not_ask_is_left_alone(label: str | None, facts: Facts) -> None:
    document = pod(label)
    assert admitted(document, facts) == Admitted(Kind.UNCHANGED, document)


def test_a_copy_of_a_static_pod_is_left_alone() -> None:
    document = pod(annotations={"kubernetes.io/config.mirror": "x"})
    assert admitted(document).kind is Kind.UNCHANGED


@pytest.mark.parametrize("label", ["yes", "True", ""])
def test_a_label_that_says_nothing_is_refused(label: str) -> None:
    assert 'must be "true" or "false"' in refusal(pod(label))


def test_a_namespace_that_asks_has_its_pods_labelled_for_the_watch() -> None:
    made = admitted(pod(None), BY_NAMESPACE)
    assert made.kind is Kind.INJECTED
    assert made.pod["metadata"]["labels"]["runestone.dev/inject"] == "true"


@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_a_sidecar_of_its_own_is_left_alone(where: str) -> None:
    own: Document = {where: [{"name": "runestone", "image": "mine"}]}
    document = pod(**own)
    made = admitted(document)
    assert (made.kind, made.pod) == (Kind.UNCHANGED, document)
    assert "is there already" in made.warnings[0]


def test_a_pod_without_a_key_is_refused() -> None:
    reason = refusal(pod(serviceAccountName="till"), Facts())
    assert "runestone.dev/api-key" in reason
    assert "till" in reason


def test_a_container_that_brings_its_key_needs_no_annotation() -> None:
    own = {"name": "app", "image": "shop", "env": [{"name": "OPENAI_API_KEY", "value": "sk-x"}]}
    made = admitted(pod(containers=[own]), Facts())
    assert env_of(made)["OPENAI_API_KEY"]["value"] == "sk-x"


def test_a_namespaces_pod_may_have_no_key_and_is_warned() -> None:
    made = admitted(pod(None), Facts(asks=True))
    assert made.kind is Kind.INJECTED
    assert "requests to models will be refused" in made.warnings[0]
    assert env_of(made)["OPENAI_API_KEY"]["value"] == NO_KEY


def test_a_pod_known_by_its_service_account_sends_no_key() -> None:
    made = admitted(pod(), Facts(account_has_key=True))
    assert env_of(made)["OPENAI_API_KEY"]["value"] == NO_KEY
    assert env_of(made)["ANTHROPIC_API_KEY"]["value"] == NO_KEY
    assert made.warnings == ()


def test_a_key_that_is_not_there_yet_is_waited_for() -> None:
    made = admitted(pod(), Facts(key=KeySource("shop-api-key", "api-key", is_known=False)))
    reference = env_of(made)["OPENAI_API_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "shop-api-key", "key": "api-key"}  # not optional: kubelet waits
    assert "does not exist (yet)" in made.warnings[0]


@pytest.mark.parametrize("name", ["Shop", "a b", "-a", "a" * 64, "../x"])
def test_a_key_that_can_be_no_name_is_refused(name: str) -> None:
    document = pod(annotations={"runestone.dev/api-key": name})
    assert "must be the name of an ApiKey" in refusal(document)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("memory-limit", "16Mi"),
        ("memory-limit", "1Ti"),
        ("memory-request", "much"),
        ("cpu-limit", "1000"),
        ("cpu-request", "-1"),
        ("cpu-request", "1e3"),
        ("log-level", "loud"),
    ],
)
def test_annotations_out_of_reason_are_refused(annotation: str, value: str) -> None:
    document = pod(annotations={f"runestone.dev/{annotation}": value})
    assert f"runestone.dev/{annotation} must be" in refusal(document)


@pytest.mark.parametrize(
    ("annotations", "resources"),
    [
        pytest.param(
            {"runestone.dev/memory-request": "1Gi"},
            {"requests": {"cpu": "50m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            id="a request above the limit raises it",
        ),
        pytest.param(
            {"runestone.dev/memory-limit": "64Mi", "runestone.dev/cpu-limit": "1"},
            {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": "64Mi", "cpu": "1"},
            },
            id="a limit below the request lowers it",
        ),
    ],
)
def test_annotations_change_resources(annotations: Document, resources: Document) -> None:
    sidecar = admitted(pod(annotations=annotations)).pod["spec"]["initContainers"][0]
    assert sidecar["resources"] == resources


@pytest.mark.parametrize("field", ["shareProcessNamespace", "hostPID"])
def test_who_shares_processes_is_warned(field: str) -> None:
    shared: Document = {field: True}
    assert "may read the sidecar's files" in admitted(pod(**shared)).warnings[0]


def test_a_key_never_goes_to_another_address() -> None:
    env = [{"name": "OPENAI_BASE_URL", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
    made = admitted(pod(containers=[{"name": "app", "image": "shop", "env": env}]))
    assert "OPENAI_API_KEY" not in env_of(made)
    assert "ANTHROPIC_API_KEY" in env_of(made)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"A": "b"}, {}, id="no proxy"),
        pytest.param(
            {"HTTP_PROXY": "http://p"}, {"NO_PROXY": "localhost", "no_proxy": "localhost"}, id="all"
        ),
        pytest.param(
            {"http_proxy": "http://p", "NO_PROXY": "a.b, .c"},
            {"NO_PROXY": "a.b,.c,localhost"},
            id="all but some",
        ),
        pytest.param(
            {"ALL_PROXY": "http://p", "no_proxy": "x,localhost"},
            {"no_proxy": "x,localhost"},
            id="said already",
        ),
        pytest.param({"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, {"NO_PROXY": "*"}, id="none"),
    ],
)
def test_the_sidecar_is_behind_no_proxy(given: Document, expected: Document) -> None:
    env = [{"name": name, "value": value} for name, value in given.items()]
    made = admitted(pod(containers=[{"name": "app", "image": "shop", "env": env}]))
    found = {name: one.get("value") for name, one in env_of(made).items()}
    assert {name: found[name] for name in ("NO_PROXY", "no_proxy") if name in found} == expected
    assert admitted(dict(made.pod)).pod == made.pod


def test_the_sidecar_starts_before_all_others() -> None:
    made = admitted(pod(initContainers=[{"name": "migrate", "image": "shop"}]))
    names = [container["name"] for container in made.pod["spec"]["initContainers"]]
    assert names == ["runestone", "migrate"]
    assert "OPENAI_BASE_URL" in env_of(made, "migrate")


def test_nothing_given_is_changed() -> None:
    document = pod(initContainers=[{"name": "migrate", "image": "shop"}])
    before = repr(document)
    admitted(document)
    assert repr(document) == before
