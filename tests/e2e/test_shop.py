"""A shop from nothing to uninstalled, as its platform team and its developers see it.

The tests go on from each other, in their order. RUNESTONE_E2E_REQUESTS is how many requests each
trial under load takes at least (600), RUNESTONE_E2E_AWAY_S for how long the operator and the API
server are away (10).
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from runestone_testing.node import ROOT, Node, container, pod, python
from runestone_testing.shop_node import (
    AWAY_S,
    FILES,
    REQUESTS,
    SHOP,
    SYSTEM,
    Load,
    Standin,
    chart_values,
    helm,
    install_chart,
)
from runestone_testing.shop_programs import JOBS, LATER, MANY, PROPORTIONAL, READER, SDK
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

LIMIT: Final = 30  # requests a minute, of the key `limited`
MARKET: Final = "market"
VENDORS: Final = "http://standin.vendors.svc.cluster.local"
LOCAL: Final = re.compile(r"http://127\.0\.0\.1:\d+")
PROGRAMMED: Final = ("wait", "--for=condition=Programmed", "--timeout=60s", "pp,ak,rp", "--all")

SIDECARS_PYTHON: Final = "/opt/runestone/bin/python"
MOST_KIB: Final = 100 * 1024


METRICS: Final = """
import urllib.request
print(urllib.request.urlopen("http://localhost:4004/metrics", timeout=30).read().decode())
"""


@pytest.fixture(scope="module")
def standin(node: Node) -> Iterator[Standin]:
    """Everything installed, applied, and running."""
    node.kubectl("apply", "-f", str(FILES / "standin.yaml"))
    install_chart(chart_values())
    with node.namespace(SHOP):
        for name in ("10-pools.yaml", "20-keys.yaml"):
            node.kubectl("apply", "-f", str(FILES / name))
        node.kubectl("-n", SHOP, *PROGRAMMED)
        node.kubectl("apply", "-f", str(FILES / "30-app.yaml"))
        for name in ("checkout", "reports"):
            rolled_out(node, name)
        node.kubectl("-n", "vendors", "rollout", "status", "deployment/standin", "--timeout=110s")
        yield Standin.of(node)
    node.kubectl("delete", "namespace", "vendors", "--timeout=110s")  # it may come again at once


def rolled_out(node: Node, deployment: str) -> None:
    node.kubectl("-n", SHOP, "rollout", "status", f"deployment/{deployment}", "--timeout=110s")


def pods(node: Node, app: str) -> list[str]:
    """Their names, those that end left out."""
    listed = json.loads(node.kubectl("-n", SHOP, "get", "pods", f"-lapp={app}", "-ojson"))
    return [
        pod["metadata"]["name"]
        for pod in listed["items"]
        if "deletionTimestamp" not in pod["metadata"]
    ]


def run_in(node: Node, pod: str, program: str, *arguments: str) -> str:
    return node.kubectl("-n", SHOP, "exec", pod, "-c", "app", "--", *python(program), *arguments)


def test_the_stock_sdk_is_answered_by_every_provider(node: Node, standin: Standin) -> None:
    for replica in pods(node, "checkout"):
        said = run_in(node, replica, SDK, "gpt-4o", "claude-3-5-sonnet").splitlines()

        assert said == [
            *["gpt-4o at /v1/chat/completions by sk-e2e-openai-first-00000000000000"] * 2,
            *["claude-3-5-sonnet at /v1/messages by sk-ant-e2e-anthropic-00000000000000"] * 2,
        ]


def test_a_limit_is_that_of_all_replicas_together(node: Node, standin: Standin) -> None:
    replicas = pods(node, "reports")
    with ThreadPoolExecutor(len(replicas)) as each:
        seen = [
            json.loads(found)
            for found in each.map(lambda pod: run_in(node, pod, MANY, "25"), replicas)
        ]

    assert sum(found.get("ok", 0) for found in seen) == LIMIT
    assert {outcome for found in seen for outcome in found} <= {"ok", "429"}


def test_every_sidecar_knows_that_nats_syncs(node: Node, standin: Standin) -> None:
    for name in (*pods(node, "checkout"), *pods(node, "reports")):
        wait_until(
            f"{name} has asked NATS",
            lambda name=name: "\nrunestone_jobs_durable 1.0\n" in run_in(node, name, METRICS),
            every_s=1.0,
            within_s=60,
        )


def test_jobs_outlive_the_pod_that_took_them(node: Node, standin: Standin) -> None:
    taker, other, *_ = pods(node, "checkout")
    standin.set(delay_s=2.0)
    made = set(run_in(node, taker, JOBS, "submit", "6").split())
    node.kubectl("-n", SHOP, "delete", "pod", taker, "--force", "--grace-period=0")
    standin.set(delay_s=0.0)

    def states() -> dict[str, str]:
        found: dict[str, str] = json.loads(run_in(node, other, JOBS, "list"))
        return found

    wait_until(
        "every job has ended well",
        lambda: {id_ for id_, state in states().items() if state == "succeeded"} >= made,
        within_s=90,
        every_s=0.5,
    )
    rolled_out(node, "checkout")


def answered_by(standin: Standin, model: str) -> bool:
    reports = standin.seen()["reports"].values()
    running = [report for report in reports if not report["stopped"]]
    return all(report["latest_text"].startswith(f"{model} at") for report in running)


def patch_alias(node: Node, model: str) -> None:
    patch = {"spec": {"aliases": {"smart": model}}}
    node.kubectl("-n", SHOP, "patch", "rp", "default", "--type=merge", f"-p={json.dumps(patch)}")


def told(trial: str, load: Load) -> Counter[str]:
    """What became of it, which is told too."""
    ended = load.stop()
    print(f"{trial}: {dict(ended)}")
    return ended


def test_a_changed_policy_is_live_in_every_pod(node: Node, standin: Standin) -> None:
    load = Load.begin(standin, model="smart")
    wait_until("gpt-4o answers", lambda: answered_by(standin, "gpt-4o"))

    patch_alias(node, "gpt-4o-mini")
    began_s = time.monotonic()
    wait_until("gpt-4o-mini answers", lambda: answered_by(standin, "gpt-4o-mini"))
    print(f"policy live in all pods: {time.monotonic() - began_s:.2f} s")

    assert set(load.stop()) == {"ok"}
    node.kubectl("-n", SHOP, *PROGRAMMED)


def test_a_disabled_key_is_refused_in_every_pod(node: Node, standin: Standin) -> None:
    load = Load.begin(standin)
    enabled = '-p={"spec":{"enabled":%s}}'
    node.kubectl("-n", SHOP, "patch", "ak", "checkout", "--type=merge", enabled % "false")
    began_s = time.monotonic()
    refused = "AuthenticationError"
    replicas = set(pods(node, "checkout"))

    def all_refused() -> bool:
        reports = standin.seen()["reports"]
        return all(any(refused in one for one in reports[pod]["ended"]) for pod in replicas)

    wait_until("every pod's key is refused", all_refused)
    print(f"key refused in all pods: {time.monotonic() - began_s:.2f} s")
    node.kubectl("-n", SHOP, "patch", "ak", "checkout", "--type=merge", enabled % "true")
    node.kubectl("-n", SHOP, *PROGRAMMED)

    assert all(outcome == "ok" or refused in outcome for outcome in load.stop())


def test_a_providers_key_is_replaced_under_load(node: Node, standin: Standin) -> None:
    old, new = "sk-e2e-openai-first-00000000000000", "sk-e2e-openai-second-0000000000000"
    load = Load.begin(standin)
    patch = json.dumps({"stringData": {"api-key": new}})
    node.kubectl("-n", SHOP, "patch", "secret", "openai", f"-p={patch}")
    wait_until("the new key is used", lambda: standin.seen()["calls"].get(new), every_s=0.2)
    standin.set(forget=True)
    node.kubectl("-n", SHOP, *PROGRAMMED)
    load.wait_for(REQUESTS)

    assert set(told("a provider's key replaced", load)) == {"ok"}
    assert standin.seen()["calls"].keys().isdisjoint({old}) or standin.seen()["calls"][new]


def test_a_clients_key_is_replaced_under_load(node: Node, standin: Standin) -> None:
    """Who reads it from a file goes on with the new one, and who has it in the environment goes on
    with the old one, and is told."""
    app = container("app", "e2e-apps:dev", *python(READER))
    app["volumeMounts"] = [{"name": "key", "mountPath": "/key"}]
    node.apply(
        pod(
            SHOP,
            "reader",
            app,
            labels={"runestone.dev/inject": "true"},
            annotations={"runestone.dev/api-key": "checkout"},
            volumes=[{"name": "key", "secret": {"secretName": "checkout-api-key"}}],
            restartPolicy="Never",
        )
    )
    node.wait_ready(SHOP, "reader")
    load = Load.begin(standin)
    node.kubectl("-n", SHOP, "annotate", "ak", "checkout", "runestone.dev/rotate=now")
    with_new, seen = node.wait_done(SHOP, "reader", within_s=180).splitlines()
    load.wait_for(REQUESTS)

    assert (int(with_new), set(json.loads(seen))) == (50, {"ok"})
    assert set(told("a client's key replaced", load)) == {"ok"}
    events = json.loads(node.kubectl("-n", SHOP, "get", "events", "-ojson"))["items"]
    of_pods = {
        event["involvedObject"]["name"]
        for event in events
        if event["reason"] == "KeyRotated" and event["involvedObject"]["kind"] == "Pod"
    }
    assert of_pods >= set(pods(node, "checkout"))


def test_a_rolling_restart_fails_no_request(node: Node, standin: Standin) -> None:
    load = Load.begin(standin)
    before = set(pods(node, "checkout"))
    node.kubectl("-n", SHOP, "rollout", "restart", "deployment/checkout")
    rolled_out(node, "checkout")
    load.wait_for(REQUESTS)

    assert before.isdisjoint(pods(node, "checkout"))
    assert set(told("a rolling restart", load)) == {"ok"}


def test_a_sidecar_is_small_after_its_work(node: Node, standin: Standin) -> None:
    taken = [
        int(
            node.kubectl(
                *("-n", SHOP, "exec", name, "-c", "runestone", "--"),
                *(SIDECARS_PYTHON, "-c", PROPORTIONAL),
            )
        )
        for name in pods(node, "checkout")
    ]
    print(f"memory of a sidecar: {max(taken) / 1024:.0f} MiB")

    assert max(taken) < MOST_KIB


def test_the_examples_work(node: Node, standin: Standin) -> None:
    """As they are, but for their namespace and for where their providers are."""
    with node.namespace(MARKET):
        for path in sorted((ROOT / "examples").glob("*.yaml")):
            text = path.read_text().replace("namespace: shop", f"namespace: {MARKET}")
            node.kubectl("apply", "-f", "-", text=LOCAL.sub(VENDORS, text))
        node.kubectl("-n", MARKET, *PROGRAMMED)
        names = ("checkout", "reports")
        for name in names:
            app = container("app", "e2e-apps:dev", "sleep", "infinity")
            asks = {"runestone.dev/inject": "true"}
            node.apply(
                pod(MARKET, name, app, labels=asks, annotations={"runestone.dev/api-key": name})
            )
        node.wait_ready(MARKET, *names)

        def run(name: str, program: str, *arguments: str) -> list[str]:
            command = ("-c", "app", "--", *python(program), *arguments)
            return node.kubectl("-n", MARKET, "exec", name, *command).splitlines()

        openai, claude = "sk-test-openai-0000000000000000000000", "claude-3-5-sonnet-20241022"
        assert run("checkout", SDK, "smart", "fast", "claude-3-5-sonnet") == [
            *[f"gpt-4o at /v1/chat/completions by {openai}"] * 2,
            *[f"gpt-4o-mini at /v1/chat/completions by {openai}"] * 2,
            *[f"{claude} at /v1/messages by sk-ant-test-000000000000000000000000"] * 2,
        ]
        # What overflows for reports becomes a job, and so does what asks to.
        assert run("reports", LATER, "llama-3.3-70b") == [
            "llama-3.3-70b at /v1/chat/completions by nobody"
        ]


def test_without_the_operator_all_are_served(node: Node, standin: Standin) -> None:
    """And what was changed meanwhile is delivered once it is back."""
    load = Load.begin(standin, model="smart")
    node.kubectl("-n", SYSTEM, "scale", "deployment/runestone-operator", "--replicas=0")
    wait_until("no operator runs", lambda: not operators(node), within_s=60, every_s=0.5)
    patch_alias(node, "gpt-4o")
    load.last(AWAY_S)
    load.wait_for(REQUESTS)
    assert answered_by(standin, "gpt-4o-mini")
    node.kubectl("-n", SYSTEM, "scale", "deployment/runestone-operator", "--replicas=2")
    wait_until("gpt-4o answers", lambda: answered_by(standin, "gpt-4o"), within_s=90)
    node.kubectl("-n", SYSTEM, "rollout", "status", "deployment/runestone-operator")

    assert set(told("the operator away", load)) == {"ok"}


def test_without_the_api_server_all_are_served(node: Node, standin: Standin) -> None:
    """It stands still, and everything that asks it waits."""
    load = Load.begin(standin, model="smart")
    with node.stopped("kube-apiserver"):
        load.last(AWAY_S)
        load.wait_for(REQUESTS)
    wait_until(
        "the API server answers",
        lambda: node.try_kubectl("get", "--raw=/readyz").returncode == 0,
        within_s=90,
    )
    patch_alias(node, "gpt-4o-mini")
    wait_until("gpt-4o-mini answers", lambda: answered_by(standin, "gpt-4o-mini"), within_s=90)

    assert set(told("the API server stopped", load)) == {"ok"}


def operators(node: Node) -> str:
    label = "-lapp.kubernetes.io/component=operator"
    return node.kubectl("-n", SYSTEM, "get", "pods", label, "-oname")


def test_an_upgrade_fails_no_request(node: Node, standin: Standin) -> None:
    load = Load.begin(standin)
    values = chart_values()
    values["sidecar"]["logLevel"] = "warning"
    values["operator"]["podAnnotations"] = {"upgraded": "yes"}
    install_chart(values)
    load.wait_for(REQUESTS)

    assert set(told("an upgrade", load)) == {"ok"}
    node.kubectl("-n", SHOP, *PROGRAMMED)


def test_uninstalled_nothing_is_stuck_and_pods_serve_on(node: Node, standin: Standin) -> None:
    load = Load.begin(standin)
    helm("uninstall", "runestone", "--namespace", SYSTEM, "--wait")
    load.wait_for(50)

    assert set(told("uninstalled", load)) == {"ok"}
    ours = ("-lapp.kubernetes.io/instance=runestone", "-oname")
    wait_until(
        "nothing of the release is left",
        lambda: not node.kubectl("-n", SYSTEM, "get", "all,cm,secret,sa,pdb,netpol", *ours),
        within_s=60,
        every_s=0.5,
    )
    cluster_wide = "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles"
    assert node.kubectl("get", cluster_wide, *ours) == ""
