"""From published to programmed: sidecars are woken and asked, and conditions say how far it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.canonical import credentials_digest, digest
from runestone_testing.operators import Cluster, DidNotHappenError, OperatorProcess, eventually
from runestone_testing.resources import key, pod, policy, pool, secret
from runestone_testing.sidecar_health import HealthEndpoint, HealthEndpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("operator")]

CONFIG = "runestone.dev/config"
CREDENTIALS = "runestone.dev/credentials"


@pytest.fixture(scope="module")
def endpoints() -> Iterator[HealthEndpoints]:
    with HealthEndpoints() as made:
        yield made


@pytest.fixture(scope="module")
def operator_env(endpoints: HealthEndpoints) -> dict[str, str]:
    return {"RUNESTONE_SIDECAR_PORT": str(endpoints.port)}


class Namespace:
    """With resources, and pods whose sidecars are endpoints of the test."""

    def __init__(self, cluster: Cluster, name: str, endpoints: HealthEndpoints) -> None:
        self.cluster = cluster
        self.name = name
        self._endpoints = endpoints
        self.sidecars: list[HealthEndpoint] = []

    def add_pod(self, name: str, *, phase: str = "Running", inject: str = "true") -> HealthEndpoint:
        endpoint = self._endpoints.take()
        self.cluster.apply(pod(self.name, name, inject=inject))
        status = {"phase": phase, "podIP": endpoint.ip, "podIPs": [{"ip": endpoint.ip}]}
        document = {"kind": "Pod", "metadata": {"namespace": self.name, "name": name}}
        self.cluster.apply(document | {"status": status}, subresource="/status")
        self.sidecars.append(endpoint)
        return endpoint

    @property
    def digest(self) -> str:
        return str(json.loads(self.cluster.files(self.name)["index.json"])["digest"])

    @property
    def credentials(self) -> str:
        values = self.cluster.secret_values(self.name, "runestone-credentials")
        return credentials_digest({entry: digest(value) for entry, value in values.items()})

    def wait_until_published(self) -> None:
        eventually("published", lambda: self.cluster.is_published(self.name))

    def catch_up(self, *sidecars: HealthEndpoint) -> None:
        for sidecar in sidecars or self.sidecars:
            sidecar.runs(self.digest, self.credentials)

    def programmed(self, kind: str, name: str) -> tuple[str, str, str]:
        found = self.cluster.conditions(kind, self.name, name).get("Programmed", {})
        return (found.get("status", ""), found.get("reason", ""), found.get("message", ""))

    def wait_for(self, kind: str, name: str, *said: str) -> None:
        try:
            eventually("", lambda: self.programmed(kind, name) == said)
        except DidNotHappenError:
            assert self.programmed(kind, name) == said

    def annotations(self, pod_name: str) -> dict[str, str]:
        found = self.cluster.get("Pod", self.name, pod_name) or {}
        annotations: dict[str, str] = found["metadata"].get("annotations", {})
        return annotations


@pytest.fixture
def place(cluster: Cluster, namespace: str, endpoints: HealthEndpoints) -> Namespace:
    return Namespace(cluster, namespace, endpoints)


def test_programmed_means_that_every_sidecar_runs_it(place: Namespace) -> None:
    for name in ("a", "b", "c"):
        place.add_pod(name)
    for document in (secret(place.name), pool(place.name), policy(place.name), key(place.name)):
        place.cluster.apply(document)
    place.wait_until_published()
    short = place.digest[:12]
    place.wait_for(
        "ApiKey", "client", "False", "Waiting", f"0/3 sidecars at {short}…; 3 did not answer"
    )

    place.catch_up(*place.sidecars[:2])
    place.wait_for(
        "ApiKey", "client", "False", "Waiting", f"2/3 sidecars at {short}…; 1 did not answer"
    )

    place.catch_up()
    said = ("True", "Programmed", f"3/3 sidecars at {short}…")
    for kind, name in (("ApiKey", "client"), ("ProviderPool", "pool"), ("RoutingPolicy", "policy")):
        place.wait_for(kind, name, *said)
    status = (place.cluster.get("ApiKey", place.name, "client") or {})["status"]
    assert (status["sidecars"], status["digest"]) == ("3/3", short)


def test_pods_are_woken_by_the_digest(place: Namespace, operator: OperatorProcess) -> None:
    sidecar = place.add_pod("a")
    place.cluster.apply(pool(place.name))
    place.cluster.apply(secret(place.name))
    place.wait_until_published()

    def marks() -> bool:
        annotations = place.annotations("a")
        return annotations.get(CONFIG) == place.digest and (
            annotations.get(CREDENTIALS) == place.credentials
        )

    eventually("woken", marks)
    woken, asked = operator.metric(WAKINGS), sidecar.asked
    eventually("asked again and again", lambda: sidecar.asked > asked + 2)
    assert operator.metric(WAKINGS) == woken  # once is enough
    config, credentials = place.digest, place.credentials

    place.cluster.apply(secret(place.name, api_key="sk-rotated-0123456789"))

    def marked_anew() -> bool:
        return credentials != place.credentials and marks()

    eventually("woken for the credentials alone", marked_anew)
    assert place.digest == config


def test_a_pod_that_stays_behind_is_woken_once_more(place: Namespace) -> None:
    """Its kubelet may have looked before it knew what was written."""
    current, behind, silent = place.add_pod("a"), place.add_pod("b"), place.add_pod("c")
    assert silent.answer is None
    place.cluster.apply(key(place.name))
    place.wait_until_published()
    place.catch_up(current)
    behind.runs("older", place.credentials)

    eventually("woken again", lambda: WOKEN in place.annotations("b"))

    assert WOKEN not in place.annotations("a")
    assert WOKEN not in place.annotations("c")


WOKEN = "runestone.dev/woken-at"
WAKINGS = 'runestone_operator_api_requests_total{kind="Pod",outcome="success",verb="annotate"}'


def test_a_change_of_one_resource_says_nothing_of_the_others(place: Namespace) -> None:
    (sidecar,) = [place.add_pod("a")]
    for document in (secret(place.name), pool(place.name), key(place.name)):
        place.cluster.apply(document)
    place.wait_until_published()
    place.catch_up()
    for kind, name in (("ApiKey", "client"), ("ProviderPool", "pool")):
        place.wait_for(kind, name, "True", "Programmed", f"1/1 sidecars at {place.digest[:12]}…")
    before = place.cluster.conditions("ProviderPool", place.name, "pool")

    place.cluster.apply(key(place.name, enabled=False))
    place.wait_until_published()
    place.wait_for("ApiKey", "client", "False", "Waiting", f"0/1 sidecars at {place.digest[:12]}…")
    assert place.cluster.conditions("ProviderPool", place.name, "pool") == before

    place.catch_up(sidecar)
    place.wait_for(
        "ApiKey", "client", "True", "Programmed", f"1/1 sidecars at {place.digest[:12]}…"
    )
    generation = place.cluster.conditions("ApiKey", place.name, "client")["Programmed"]
    assert generation["observedGeneration"] == 2


def test_a_pool_waits_for_its_credentials(place: Namespace) -> None:
    place.add_pod("a")
    place.cluster.apply(secret(place.name))
    place.cluster.apply(pool(place.name))
    place.wait_until_published()
    place.catch_up()
    done = ("True", "Programmed", f"1/1 sidecars at {place.digest[:12]}…")
    place.wait_for("ProviderPool", "pool", *done)

    place.cluster.apply(secret(place.name, api_key="sk-rotated-0123456789"))
    place.wait_for(
        "ProviderPool", "pool", "False", "Waiting", f"0/1 sidecars at {place.digest[:12]}…"
    )

    place.catch_up()
    place.wait_for("ProviderPool", "pool", *done)


def test_a_pod_that_starts_later_does_not_undo_it(place: Namespace) -> None:
    place.add_pod("a")
    place.cluster.apply(key(place.name))
    place.wait_until_published()
    place.catch_up()
    short = place.digest[:12]
    place.wait_for("ApiKey", "client", "True", "Programmed", f"1/1 sidecars at {short}…")
    before = place.cluster.conditions("ApiKey", place.name, "client")

    later = place.add_pod("b")
    eventually("it is asked", lambda: later.asked > 2)
    assert place.cluster.conditions("ApiKey", place.name, "client") == before

    place.catch_up(later)
    place.wait_for("ApiKey", "client", "True", "Programmed", f"2/2 sidecars at {short}…")


def test_only_running_pods_with_a_sidecar_count(place: Namespace) -> None:
    place.add_pod("runs")
    pending = place.add_pod("pending", phase="Pending")
    other = place.add_pod("other", inject="false")
    place.cluster.apply(key(place.name))
    place.wait_until_published()
    place.catch_up(place.sidecars[0])

    short = place.digest[:12]
    place.wait_for("ApiKey", "client", "True", "Programmed", f"1/1 sidecars at {short}…")
    assert (pending.asked, other.asked) == (0, 0)
    assert CONFIG not in place.annotations("other")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"answer": b"{" * 10_000_000}, id="endless"),
        pytest.param({"answer": b'{"digest": "x", "pad": "%b"}' % (b"x" * 5000)}, id="too long"),
        pytest.param({"answer": b'{"digest": "%b"}' % (b"x" * 65)}, id="no digest"),
        pytest.param({"answer": b"[]"}, id="list"),
        pytest.param({"answer": b"<html>"}, id="html"),
        pytest.param({"answer": b'{"digest": 5}'}, id="number"),
        pytest.param({"answer": b'{"digest": null}'}, id="no configuration yet"),
        pytest.param({"answer": b"{}", "status": 500}, id="failure"),
        pytest.param(
            {"answer": b"", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
            id="redirect",
        ),
    ],
)
def test_a_senseless_answer_is_none(
    place: Namespace, answer: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    place = Namespace(place.cluster, place.name, request.getfixturevalue("endpoints"))
    endpoint = SHARED.get(place.name) or SHARED.setdefault(place.name, place.add_pod("a"))
    endpoint.answer, endpoint.status, endpoint.headers = None, 200, {}
    place.cluster.apply(key(place.name, displayName=f"{hash(str(answer))}"))
    for name, value in answer.items():
        setattr(endpoint, name, value)
    asked = endpoint.asked

    eventually("asked", lambda: endpoint.asked > asked + 2)
    place.wait_until_published()

    short = place.digest[:12]
    place.wait_for(
        "ApiKey", "client", "False", "Waiting", f"0/1 sidecars at {short}…; 1 did not answer"
    )


SHARED: dict[str, HealthEndpoint] = {}  # one address serves all parameters


def test_sidecars_that_run_on_learn_that_nobody_is_let_in(place: Namespace) -> None:
    place.add_pod("a")
    place.cluster.apply(key(place.name))
    place.wait_until_published()

    place.cluster.delete("ApiKey", place.name, "client")

    eventually("no key", lambda: place.cluster.is_without_keys(place.name))
    place.wait_until_published()

    place.cluster.client.delete(
        place.cluster.path("Pod", place.name, "a"), params={"gracePeriodSeconds": 0}
    )
    eventually("all is gone", lambda: not place.cluster.files(place.name))


def test_a_shared_pool_is_programmed_when_its_users_run_it(
    place: Namespace, cluster: Cluster, endpoints: HealthEndpoints
) -> None:
    user = Namespace(
        cluster, cluster.create_namespace(f"{place.name}-user", uses="shared"), endpoints
    )
    user.add_pod("a")
    sharing = {"namespaces": "Selector", "selector": {"matchLabels": {"uses": "shared"}}}
    for document in (secret(place.name), pool(place.name, sharing=sharing)):
        cluster.apply(document)
    cluster.apply(policy(user.name, to=f"{place.name}/pool"))
    user.wait_until_published()
    eventually("waiting", lambda: place.programmed("ProviderPool", "pool")[1] == "Waiting")

    user.catch_up()

    eventually("programmed", lambda: place.programmed("ProviderPool", "pool")[0] == "True")
    assert place.programmed("ProviderPool", "pool")[2].startswith("1/1 sidecars")


def test_transitions_make_events_and_nothing_else_does(place: Namespace) -> None:
    place.cluster.apply(pool(place.name))
    place.wait_until_published()

    def events() -> list[tuple[str, str, str]]:
        return [
            (item["type"], item["reason"], item["note"])
            for item in sorted(
                place.cluster.list("Event", place.name), key=lambda item: str(item["eventTime"])
            )
        ]

    missing = (
        "Warning",
        "SecretNotFound",
        'ResolvedRefs=False: provider "main": Secret "openai" is not found',
    )
    eventually("told", lambda: events() == [missing])

    place.cluster.apply(pool(place.name, strategy="Random"))
    place.wait_until_published()
    place.cluster.quiet_versions(place.name)
    assert events() == [missing]

    place.cluster.apply(secret(place.name))
    found = ("Normal", "ResolvedRefs", "ResolvedRefs=True: every reference is found and allowed")
    eventually("told", lambda: set(events()) == {missing, found})
    (regarding,) = {
        (item["regarding"]["kind"], item["regarding"]["name"])
        for item in place.cluster.list("Event", place.name)
    }
    assert regarding == ("ProviderPool", "pool")
