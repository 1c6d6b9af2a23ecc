"""Injecting again changes nothing, and undoes nothing that others did in between."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_operator.inject.facts import Admitted, Facts, KeySource, Kind
from runestone_operator.inject.inject import inject
from runestone_operator.settings import SidecarSettings

SETTINGS = SidecarSettings("runestone-sidecar:1", nats_url="nats://nats:4222")
LATER = SidecarSettings("runestone-sidecar:2")
KEY = KeySource("shop-api-key", "api-key")
Document = dict[str, Any]

names = st.sampled_from(["app", "web", "migrate", "istio-proxy", "runestone"])
variables = st.builds(
    lambda name, value: {"name": name, "value": value},
    st.sampled_from(
        [
            "OPENAI_BASE_URL",
            "OPENAI_API_KEY",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_AUTH_TOKEN",
            "HTTP_PROXY",
            "NO_PROXY",
        ]
    ),
    st.sampled_from(["", "x", "http://localhost:4003/v1"]),
)
containers = st.builds(
    lambda name, env, ports: {"name": name, "image": "i", "env": env, "ports": ports},
    names,
    st.lists(variables, max_size=4),
    st.lists(st.sampled_from([{"containerPort": 80}, {"containerPort": 4003}]), max_size=1),
)


def lists_of(least: int) -> st.SearchStrategy[list[Document]]:
    return st.lists(containers, min_size=least, max_size=3, unique_by=lambda one: one["name"])


pods = st.builds(
    lambda labels, annotations, spec: {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": spec,
    },
    st.sampled_from(
        [None, {}, {"runestone.dev/inject": "true"}, {"runestone.dev/inject": "false"}]
    ),
    st.sampled_from(
        [
            None,
            {"runestone.dev/api-key": "shop"},
            {"runestone.dev/injected": "0"},
            {"runestone.dev/memory-limit": "128Mi", "a": "b"},
        ]
    ),
    st.fixed_dictionaries(
        {"containers": lists_of(1)},
        optional={
            "initContainers": lists_of(0),
            "volumes": st.sampled_from([[{"name": "a"}], [{"name": "runestone-config"}]]),
            "terminationGracePeriodSeconds": st.integers(0, 10_000),
            "hostNetwork": st.booleans(),
        },
    ),
)
facts = st.builds(
    Facts, asks=st.booleans(), key=st.sampled_from([None, KEY]), account_has_key=st.booleans()
)


@given(pod=pods, facts=facts)
def test_injecting_again_changes_nothing(pod: Document, facts: Facts) -> None:
    once = inject(pod, facts, SETTINGS)
    if isinstance(once, Admitted):
        twice = inject(once.pod, facts, SETTINGS)
        assert isinstance(twice, Admitted)
        assert twice.pod == once.pod


def plain() -> Document:
    return {
        "metadata": {"labels": {"runestone.dev/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "shop"}]},
    }


def injected(pod: Any, settings: SidecarSettings = SETTINGS) -> Document:
    outcome = inject(pod, Facts(key=KEY), settings)
    assert isinstance(outcome, Admitted)
    assert outcome.kind is Kind.INJECTED
    return copy.deepcopy(dict(outcome.pod))


def test_what_other_webhooks_did_to_the_sidecar_stays() -> None:
    pod = injected(plain())
    pod["spec"]["initContainers"][0]["image"] = "mirror.example/runestone-sidecar:1"
    pod["spec"]["initContainers"].insert(0, {"name": "istio-proxy", "image": "istio"})
    pod["spec"]["volumes"].insert(0, {"name": "istio-token"})

    again = injected(pod)

    images = [one["image"] for one in again["spec"]["initContainers"]]
    assert images == ["istio", "mirror.example/runestone-sidecar:1"]
    assert again["spec"]["volumes"] == pod["spec"]["volumes"]
    assert "env" in again["spec"]["initContainers"][0]  # it came later, and may use the gateway


@pytest.mark.parametrize("change", ["settings", "annotation"])
def test_a_pod_copied_from_one_of_another_time_gets_the_sidecar_of_today(change: str) -> None:
    pod = injected(plain())
    if change == "annotation":
        pod["metadata"]["annotations"]["runestone.dev/log-level"] = "debug"
    settings = LATER if change == "settings" else SETTINGS

    again = injected(pod, settings)

    assert again["spec"]["initContainers"] != pod["spec"]["initContainers"]
    assert len(again["spec"]["initContainers"]) == 1
    assert again["spec"]["volumes"] == pod["spec"]["volumes"]
    assert injected(again, settings) == again


def test_the_mark_alone_is_no_sidecar() -> None:
    pod = plain()
    pod["metadata"]["annotations"] = dict(injected(plain())["metadata"]["annotations"])
    assert injected(pod)["spec"] == injected(plain())["spec"]
