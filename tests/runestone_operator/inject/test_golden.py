"""Whole pods, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runestone_operator.inject.facts import Admitted, Facts, KeySource
from runestone_operator.inject.inject import inject
from runestone_operator.settings import SidecarSettings
from runestone_testing.golden import Golden

GOLDENS = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_pods_before_and_after(path: Path) -> None:
    golden = Golden(path)
    given = golden.given
    facts = dict(given["facts"])
    if "key" in facts:
        facts["key"] = KeySource(**facts["key"])
    outcome = inject(given["pod"], Facts(**facts), sidecar_settings(given.get("sidecar", {})))

    assert isinstance(outcome, Admitted)
    golden.check({"warnings": list(outcome.warnings), "pod": shown(outcome.pod)})


def sidecar_settings(given: dict[str, Any]) -> SidecarSettings:
    fields = {"image": "runestone-sidecar"} | given
    return SidecarSettings(**fields | {"env": tuple(fields.get("env", ()))})


def shown(pod: Any) -> Any:
    """Sixteen shards in one line."""
    for volume in pod["spec"]["volumes"]:
        if "projected" in volume:
            names = [source["configMap"]["name"] for source in volume["projected"]["sources"]]
            assert all(source["configMap"]["optional"] for source in volume["projected"]["sources"])
            volume["projected"] = " ".join(names)
    return pod
