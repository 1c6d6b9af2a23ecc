"""From the version before to this one as docs/upgrade.md says, with applications under load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from runestone_testing.node import OPERATOR_IMAGE, ROOT, SIDECAR_IMAGE
from runestone_testing.pages import DOCS
from runestone_testing.platform_team import providers, reader, volume
from runestone_testing.shop_node import FILES, REQUESTS, SHOP, SYSTEM, Load, Standin, helm
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.node import Node
    from runestone_testing.pages import Reader

pytestmark = pytest.mark.e2e

PREVIOUS: Final = Path(os.environ.get("RUNESTONE_PREVIOUS", "/nowhere"))


@pytest.fixture(scope="module")
def person(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Who has the version before installed, and applications that use it."""
    chart = PREVIOUS / "charts" / "runestone"
    assert chart.exists(), "RUNESTONE_PREVIOUS is what hack/cluster-previous prints: hack/e2e"
    how = ("--namespace", SYSTEM, "--create-namespace", "--wait")
    with volume(node, "upgrade"), providers(node) as base_url, node.namespace(SHOP):
        helm("install", "runestone", str(chart), *how, values={"operator": {"replicas": 2}})
        try:
            for name in ("10-pools.yaml", "20-keys.yaml"):
                node.kubectl("apply", "-f", str(FILES / name))
            checkout, *_ = yaml.safe_load_all((FILES / "30-app.yaml").read_text())
            node.apply(checkout)
            node.kubectl("-n", SHOP, "rollout", "status", "deployment/checkout", "--timeout=110s")
            yield reader(tmp_path_factory.mktemp("checkout"), base_url)
        finally:
            # First who is connected to NATS, or it takes its time.
            node.kubectl("-n", SHOP, "delete", "deployment", "checkout", "--ignore-not-found")
            node.kubectl("-n", SHOP, "wait", "--for=delete", "pod", "--all", "--timeout=110s")
            helm("uninstall", "runestone", "--namespace", SYSTEM)
            node.kubectl("delete", "namespace", SYSTEM, "--timeout=110s")


def sidecars(node: Node) -> set[str]:
    """Tags of the images that applications have, those that end left out."""
    listed = json.loads(node.kubectl("-n", SHOP, "get", "pods", "-lapp=checkout", "-ojson"))
    return {
        container["image"]
        for pod in listed["items"]
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["initContainers"]
    }


def test_the_page_leads_to_this_version_and_back(node: Node, person: Reader) -> None:
    (before,) = sidecars(node)
    assert before != SIDECAR_IMAGE
    load = Load.begin(Standin.of(node), model="smart")

    for command in person.follow(DOCS / "upgrade.md"):
        if command.startswith("helm upgrade"):
            assert sidecars(node) == {before}
            assert operator(node) == OPERATOR_IMAGE
            the_crds_are_those_of_this_version(node)
            sidecars_go_by_what_the_operator_says(node, "gpt-4o-mini")
        if command.startswith("helm rollback"):
            assert sidecars(node) == {SIDECAR_IMAGE}
            assert operator(node) != OPERATOR_IMAGE
            sidecars_go_by_what_the_operator_says(node, "gpt-4o")

    load.wait_for(REQUESTS)
    assert set(load.stop()) == {"ok"}


def operator(node: Node) -> str:
    (container,) = node.get(SYSTEM, "deploy", "runestone-operator")["spec"]["template"]["spec"][
        "containers"
    ]
    return str(container["image"])


def the_crds_are_those_of_this_version(node: Node) -> None:
    node.kubectl("diff", "--server-side", "-f", str(ROOT / "crds"))


def sidecars_go_by_what_the_operator_says(node: Node, model: str) -> None:
    patch = {"spec": {"aliases": {"smart": model}}}
    node.kubectl("-n", SHOP, "patch", "rp", "default", "--type=merge", f"-p={json.dumps(patch)}")

    def all_ask_it() -> bool:
        reports = Standin.of(node).seen()["reports"].values()
        running = [report for report in reports if not report["stopped"]]
        return all(report["latest_text"].startswith(f"{model} at") for report in running)

    wait_until(f"{model} answers", all_ask_it)
