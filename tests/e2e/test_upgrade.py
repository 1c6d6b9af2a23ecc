"""From the version before to this one as docs/upgrade.md says, with applications under load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from runestone_testing.node import ROOT, SIDECAR_IMAGE
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
        node.kubectl("wait", "--for=delete", f"namespace/{SYSTEM}", "--timeout=110s")
        helm("install", "runestone", str(chart), *how, values={"operator": {"replicas": 2}})
        try:
            for name in ("10-pools.yaml", "20-keys.yaml"):
                node.kubectl("apply", "-f", str(FILES / name))
            checkout, *_ = yaml.safe_load_all((FILES / "30-app.yaml").read_text())
            node.apply(checkout)
            node.kubectl("-n", SHOP, "rollout", "status", "deployment/checkout", "--timeout=110s")
            yield reader(tmp_path_factory.mktemp("checkout"), base_url)
        finally:
            helm("uninstall", "runestone", "--namespace", SYSTEM)
            node.kubectl("delete", "namespace", SYSTEM, "--wait=false")


def sidecars(node: Node) -> set[str]:
    """Tags of the images that applications have, those that end left out."""
    listed = json.loads(node.kubectl("-n", SHOP, "get", "pods", "-lapp=checkout", "-ojson"))
    return {
        container["image"]
        for pod in listed["items"]
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["initContainers"]
    }


def test_the_page_leads_from_the_version_before_to_this_one(node: Node, person: Reader) -> None:
    (before,) = sidecars(node)
    assert before != SIDECAR_IMAGE
    load = Load.begin(Standin.of(node), model="smart")

    for command in person.follow(DOCS / "upgrade.md"):
        if command.startswith("helm upgrade"):
            assert sidecars(node) == {before}
            the_old_sidecars_go_by_what_the_new_operator_says(node)

    assert sidecars(node) == {SIDECAR_IMAGE}
    load.wait_for(REQUESTS)
    assert set(load.stop()) == {"ok"}


def the_old_sidecars_go_by_what_the_new_operator_says(node: Node) -> None:
    patch = {"spec": {"aliases": {"smart": "gpt-4o-mini"}}}
    node.kubectl("-n", SHOP, "patch", "rp", "default", "--type=merge", f"-p={json.dumps(patch)}")

    def all_asked_the_other() -> bool:
        reports = Standin.of(node).seen()["reports"].values()
        return all(report["latest_text"].startswith("gpt-4o-mini at") for report in reports)

    wait_until("gpt-4o-mini answers", all_asked_the_other)


def test_the_crds_are_those_of_this_version(node: Node, person: Reader) -> None:
    node.kubectl("diff", "--server-side", "-f", str(ROOT / "crds"))
